"""The changes of one region, from planned to settled."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from imds_enforcer.aws import MAX_CONNECTIONS, batched
from imds_enforcer.ec2 import FILTER_VALUES
from imds_enforcer.failures import AwsError, Failure, Kind
from imds_enforcer.model import Instance, Outcome, Result
from imds_enforcer.plan import UNKNOWN_INSTANCE, Accepted, Planned, failed, result_of, unread
from imds_enforcer.verification import confirmed, not_awaited, unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future

    from imds_enforcer.clock import Clock
    from imds_enforcer.ec2 import Ec2Region
    from imds_enforcer.guard import Guard
    from imds_enforcer.limits import RegionLimits
    from imds_enforcer.mandate import Mandate

MAX_OBSERVATION_AGE = 10.0
"""Seconds after which an instance is read again before it is written to.

Every change has to send HttpEndpoint=enabled; on an old observation that could turn a
metadata service back on which somebody just switched off.
"""

_ATTEMPTS = 3
"""How often a change is sent that EC2 leaves unanswered, or answers with a fault of its own."""

_TROUBLE_PAUSE_SECONDS = 2.0
_FIRST_POLL_SECONDS = 0.1
_MAX_POLL_SECONDS = 2.0


class Remediation:
    """Works in rounds: send what EC2's limit allows of what was just seen; when that is used up, look again.

    One look, of as many instances as one request can name, does three things: it reads back
    what was accepted, it renews the observations that grew too old to act on, and it tells
    whether an attempt that nobody answered was taken. So the number of reads grows with
    time and not with the number of instances, and a retry never rests on an old observation.
    """

    def __init__(  # noqa: PLR0913  # the terms of a run; a class around them would only carry them here
        self,
        ec2: Ec2Region,
        clock: Clock,
        examine: Callable[[Iterable[Instance]], Iterator[Planned | Result]],
        *,
        guard: Guard,
        limits: RegionLimits,
        mandate: Mandate,
        verify_timeout: float,
        share: float,
        settle: Callable[[Result], Result] = lambda result: result,
    ) -> None:
        self._ec2 = ec2
        self._clock = clock
        self._examine = examine
        self._guard = guard
        self._limits = limits
        self._mandate = mandate
        self._verify_timeout = verify_timeout
        self._share = share
        self._settle = settle
        self._waiting: dict[str, Planned | None] = {}  # None: not read since its id was listed
        self._accepted: dict[str, Accepted] = {}
        self._unseen: Failure | None = None  # why the last look failed
        self._throttled = threading.Event()
        self._looked_at = float("-inf")
        self._poll = 0.0

    def results(self, backlog: Iterable[tuple[str, Planned | None]]) -> Iterator[Result]:
        """One result for each instance of the backlog, which is read no faster than it is worked off."""
        rest = iter(backlog)
        if not self._fill(rest):
            return
        try:
            for settled in self._rounds(rest):
                yield from self._ended(settled)
        finally:
            self._guard.close()

    def _ended(self, settled: Iterable[Result]) -> list[Result]:
        """Everything is taken down before the first is handed on: while its taker is busy with it, it is written."""
        results = [self._settle(result) for result in settled]
        for result in results:
            self._guard.ended(result)
            self._limits.ended(result)
        if not (self._waiting or self._accepted):
            self._guard.write_behind()
        return results

    def _rounds(self, rest: Iterator[tuple[str, Planned | None]]) -> Iterator[Iterable[Result]]:
        self._ec2.prepare_to_modify()
        with ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix=self._ec2.name) as pool:
            while self._fill(rest):
                # Whether the policy is still in force may have to be asked, too.
                self._guard.ask(self._ready())
                if self._waiting and (why := self._mandate.ended() or self._guard.stopped or self._limits.tripped):
                    yield from batched(self._give_up(rest, why), FILTER_VALUES)
                    continue
                if not self._ready():
                    yield self._look()
                yield self._review()
                if self._waiting and (why := self._limits.used_up()):
                    yield from batched(self._leave(rest, why), FILTER_VALUES)
                yield self._send(pool)
                self._pause()

    def _fill(self, rest: Iterator[tuple[str, Planned | None]]) -> bool:
        """Take on as much as one look can cover; False if nothing is left."""
        self._waiting.update(islice(rest, FILTER_VALUES - len(self._waiting) - len(self._accepted)))
        return bool(self._waiting or self._accepted)

    def _ready(self) -> list[Planned]:
        """What may be sent without another look."""
        seen = [plan for plan in self._waiting.values() if plan and not plan.doubtful and not self._too_old(plan)]
        return [plan for plan in seen if plan.unanswered] if self._limits.in_doubt else seen

    def _too_old(self, plan: Planned) -> bool:
        return self._clock.monotonic() - plan.instance.observed_at > MAX_OBSERVATION_AGE

    def _look(self) -> Iterator[Result]:
        """Read everything under way, and settle what can be settled by it."""
        seen: dict[str, Instance] = {}
        self._unseen = None
        try:
            seen = self._ec2.read([*self._waiting, *self._accepted])
        except AwsError as error:
            self._unseen = error.failure
        self._looked_at = self._clock.monotonic()
        yield from self._verify(seen)
        if self._unseen is None:
            yield from self._decide_again(seen)
        elif not self._unseen.may_work_later:
            waiting, self._waiting = self._waiting, {}
            yield from (self._failed(instance_id, plan, self._unseen) for instance_id, plan in waiting.items())

    def _verify(self, seen: Mapping[str, Instance]) -> Iterator[Result]:
        overtaken: bool | None = None
        for instance_id, change in list(self._accepted.items()):
            instance = seen.get(instance_id)
            settled = confirmed(change.plan, instance)
            if settled is None and self._clock.monotonic() - change.at >= self._verify_timeout:
                settled = unconfirmed(change.plan, instance, self._unseen)
                if settled.outcome is Outcome.FAILED:
                    overtaken = self._mandate.overtaken() if overtaken is None else overtaken
                    settled = _overtaken(settled) if overtaken else settled
            elif settled is None and self._mandate.no_more_read_back:
                settled = not_awaited(change.plan, instance)
            if settled:
                del self._accepted[instance_id]
                self._limits.changed(settled)
                yield settled

    def _decide_again(self, seen: Mapping[str, Instance]) -> Iterator[Result]:
        for instance_id in [each for each in self._waiting if each not in seen]:
            yield self._failed(instance_id, self._waiting.pop(instance_id), UNKNOWN_INSTANCE)
        known = [instance for instance_id, instance in seen.items() if instance_id in self._waiting]
        for settled in self._examine(known):
            instance_id = settled.instance_id
            plan = self._waiting[instance_id]
            if isinstance(settled, Planned):
                again = replace(settled, unanswered=plan.unanswered, failure=plan.failure) if plan else settled
                self._waiting[instance_id] = again
                continue
            del self._waiting[instance_id]
            if plan and plan.unanswered and settled.outcome is Outcome.COMPLIANT:
                # An attempt that nobody answered was taken after all.
                self._accepted[instance_id] = Accepted(plan, self._clock.monotonic())
                self._guard.answered(plan, self._accepted[instance_id])
            else:
                yield settled

    def _review(self) -> Iterator[Result]:
        """Ask about what may be sent whether anything stands against it."""
        for reviewed in self._guard.review(self._ready()):
            del self._waiting[reviewed.instance_id]
            if isinstance(reviewed, Planned):
                self._waiting[reviewed.instance_id] = reviewed
            else:
                yield reviewed

    def _send(self, pool: ThreadPoolExecutor) -> Iterator[Result]:
        """Send as many changes as EC2's limit allows, side by side, once they are written down."""
        if self._guard.stopped or self._limits.tripped:
            return
        # While changes are in doubt fewer are ready; what is ready again since the review waits for the next one.
        ready = self._limits.admit([plan for plan in self._ready() if self._guard.has_reviewed(plan)])
        self._throttled.clear()
        granted = ready[: self._ec2.changes.take(len(ready), self._share)]
        for plan in ready[len(granted) :]:
            self._limits.withdraw(plan)
        sent: dict[str, Future[Accepted | Planned | Result]] = {}
        for written in self._guard.intend(granted, ready[len(granted) :]):
            sent |= {plan.instance_id: pool.submit(self._change, plan) for plan in written}
        # All answers before the first result: whoever takes the results may stop taking them.
        wait(sent.values())
        for plan in granted:
            if plan.instance_id not in sent:
                self._limits.withdraw(plan)
                self._ec2.changes.answered(self._share, sent=False)
                continue
            answer = sent[plan.instance_id].result()
            instance_id = plan.instance_id
            self._guard.answered(plan, answer)
            if isinstance(answer, Planned):
                self._limits.withdraw(answer)
            if answer is plan:
                continue
            del self._waiting[instance_id]
            if isinstance(answer, Planned):
                # To the end of the line: one that is refused again and again must not take every token.
                self._waiting[instance_id] = answer
            elif isinstance(answer, Accepted):
                self._accepted[instance_id] = answer
                self._poll = 0.0
            else:
                self._limits.changed(answer)
                yield answer

    def _change(self, plan: Planned) -> Accepted | Planned | Result:
        """Send one change. A plan comes back where it has to wait for another round."""
        begins_in_doubt = self._limits.in_doubt and not plan.unanswered
        if begins_in_doubt or self._throttled.is_set() or self._mandate.ended() or self._too_old(plan):
            self._ec2.changes.answered(self._share, sent=False)
            return plan
        self._mandate.sent[plan.instance_id] = plan
        try:
            answer = self._ec2.modify(plan.instance_id, plan.change)
        except AwsError as error:
            self._limits.attempted(plan, error.failure)
            return self._after(error.failure, plan)
        self._limits.attempted(plan, None)
        self._ec2.changes.answered(self._share)
        return Accepted(plan, self._clock.monotonic(), answer)

    def _after(self, failure: Failure, plan: Planned) -> Planned | Result:
        """What follows from a change that failed."""
        if failure.kind is Kind.THROTTLED:
            # EC2's bucket is empty for all: the rest of the round waits with this one.
            self._throttled.set()
            if not plan.unanswered:
                self._mandate.sent.pop(plan.instance_id, None)
            self._ec2.changes.refused(self._share)
            return replace(plan, failure=failure)
        self._ec2.changes.answered(self._share)
        if failure.kind is Kind.UNAVAILABLE and plan.unanswered + 1 < _ATTEMPTS:
            return replace(plan, unanswered=plan.unanswered + 1, doubtful=True, failure=failure)
        return failed(plan.instance, failure)

    def _pause(self) -> None:
        """Until the next change may be sent, or until it makes sense to look again."""
        seconds = 0.0
        if not (self._waiting or self._accepted):
            return
        if self._ready():
            seconds = self._ec2.changes.wait(self._share)
        elif self._unseen or any(plan and plan.doubtful for plan in self._waiting.values()):
            seconds = _TROUBLE_PAUSE_SECONDS
        elif not self._waiting or self._limits.in_doubt:
            seconds = self._looked_at + self._poll - self._clock.monotonic()
            self._poll = min(max(self._poll * 2, _FIRST_POLL_SECONDS), _MAX_POLL_SECONDS)
        if seconds > 0:
            self._clock.sleep(seconds)

    def _give_up(self, rest: Iterator[tuple[str, Planned | None]], why: str) -> Iterator[Result]:
        """Results for everything that was not changed: failed is what was tried, the rest has only to wait."""
        if self._unseen:
            why = f"{why}, and it could not be read ({self._unseen})"
        waiting, self._waiting = self._waiting, {}
        for instance_id, plan in chain(waiting.items(), rest):
            if plan and plan.failure:
                yield failed(plan.instance, plan.failure)
            elif plan:
                reason = f"{why}; {plan.reason}"
                yield result_of(plan.instance, Outcome.DEFERRED, reason, failure=self._unseen)
            else:
                yield unread(instance_id, self._ec2.name, Outcome.DEFERRED, why, self._unseen)

    def _leave(self, rest: Iterator[tuple[str, Planned | None]], why: str) -> Iterator[Result]:
        """Results for everything that another sweep has to change; what was begun here goes on."""
        begun = [plan for plan in self._waiting.values() if plan and plan.unanswered]
        waiting, self._waiting = self._waiting, {plan.instance_id: plan for plan in begun}
        for instance_id, plan in chain(waiting.items(), rest):
            if instance_id in self._waiting:
                continue
            if plan:
                left = result_of(plan.instance, Outcome.DEFERRED, f"{why}; {plan.reason}")
            else:
                left = unread(instance_id, self._ec2.name, Outcome.DEFERRED, why)
            yield replace(left, left_to_sweep=True)

    def _failed(self, instance_id: str, plan: Planned | None, failure: Failure) -> Result:
        if plan:
            return failed(plan.instance, failure)
        return unread(instance_id, self._ec2.name, Outcome.FAILED, str(failure), failure)


def _overtaken(difference: Result) -> Result:
    reason = f"accepted, and then the policy changed; {difference.reason}"
    return replace(difference, outcome=Outcome.DEFERRED, reason=reason, failure=None)
