"""Start a command and say what it took: `python -I -S measured.py REPORT COMMAND…`.

A process of its own and as small as can be: Linux counts the memory of whoever starts a process into that
process's peak, and the benchmark itself, with boto3 and all, is larger than what it measures.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    """Run it with the standard streams as they are; its exit code is passed on."""
    report, command = sys.argv[1], sys.argv[2:]
    started = time.monotonic()
    pid = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    took = {
        "started": started,
        "seconds": time.monotonic() - started,
        # Of the process, and of all that it started and waited for.
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    Path(report).write_text(json.dumps(took), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
