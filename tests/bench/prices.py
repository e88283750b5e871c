"""Public prices, and the cost of an invocation. US dollars, us-east-1, first tier, without free tier, 2026-11."""

from __future__ import annotations

from dataclasses import dataclass

GB_SECOND = 0.0000133334  # Lambda on arm64
MILLION_INVOCATIONS = 0.20
MILLION_QUEUE_REQUESTS = 0.40
MILLION_FORWARDED_EVENTS = 1.00  # to a bus of another region; AWS's own events on the default bus are free
MILLION_SCHEDULED = 1.00
MILLION_TRACES = 5.00
GB_OF_LOG = 0.50
METRIC = 0.30
THOUSAND_METRICS_REQUESTED = 0.01  # with GetMetricData
ALARM = 0.10
DASHBOARD = 3.00
KEY = 1.00
MILLION_WRITE_UNITS = 0.625  # DynamoDB on demand; deleting expired items is free
MILLION_READ_UNITS = 0.125
GB_OF_TABLE = 0.25  # a month; an index costs the same as a table
GB_OF_RECOVERY = 0.20  # a month; point-in-time recovery, of the table without its indexes

MEMORY_GB = 1.0
"""The function's memory."""


@dataclass(frozen=True)
class Took:
    """One invocation; `writes` and `reads` are DynamoDB's request units, `metrics` the metrics requested."""

    seconds: float
    log_bytes: int
    writes: float = 0
    reads: float = 0
    metrics: int = 0

    @property
    def compute(self) -> float:
        """Dollars for the invocation, its time and its trace."""
        return self.seconds * MEMORY_GB * GB_SECOND + (MILLION_INVOCATIONS + MILLION_TRACES) / 1e6

    @property
    def log(self) -> float:
        """Dollars for its log."""
        return self.log_bytes / 1e9 * GB_OF_LOG

    @property
    def writing(self) -> float:
        """Dollars for its writes to the table."""
        return self.writes / 1e6 * MILLION_WRITE_UNITS

    @property
    def reading(self) -> float:
        """Dollars for its reads of the table."""
        return self.reads / 1e6 * MILLION_READ_UNITS

    @property
    def asking(self) -> float:
        """Dollars for the metrics that it requested."""
        return self.metrics / 1e3 * THOUSAND_METRICS_REQUESTED

    @property
    def safeguards(self) -> float:
        """Dollars for table and CloudWatch."""
        return self.writing + self.reading + self.asking

    @property
    def dollars(self) -> float:
        """Dollars for all of it."""
        return self.compute + self.log + self.safeguards
