"""The installed command on the local AWS, with its use of time and memory."""

import json
import subprocess
import sys

from infra.local import operator
from infra.local.client import LocalAws

MEASURED = """
import json, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
seconds, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stdout.buffer.write(done.stdout)
took = {"exit_code": done.returncode, "seconds": seconds, "computing": used.ru_utime + used.ru_stime}
print(json.dumps({**took, "megabytes": used.ru_maxrss / 1024}), file=sys.stderr)
"""
"""A small process starts the command, since a process's peak memory is never below that of the one that started it."""


def measured(aws: LocalAws, *arguments: str) -> tuple[str, dict[str, float]]:
    """The command's output, and its exit code, time and memory."""
    done = subprocess.run(  # noqa: S603  # our own command
        [sys.executable, "-c", MEASURED, str(operator.COMMAND), *arguments],
        env=aws.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, json.loads(done.stderr.splitlines()[-1])
