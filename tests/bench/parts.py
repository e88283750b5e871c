"""Where the CPU of a change goes: `python -m tests.bench.parts`, a warm sweep as in the scenario *regions*."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.bench.enforcer import SWEEP, driver
from tests.bench.local_fleet import AGE_SECONDS, local_fleet
from tests.bench.measurement import DESCRIBE, MODIFY, REFILL
from tests.bench.scenarios import A_REGION, TEN_REGIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

BUILD, SIGN, SEND, PARSE = COLUMNS = ("build", "sign", "send, receive", "parse")
OWN, LOG, OTHERS, REST = "the enforcer's own code", "log lines", "other calls", "the rest: threads, the watch"


class Parts:
    """CPU seconds of all threads by row and column; what a part spends in another counts for that one alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = threading.local()
        self._seconds: Counter[tuple[str, str]] = Counter()

    def watch(self) -> None:
        """Measure the enforcer's parts, and botocore's, from here on."""
        from botocore.client import BaseClient  # noqa: PLC0415  # only the measured process needs these
        from botocore.httpsession import URLLib3Session  # noqa: PLC0415
        from botocore.parsers import ResponseParser  # noqa: PLC0415
        from botocore.signers import RequestSigner  # noqa: PLC0415

        from imds_enforcer.enforcement.attempt import Attempts  # noqa: PLC0415
        from imds_enforcer.reporting import telemetry  # noqa: PLC0415
        from imds_enforcer.runs.sweep import RegionSweep  # noqa: PLC0415

        self.measure(BaseClient, "_make_api_call", _called, BUILD)
        self.measure(RequestSigner, "sign", column=SIGN)
        self.measure(URLLib3Session, "send", column=SEND)
        self.measure(ResponseParser, "parse", column=PARSE)
        self.measure(Attempts, "send", lambda *_: OWN)
        self.measure(RegionSweep, "visit", lambda *_: OWN)
        self.measure(telemetry, "log_result", lambda *_: LOG)

    def taken(self) -> dict[str, Any]:
        """What was measured since the last time, as `table` wants it."""
        with self._lock:
            seconds, self._seconds = self._seconds, Counter()
        return {"parts": [(*part, spent) for part, spent in seconds.items()]}

    def measure(self, owner: Any, name: str, row_of: Callable[..., str] | None = None, column: str = "") -> None:
        """Measure a function of an owner; its row is that of the caller unless its arguments say which."""
        function, thread = getattr(owner, name), self._thread

        @functools.wraps(function)
        def measured(*given: Any, **named: Any) -> Any:
            outer_row, outer_inner = getattr(thread, "row", OTHERS), getattr(thread, "inner", 0.0)
            thread.row, thread.inner = row_of(*given) if row_of else outer_row, 0.0
            began = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                took = time.thread_time() - began
                with self._lock:
                    self._seconds[thread.row, column] += took - thread.inner
                thread.row, thread.inner = outer_row, outer_inner + took

        setattr(owner, name, measured)


def _called(client: Any, operation: str, _: object) -> str:
    service = client.meta.service_model.service_name
    if f"{service}:{operation}" in {DESCRIBE, MODIFY}:
        return operation
    return "DynamoDB" if service == "dynamodb" else OTHERS


def main() -> None:
    """Measure, and print the table."""
    with local_fleet(*TEN_REGIONS) as fleet:
        fleet.launch(1, age_seconds=AGE_SECONDS)
        fleet.begin()
        with driver(fleet, "--parts") as process:
            process.ask(SWEEP)
            fleet.launch(A_REGION, age_seconds=AGE_SECONDS)
            time.sleep(1 / REFILL)  # tokens come back by the clock alone: there is no condition to wait for
            fleet.begin()
            done = process.ask(SWEEP)
            changes = fleet.calls()["requests"][MODIFY]
    print(*table(done["parts"], done["cpu_s"], changes), sep="\n")  # noqa: T201  # to be copied: no console must break it


def table(parts: Iterable[tuple[str, str, float]], cpu_s: float, changes: int) -> list[str]:
    """The lines of the table, in milliseconds a change; the rest is what the process took beside its parts."""
    rows: dict[str, dict[str, float]] = {}
    for row, column, seconds in parts:
        rows.setdefault(row, {})[column] = seconds * 1000 / changes
    whole = cpu_s * 1000 / changes
    rest = whole - sum(sum(row.values()) for row in rows.values())
    ordered = sorted(rows.items(), key=lambda each: sum(each[1].values()), reverse=True)
    return [
        f"| ms a change | {' | '.join(COLUMNS)} | in all |",
        f"|---|{'---:|' * (len(COLUMNS) + 1)}",
        *(f"| {name} | {_cells(row)} |" for name, row in [*ordered, (REST, {"": rest}), ("in all", {"": whole})]),
    ]


def _cells(row: Mapping[str, float]) -> str:
    columns = [f"{row[column]:.2f}" if column in row else "" for column in COLUMNS]
    return " | ".join([*columns, f"{sum(row.values()):.2f}"])


if __name__ == "__main__":
    main()
