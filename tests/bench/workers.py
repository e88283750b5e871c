"""CPU and memory of the function's worker processes, as Linux reports them while the processes exist."""

import os
from pathlib import Path
from typing import Any, NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Use(NamedTuple):
    """CPU seconds and peak memory so far."""

    cpu_s: float
    peak_mb: float


def uses_of_children(parent: int) -> dict[int, Use]:
    """The use of each child process by its id, without processes that have ended."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
            if int(fields["PPid"]) == parent and "VmHWM" in fields:
                found[int(fields["Pid"])] = Use(_cpu(status.parent), int(fields["VmHWM"].split()[0]) / 1024)
        except OSError:  # the process has just ended
            continue
    return found


def used(before: dict[int, Use], after: dict[int, Use]) -> dict[str, Any]:
    """CPU since `before`, and the largest peak, as fields of `Run`."""
    cpu = sum(use.cpu_s - before.get(pid, Use(0, 0)).cpu_s for pid, use in after.items())
    return {"cpu_s": cpu, "peak_mb": max(use.peak_mb for use in after.values())}


def _cpu(process: Path) -> float:
    # The second field, a name in parentheses, may contain anything; user and system time are fields 14 and 15.
    fields = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
