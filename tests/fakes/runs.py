"""Runs of the enforcer on fakes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from imds_enforcer.application import Application, Invocation
from imds_enforcer.limits.region_limits import limits_of
from imds_enforcer.model import Trigger
from imds_enforcer.runs.batch import enforce_batch, parse_batch
from imds_enforcer.runs.events import SweepRequest
from imds_enforcer.runs.sweep import sweep
from tests.fakes.clients import a_run
from tests.fakes.clock import START
from tests.fakes.example_events import a_batch
from tests.fakes.examples import ACCOUNT, SETTINGS, a_policy

if TYPE_CHECKING:
    from imds_enforcer.ledger.entry import Entry
    from imds_enforcer.model import Result
    from imds_enforcer.policy import Policy
    from imds_enforcer.runs.events import QueuedMessage
    from imds_enforcer.settings import Settings
    from tests.fakes.clients import FakeClients

Documents = Callable[[], list[dict[str, Any]]]
"""Returns the log lines or the metrics so far."""

SCHEDULE = SweepRequest(Trigger.SCHEDULE)


class Batch:
    """One batch of messages and its results, by default under a policy that requires tokens."""

    def __init__(self, clients: FakeClients, *messages: QueuedMessage, policy: Policy | None = None) -> None:
        parsed = parse_batch(messages, ACCOUNT)
        assert parsed.malformed == {}
        self.log: list[tuple[Result, str]] = []
        run = a_run(clients, policy or a_policy(), self.log)
        self.report, again = enforce_batch(run, parsed.deliveries, gone_after=600)
        self.again = [message.message_id for message in again]
        self.delays = {message.message_id: delay for message, delay in again.items()}
        self.outcomes = {result.instance_id: result.outcome for result, _ in self.log}


class Sweep:
    """One sweep and its results."""

    def __init__(
        self, clients: FakeClients, policy: Policy | None = None, request: SweepRequest = SCHEDULE, seconds: float = 700
    ) -> None:
        self.log: list[tuple[Result, str]] = []
        policy = policy or a_policy()
        self.report = sweep(a_run(clients, policy, self.log, seconds), request, limits_of(policy, clients.fakes))
        self.logged = {result.instance_id: result.outcome for result, _ in self.log}
        self.statuses = {name: region.status for name, region in self.report.regions.items()}


class App:
    """The application, as Lambda invokes it; its runs are `run-1` and so on, unless another name is given."""

    def __init__(self, clients: FakeClients, name: str = "run", settings: Settings = SETTINGS) -> None:
        self._clock = clients.clock
        self._application = Application(settings, clients, clients.clock)
        self._run_ids = (f"{name}-{number}" for number in count(1))

    def invoke(self, event: object, seconds_left: float = 900) -> dict[str, Any]:
        """One invocation."""
        ends_at = self._clock.monotonic() + seconds_left
        run_id = next(self._run_ids)
        return self._application.invoke(event, Invocation(run_id, ACCOUNT, lambda: ends_at - self._clock.monotonic()))

    def batch(self, *messages: QueuedMessage) -> list[str]:
        """The ids of the messages that must come back."""
        answer = self.invoke(a_batch(*messages))
        assert list(answer) == ["batchItemFailures"]
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def ledger(clients: FakeClients) -> list[Entry]:
    """Every entry of the ledger, oldest first."""
    return list(clients.ledger_table.entries.since(START))


def metric_names(documents: list[dict[str, Any]]) -> set[str]:
    """The metrics in documents of the embedded metric format."""
    return {
        metric["Name"]
        for document in documents
        for directive in document["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
