"""One process of the enforcer under observation: the judge checks what it sees, does and reports."""

from __future__ import annotations

import io
import logging
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partialmethod
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.reporting import telemetry
from imds_enforcer.reporting.report import RegionReport
from tests.fakes.example_events import a_batch
from tests.fakes.examples import HOME, SETTINGS
from tests.fakes.in_turn import without_threads
from tests.fakes.judge import Evidence, Judge
from tests.fakes.runs import App

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imds_enforcer.model import Result
    from imds_enforcer.reporting.report import RunReport
    from imds_enforcer.runs.events import QueuedMessage
    from tests.fakes.clients import FakeClients

_add, _run_finished = RegionReport.add, telemetry.run_finished


@dataclass(frozen=True)
class Letter:
    """A message of the event queue with its meaning; `understood` is False if the enforcer can never parse it.

    A `foreign` message is about another account, one `of_defaults` about the account's defaults in its region, and
    `refused_launch` is the event id of a refused launch.
    """

    message: QueuedMessage
    region: str = HOME
    instance_ids: tuple[str, ...] = ()
    whole_region: bool = False
    understood: bool = True
    foreign: bool = False
    refused_launch: str = ""
    of_defaults: bool = False

    def named(self, name: str) -> Letter:
        """The same message under another name."""
        return replace(self, message=replace(self.message, message_id=name, receipt_handle=f"receipt-{name}"))


def _add_and_notify(report: RegionReport, listener: Callable[[Result], None], result: Result) -> None:
    """Replaces `RegionReport.add`."""
    listener(result)
    _add(report, result)


class Process:
    """The function between two cold starts. It handles one invocation at a time."""

    def __init__(self, name: str, clients: FakeClients, judge: Judge) -> None:
        self.clients = clients
        self.busy = False
        self.results: dict[tuple[str, str], Result] = {}
        self.reports: list[RunReport] = []
        self._judge = judge
        self._app = App(clients, name, replace(SETTINGS, account_defaults="true"))
        self._letters: Sequence[Letter] = ()
        self._evidence: list[Evidence] = []
        self._left_behind: set[str] = set()
        for ec2 in clients.fakes.values():
            ec2.judge, ec2.on_refusal = judge.change, judge.refuse

    def deliver(self, letters: Sequence[Letter]) -> list[Letter]:
        """Deliver a batch of the event queue; returns the messages that must come back."""
        answer = self.invoke(a_batch(*(letter.message for letter in letters)), letters)
        again = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        assert again <= {letter.message.message_id for letter in letters}
        return [letter for letter in letters if letter.message.message_id in again]

    def invoke(self, event: object, letters: Sequence[Letter] = ()) -> dict[str, Any]:
        """Invoke the function once."""
        self.busy, self._letters = True, letters
        self.results, self.reports = {}, []
        self._begin_run()
        self._left_behind = {item["pk"] for item in self.clients.table.items.values() if "open" in item}
        handler: Any = telemetry.logger.registered_handler
        stream = handler.setStream(io.StringIO())
        try:
            with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
                without_threads(patch)
                # With these limits a small fleet fills several rounds, and waits as plain ids.
                patch.setattr("imds_enforcer.enforcement.remediation.FILTER_VALUES", 2)
                patch.setattr("imds_enforcer.runs.sweep._MAX_PLANS", 1)
                patch.setattr(logging.getLogger("imds-enforcer"), "propagate", False)
                patch.setattr(RegionReport, "add", partialmethod(_add_and_notify, self._finalized))
                patch.setattr(telemetry, "run_finished", self._run_finished)
                return self._app.invoke(event)
        finally:
            self._begin_run()
            self.busy = False
            handler.setStream(stream)

    def _begin_run(self) -> None:
        self._evidence = []
        for ec2 in self.clients.fakes.values():
            ec2.forget_calls()

    def _finalized(self, result: Result) -> None:
        ec2, instance_id = self.clients.ec2(result.region), result.instance_id
        shown, sent = ec2.shown.get(instance_id), ec2.sent_ids.count(instance_id)
        self._evidence.append(Evidence(result, self.clients.clock.now(), shown, sent))
        self.results[result.region, instance_id] = result

    def _run_finished(self, report: RunReport) -> None:
        seen = {name: set(ec2.shown) for name, ec2 in self.clients.fakes.items()}
        for letter in self._letters:
            if letter.region in report.regions:
                seen[letter.region].update(letter.instance_ids)
        self._judge.run(report, self._evidence, seen, self._left_behind)
        self.reports.append(report)
        _run_finished(report)
        self._begin_run()
