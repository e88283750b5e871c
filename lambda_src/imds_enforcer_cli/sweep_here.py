"""A sweep by this process: the enforcer's own, in the name of whoever runs the command, without Lambda's time limit."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice

from imds_enforcer.clock import Clock, Deadline
from imds_enforcer.decision import Change
from imds_enforcer.events import SweepRequest, Trigger
from imds_enforcer.failures import AwsError, Failure
from imds_enforcer.ledger import Entry
from imds_enforcer.limits import limits_of
from imds_enforcer.mandate import Mandate
from imds_enforcer.model import Outcome, Result
from imds_enforcer.policy import Mode
from imds_enforcer.recovery import left_behind
from imds_enforcer.report import RegionReport, RunReport
from imds_enforcer.run import Run
from imds_enforcer.sweep import sweep
from imds_enforcer_cli.connection import Connection
from imds_enforcer_cli.interruption import Beside, Interruption, StoppableClock
from imds_enforcer_cli.last_look import last_look
from imds_enforcer_cli.output import say
from imds_enforcer_cli.policy_source import Governing

_A_DAY = 86_400.0
"""For a plan, which may take as long as it takes."""

_VERIFY_SECONDS = 20.0
_LEAST_SECONDS = 900.0
_CHANGES_A_SECOND = 1.25
"""A quarter of what EC2 allows: a run that gets less than that, because others change instances too, ends unfinished.

So it can be told by when the process is done with each change: what it leaves open then, the next sweep settles.
"""

_REHEARSED = 5
"""Changes of a region that EC2 is asked about beforehand: permissions may go by tags, and differ."""

_READ_BACK_SECONDS = 2.0
"""After an interruption, for what was sent to show."""

_STOP_SECONDS = 3.0
"""After an interruption, until nothing is waited for any more: no call that hangs, and no ledger that is slow."""

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

    tell: Callable[[Result], None] = lambda _: None
    _results: dict[str, Result] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, result: Result, _: str = "") -> None:
        """Take one result."""
        with self._lock:
            self._results[result.instance_id] = result
        self.tell(result)

    def results(self) -> list[Result]:
        """By region and id."""
        with self._lock:
            return sorted(self._results.values(), key=lambda result: (result.region, result.instance_id))


class SweepHere:
    """One sweep of these regions under a policy: first what it would change, then the changes.

    `run_id` is what the ledger knows it by. `by` is who runs the command; None where there is no ledger to say it in.
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
        """What would become of each instance; nothing is written to EC2, and no limit of a sweep applies."""
        policy, found = replace(self._rules.policy, mode=Mode.AUDIT), _Collected()
        clock = self._reached.clock
        mandate = Mandate(Deadline.after(clock, _A_DAY), policy.versions, self._rules.versions)
        run = self._run(clock, mandate, _A_DAY, found)
        report = sweep(replace(run, policy=policy), _REQUEST, limits_of(policy, self._regions))
        return Swept(report, found.results())

    def refusal(self, planned: Swept) -> Failure | None:
        """Why EC2 takes no change from whoever runs the command, as far as a few show; None if it takes one of these.

        What else may be wrong with them is for the sweep to find out.
        """
        change = Change(http_tokens=self._rules.policy.http_tokens)
        refused: Failure | None = None
        for region in planned.to_change_by_region():
            for each in islice((result for result in planned.to_change if result.region == region), _REHEARSED):
                try:
                    self._reached.clients.ec2(region).rehearse(each.instance_id, change)
                except AwsError as error:
                    if error.failure.code != "UnauthorizedOperation":
                        return None
                    refused = error.failure
                else:
                    return None
        return refused

    def carry_out(self, planned: Swept, interruption: Interruption, tell: Callable[[Result], None]) -> Swept:
        """Change what differs. Once interrupted no change is begun, and what was done by then is answered in 5 s.

        `tell` is called with each result, from several threads.
        """
        policy, done = self._rules.policy, _Collected(tell)
        clock = StoppableClock(self._reached.clock, interruption)
        most = max(planned.to_change_by_region().values(), default=0)
        seconds = _LEAST_SECONDS + most / _CHANGES_A_SECOND
        mandate = Mandate(Deadline.after(clock, seconds), policy.versions, self._rules.versions)
        run = self._run(clock, mandate, seconds, done)
        started = clock.monotonic()

        def work() -> Swept:
            report = sweep(run, _REQUEST, limits_of(policy, self._regions), self._left_behind())
            return Swept(report, done.results())

        beside, given_up = Beside(work), None
        while not beside.done():
            if interruption.asked and given_up is None:
                given_up = Deadline.after(clock, _STOP_SECONDS)
                mandate.end(INTERRUPTED, Deadline.after(clock, _READ_BACK_SECONDS))
                say("Stopping: no further change is begun. Once more, and this ends at once.")
            elif given_up and given_up.passed:
                return self._cut_off(planned, done, mandate, clock.monotonic() - started)
        return beside.result()

    def _run(self, clock: Clock, mandate: Mandate, seconds: float, found: _Collected) -> Run:
        return Run(
            run_id=self.run_id,
            policy=self._rules.policy,
            clients=self._reached.clients,
            clock=clock,
            mandate=mandate,
            list_deadline=Deadline.after(clock, seconds / 2),
            verify_timeout=_VERIFY_SECONDS,
            ends_at=clock.now() + timedelta(seconds=seconds + 2 * _VERIFY_SECONDS),
            log=found.add,
            shuffle=random.shuffle,
            by=self._by,
        )

    def _left_behind(self) -> Sequence[Entry]:
        try:
            return left_behind(self._reached.clients.records.open_intents(), self._reached.clock.now())
        except AwsError as error:
            say(f"Open entries of the ledger could not be read, and stay open: {error}")
            return ()

    def _cut_off(self, planned: Swept, done: _Collected, mandate: Mandate, seconds: float) -> Swept:
        """What is known while calls still hang: nobody waits for them any longer."""
        known = {result.instance_id for result in done.results()}
        # What was launched since the plan may be among what was sent.
        sent = {instance_id: plan for instance_id, plan in dict(mandate.sent).items() if instance_id not in known}
        for result in last_look(self._reached.clients, self._reached.clock, sent.values()):
            done.add(result)
        for each in planned.to_change:
            if each.instance_id not in known and each.instance_id not in sent:
                done.add(replace(each, outcome=Outcome.DEFERRED, reason=f"{INTERRUPTED}; {each.reason}", after=None))
        results = done.results()
        regions = {name: RegionReport(failure=each.failure) for name, each in planned.report.regions.items()}
        for result in results:
            regions[result.region].add(result)
        report = replace(planned.report, policy=self._rules.policy, regions=regions, seconds=seconds)
        return Swept(replace(report, stopped=INTERRUPTED), results, cut_off=True)
