"""Run a command and report its time and memory: `python -I -S measured.py REPORT COMMAND…`.

This process is as small as possible: Linux counts the memory of a starting process in the peak of the process that it
starts, and the benchmark itself, with boto3, is larger than what it measures.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    """Run the command with the same standard streams, and end with its exit code."""
    report, command = sys.argv[1], sys.argv[2:]
    started = time.monotonic()
    pid = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    took = {
        "started": started,
        "seconds": time.monotonic() - started,
        # Of the process, and of the processes that it started and waited for.
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    Path(report).write_text(json.dumps(took), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
