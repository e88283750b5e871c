// Reads a list of simulations from standard input and writes the list of their results to standard output.
// The only argument is the folder where the simulator is installed.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const { runSimulation } = createRequire(`${process.argv[2]}/`)("@cloud-copilot/iam-simulate");

const results = [];
for (const simulation of JSON.parse(await text(process.stdin))) {
  results.push(await runSimulation(simulation, {}));
}
process.stdout.write(JSON.stringify(results));
