"""What the function's worker processes used, as Linux tells it of processes that are still there."""

import os
from pathlib import Path
from typing import Any, NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Use(NamedTuple):
    """CPU seconds so far, and the most memory held until now."""

    cpu_s: float
    peak_mb: float


def uses_of_children(parent: int) -> dict[int, Use]:
    """By process id; what has ended is not among them."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
            if int(fields["PPid"]) == parent and "VmHWM" in fields:
                found[int(fields["Pid"])] = Use(_cpu(status.parent), int(fields["VmHWM"].split()[0]) / 1024)
        except OSError:  # it ended while it was looked at
            continue
    return found


def used(before: dict[int, Use], after: dict[int, Use]) -> dict[str, Any]:
    """CPU since then, as `Run` wants it, and the largest peak."""
    cpu = sum(use.cpu_s - before.get(pid, Use(0, 0)).cpu_s for pid, use in after.items())
    return {"cpu_s": cpu, "peak_mb": max(use.peak_mb for use in after.values())}


def _cpu(process: Path) -> float:
    # The name, second and in parentheses, may hold anything; user and system time are fields 14 and 15.
    fields = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
