"""Runs the enforcer's sweep in this process, with the operator's credentials and without Lambda's time limit."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from imds_enforcer.ledger.entry import Entry
from imds_enforcer.ledger.recovery import left_behind
from imds_enforcer.limits.region_limits import limits_of
from imds_enforcer.model import AwsError, Change, Deadline, Failure, Kind, Outcome, Result, Trigger
from imds_enforcer.model.result import result_of
from imds_enforcer.policy import Mode, Policy
from imds_enforcer.reporting.report import RegionReport, RunReport
from imds_enforcer.runs.events import SweepRequest
from imds_enforcer.runs.run import PolicyRun
from imds_enforcer.runs.sweep import sweep
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.account.policy_source import Governing
from imds_enforcer_cli.console.interruption import BackgroundCall, Interruption
from imds_enforcer_cli.console.output import say

_A_DAY = 86_400.0
"""The time limit of a plan: longer than any plan takes."""

_VERIFY_SECONDS = 20.0
_LEAST_SECONDS = 900.0
_CHANGES_A_SECOND = 1.25
"""A quarter of what EC2 allows. A run that gets less, because others change instances too, ends unfinished.

So the process is done with each change by a moment that is known in advance. Entries still open after that moment can
be finalized by later sweeps.
"""

_REHEARSED = 5
"""Changes to try as dry runs in each region: permissions may depend on tags, and so differ between instances."""

_STOP_SECONDS = _VERIFY_SECONDS + 5.0
"""How long to wait for hanging calls after an interruption: enough to read back what EC2 answered at once."""

_NOT_READ_BACK = Failure("Interrupted", "the change was sent but not read back", Kind.UNAVAILABLE)

_REQUEST = SweepRequest(Trigger.COMMAND)

INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found or did: its counts, and each instance that it changed, failed to change, or would change.

    `cut_off` means that some of its threads are still waiting for answers.
    """

    report: RunReport
    results: Sequence[Result]
    cut_off: bool = False

    @property
    def to_change(self) -> list[Result]:
        """The instances that the sweep would change."""
        return [result for result in self.results if result.outcome is Outcome.WOULD_REMEDIATE]

    def to_change_by_region(self) -> Counter[str]:
        """How many instances the sweep would change in each region."""
        return Counter(result.region for result in self.to_change)


@dataclass(slots=True)
class _Collected:
    """The results so far, from the threads of all regions."""

    report: Callable[[Result], None] = lambda _: None
    _results: dict[str, Result] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, result: Result, _: str = "") -> None:
        """Add a result."""
        with self._lock:
            self._results[result.instance_id] = result
        self.report(result)

    def add_if_new(self, result: Result) -> None:
        """Add a result, unless the instance already has one."""
        with self._lock:
            self._results.setdefault(result.instance_id, result)

    def results(self) -> list[Result]:
        """All results, sorted by region and id."""
        with self._lock:
            return sorted(self._results.values(), key=lambda result: (result.region, result.instance_id))


class LocalSweep:
    """One sweep of these regions under a policy: first the plan, then the changes.

    `run_id` identifies it in the ledger. `by` is the operator's ARN; None if there is no ledger to record it.
    """

    def __init__(
        self, reached: Connection, rules: Governing, regions: Sequence[str], *, run_id: str, by: str | None
    ) -> None:
        self._reached = reached
        self._rules = rules
        self._regions = regions
        self.run_id = run_id
        self._by = by

    def plan(self) -> Swept:
        """What the sweep would do with each instance, without writing to EC2 and without the limits of a sweep.

        Raises:
            AwsError: if AWS does not accept the credentials.
        """
        policy, found = replace(self._rules.policy, mode=Mode.AUDIT), _Collected()
        run = self._run(policy, _A_DAY, found)
        report = sweep(run, _REQUEST, limits_of(policy, self._regions))
        if report.credentials_refused:
            raise AwsError(report.credentials_refused)
        return Swept(report, found.results())

    def refusal(self, planned: Swept) -> Failure | None:
        """Why EC2 denies the operator every one of a few sample changes; None if it allows any.

        Other problems with these instances are left for the sweep to find.

        Raises:
            AwsError: if AWS does not accept the credentials.
        """
        change = Change(http_tokens=self._rules.policy.http_tokens)
        refused: Failure | None = None
        for region in planned.to_change_by_region():
            for each in islice((result for result in planned.to_change if result.region == region), _REHEARSED):
                try:
                    self._reached.clients.ec2(region).rehearse(each.instance_id, change)
                except AwsError as error:
                    if error.failure.kind is Kind.CREDENTIALS:
                        raise
                    if error.failure.code != "UnauthorizedOperation":
                        return None
                    refused = error.failure
                else:
                    return None
        return refused

    def carry_out(self, planned: Swept, interruption: Interruption, report: Callable[[Result], None]) -> Swept:
        """Change what differs. After an interruption, begin no change and read back sent ones for at most 20 s.

        It calls `report` with each result, from several threads.
        """
        policy, done = self._rules.policy, _Collected(report)
        clock = self._reached.clock
        most = max(planned.to_change_by_region().values(), default=0)
        run = self._run(policy, _LEAST_SECONDS + most / _CHANGES_A_SECOND, done)
        started = clock.monotonic()

        def work() -> Swept:
            report = sweep(run, _REQUEST, limits_of(policy, self._regions), self._left_behind())
            return Swept(report, done.results())

        interruption.under_way = lambda: [plan.instance_id for plan in run.under_way()]
        call, given_up = BackgroundCall(work), None
        while not call.done():
            if interruption.asked and given_up is None:
                given_up = Deadline.after(clock, _STOP_SECONDS)
                run.cancellation.cancel(INTERRUPTED)
                say("Stopping: no further change begins; reading back sent changes. Press Ctrl-C again to end at once.")
            elif given_up and given_up.passed:
                return self._cut_off(planned, done, run, clock.monotonic() - started)
        return call.result()

    def _run(self, policy: Policy, seconds: float, found: _Collected) -> PolicyRun:
        return PolicyRun(
            run_id=self.run_id,
            policy=policy,
            source=self._rules.source,
            clients=self._reached.clients,
            clock=self._reached.clock,
            ledger=self._reached.clients.ledger_table.entries,
            seconds=seconds,
            verify_timeout=_VERIFY_SECONDS,
            log=found.add,
            shuffle=random.shuffle,
            by=self._by,
        )

    def _left_behind(self) -> Sequence[Entry]:
        try:
            return left_behind(self._reached.clients.ledger_table.entries.open_intents(), self._reached.clock.now())
        except AwsError as error:
            if error.failure.kind is Kind.CREDENTIALS:
                raise
            say(f"The ledger's open entries could not be read and stay open: {error}")
            return ()

    def _cut_off(self, planned: Swept, done: _Collected, run: PolicyRun, seconds: float) -> Swept:
        """What is known so far, without waiting any longer for calls that hang."""
        # Read this before the results: a change that ends in between is then in at least one of them.
        under_way = run.under_way()
        for result in [
            *run.latest(),
            *(
                result_of(plan.instance, Outcome.FAILED, f"{_NOT_READ_BACK}; {plan.reason}", failure=_NOT_READ_BACK)
                for plan in under_way
            ),
            *(
                replace(each, outcome=Outcome.DEFERRED, reason=f"{INTERRUPTED}; {each.reason}", after=None)
                for each in planned.to_change
            ),
        ]:
            done.add_if_new(result)
        results = done.results()
        regions = {name: RegionReport(failure=each.failure) for name, each in planned.report.regions.items()}
        for result in results:
            regions[result.region].add(result)
        report = replace(planned.report, policy=self._rules.policy, regions=regions, seconds=seconds)
        return Swept(replace(report, stopped=INTERRUPTED), results, cut_off=True)
