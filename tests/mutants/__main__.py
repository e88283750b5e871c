"""Do the tests notice when the code changes? Tests the mutants in sample.txt and shows those that are not killed.

It is a measurement: the exit code is 0 even if mutants survive, and another one only if the measurement failed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from tests.mutants import report
from tests.mutants.configuration import MINUTES, SAMPLE, SEED, SIZE, WORKERS
from tests.mutants.plugin import PROFILE
from tests.mutants.population import Mutant, draw, population
from tests.mutants.report import Outcome, Result, outcome_of
from tests.mutants.tree import CONTROL, mutated, plant

PROJECT = Path(__file__).parents[2]
BUILD = PROJECT / ".build" / "mutants"
TREE = BUILD / "tree"


def main() -> None:
    """Draw a sample, or test the current one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="draw another sample.txt and test nothing")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time limit, default %(default)s")
    arguments = parser.parse_args()
    shutil.rmtree(BUILD, ignore_errors=True)
    plant(PROJECT, TREE)
    mutants = {mutant.identity: mutant for mutant in population(TREE, mutated(TREE))}
    if arguments.draw:
        sample = draw(mutants.values(), SEED, SIZE)
        SAMPLE.write_text("".join(f"{identity}\n" for identity in sample))
        _say(f"{len(sample)} of {len(mutants)} mutants are listed in {SAMPLE.relative_to(PROJECT)}.")
        return
    sample = SAMPLE.read_text().splitlines()
    gone = [identity for identity in sample if identity not in mutants]
    started = time.monotonic()
    results = run([mutants[identity] for identity in sample if identity in mutants], arguments.minutes)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    document = report.document(results, gone, time.monotonic() - started, used.ru_utime + used.ru_stime)
    (BUILD / "report.json").write_text(json.dumps(document, indent=1) + "\n")
    _say(_text(results, document))


def run(mutants: list[Mutant], minutes: float) -> list[Result]:
    """Test the mutants; end the process if that fails."""
    names = [mutant.name for mutant in mutants]
    with (BUILD / "log").open("w") as log:
        mutmut = subprocess.Popen(  # noqa: S603  # mutmut, installed beside this interpreter
            [str(Path(sys.executable).with_name("mutmut")), "run", f"--max-children={WORKERS}", CONTROL, *names],
            cwd=TREE,
            env=os.environ | {"HYPOTHESIS_PROFILE": PROFILE, "PYTHONHASHSEED": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code = mutmut.wait(minutes * 60)
        except subprocess.TimeoutExpired:
            _fail(f"the mutants are not done after {minutes:g} minutes")
        finally:
            if mutmut.returncode is None:
                os.killpg(mutmut.pid, signal.SIGKILL)
                mutmut.wait()
    if exit_code != 0:
        _fail(f"mutmut ended with {exit_code}")
    exit_codes: dict[str, int | None] = {}
    for path in (TREE / "mutants" / "src").rglob("*.meta"):
        exit_codes |= json.loads(path.read_text())["exit_code_by_key"]
    if outcome_of(exit_codes.get(CONTROL)) is not Outcome.SURVIVED:
        _fail("the tests fail in mutmut's workers without any mutation")
    return [Result(mutant, outcome_of(exit_codes.get(mutant.name))) for mutant in mutants]


def _text(results: list[Result], document: dict[str, Any]) -> str:
    lines: list[str] = []
    for result in results:
        if result.outcome is not Outcome.KILLED:
            lines += [f"{result.outcome}: {result.mutant.identity}", result.mutant.diff, ""]
    lines += [report.table(report.totals(results)), ""]
    gone = document["gone"]
    if gone:
        lines.append(
            f"{len(gone)} of the sample are no longer in the code; python -m tests.mutants --draw lists others."
        )
    lines.append(f"{document['seconds']} s, {document['cpu_seconds']} s of CPU. Also in {BUILD / 'report.json'}.")
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text)  # noqa: T201  # the command's output


def _fail(why: str) -> NoReturn:
    sys.exit(f"{why}; mutmut's output is in {BUILD / 'log'}")


if __name__ == "__main__":
    main()
