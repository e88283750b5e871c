"""A sweep by this process: the enforcer's own, with the operator's credentials and without Lambda's time limit."""

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
"""For a plan, which may take as long as it takes."""

_VERIFY_SECONDS = 20.0
_LEAST_SECONDS = 900.0
_CHANGES_A_SECOND = 1.25
"""A quarter of what EC2 allows: a run that gets less than that, because others change instances too, ends unfinished.

So it is known by when the process is done with each change: what it leaves open then, the next sweep finalizes.
"""

_REHEARSED = 5
"""Changes of a region that EC2 is asked about beforehand: permissions may go by tags, and differ."""

_STOP_SECONDS = _VERIFY_SECONDS + 5.0
"""After an interruption, until calls that hang are not waited for: what EC2 answered at once is read back by then."""

_NOT_READ_BACK = Failure("Interrupted", "the change was sent, and was not read back", Kind.UNAVAILABLE)

_REQUEST = SweepRequest(Trigger.COMMAND)

INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found or did: its counts, and each instance that it changed, failed at, or would have changed.

    `cut_off` says that threads of it are still waiting for answers.
    """

    report: RunReport
    results: Sequence[Result]
    cut_off: bool = False

    @property
    def to_change(self) -> list[Result]:
        """The instances that would be changed."""
        return [result for result in self.results if result.outcome is Outcome.WOULD_REMEDIATE]

    def to_change_by_region(self) -> Counter[str]:
        """How many they are."""
        return Counter(result.region for result in self.to_change)


@dataclass(slots=True)
class _Collected:
    """The results so far, from the threads of all regions."""

    report: Callable[[Result], None] = lambda _: None
    _results: dict[str, Result] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, result: Result, _: str = "") -> None:
        """Take one result."""
        with self._lock:
            self._results[result.instance_id] = result
        self.report(result)

    def add_if_new(self, result: Result) -> None:
        """Take one result of an instance that has none yet."""
        with self._lock:
            self._results.setdefault(result.instance_id, result)

    def results(self) -> list[Result]:
        """By region and id."""
        with self._lock:
            return sorted(self._results.values(), key=lambda result: (result.region, result.instance_id))


class LocalSweep:
    """One sweep of these regions under a policy: first what it would change, then the changes.

    `run_id` is what the ledger knows it by. `by` is the operator's ARN; None where there is no ledger to record it.
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
        """What would become of each instance; nothing is written to EC2, and no limit of a sweep applies.

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
        """Why EC2 lets the operator change none of a few of these instances; None if it lets one be changed.

        What else may be wrong with them is for the sweep to find out.

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
        """Change what differs. Once interrupted no change begins, and what was sent is read back, for 20 s at most.

        `report` is called with each result, from several threads.
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
                say("Stopping: no further change begins, and what was sent is read back. Ctrl-C again ends at once.")
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
            say(f"Open entries of the ledger could not be read, and stay open: {error}")
            return ()

    def _cut_off(self, planned: Swept, done: _Collected, run: PolicyRun, seconds: float) -> Swept:
        """What is known while calls still hang: they are not waited for any longer."""
        # Asked before the results: what gets its result meanwhile is in one of the two.
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
