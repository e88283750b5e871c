"""The changes of one region, from planned to read back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from imds_enforcer.aws.boto import MAX_CONNECTIONS, batched
from imds_enforcer.aws.ec2 import FILTER_VALUES
from imds_enforcer.decision.refused_options import lacking, made_after_all
from imds_enforcer.decision.verification import confirmed, superseded, unconfirmed
from imds_enforcer.enforcement.attempt import Attempts, needs_look, seen_again
from imds_enforcer.model import AcceptedChange, AwsError, Failure, Instance, Outcome, PlannedChange, Result
from imds_enforcer.model.result import UNKNOWN_INSTANCE, deferred, failed, unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imds_enforcer.enforcement.context import RegionContext

_FIRST_POLL_SECONDS, _MAX_POLL_SECONDS, _TROUBLE_PAUSE_SECONDS = 0.1, 2.0, 2.0


class Remediation:
    """Works in rounds: send as many changes as EC2's limit allows on fresh observations, then look again.

    One look covers as many instances as one request can name. It reads back accepted changes, renews
    observations that are too old to act on, and shows whether EC2 made an unanswered change. So reads grow
    with time and not with the number of instances, and a retry never rests on an old observation.
    """

    def __init__(
        self,
        context: RegionContext,
        examine: Callable[[Iterable[Instance]], Iterator[PlannedChange | Result]],
        sweep_size: int = 0,
    ) -> None:
        self._context = context
        self._ec2 = context.ec2
        self._clock = context.clock
        self._limits = context.limits
        self._examine = examine
        self._not_begun = sweep_size
        self._waiting: dict[str, PlannedChange | None] = {}  # None: not read since its id was listed
        self._accepted: dict[str, AcceptedChange] = {}
        self._attempts = Attempts(context)
        self._unseen: Failure | None = None  # why the last look failed
        self._looked_at = float("-inf")
        self._poll = 0.0
        self.latest: list[Result] = []  # of this step, also while they are being written to the ledger

    def results(self, backlog: Iterable[tuple[str, PlannedChange | None]]) -> Iterator[Result]:
        """One result for each instance of the backlog, which is read only as fast as its instances are changed."""
        rest = iter(backlog)
        if self._fill(rest):
            for step in self._rounds(rest):
                yield from self._finalized(step)

    def under_way(self) -> list[PlannedChange]:
        """The changes that were sent and have no result yet. Any thread may call it."""
        # In the order in which a change moves, so that none is missed while it moves.
        plans = [
            *list(self._attempts.in_flight.values()),
            *(plan for plan in list(self._waiting.values()) if plan and plan.unanswered),
            *(change.plan for change in list(self._accepted.values())),
        ]
        return [*{plan.instance_id: plan for plan in plans}.values()]

    def _finalized(self, results: Iterable[Result]) -> list[Result]:
        """Write the outcomes to the ledger before they are reported."""
        self.latest = []
        for result in results:
            self.latest.append(self._context.finalize(result))
            self._limits.finished(result)
        self._context.ledger.complete(self.latest)
        if self._context.ledger_failure is None:  # do not wait again for a table that is out of reach
            self._context.refusals.note(self.latest)
        return self.latest

    def _rounds(self, rest: Iterator[tuple[str, PlannedChange | None]]) -> Iterator[Iterable[Result]]:
        self._ec2.prepare_to_modify()
        with ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix=self._ec2.name) as pool:
            while self._fill(rest):
                if self._waiting and (why := self._context.cancellation.reason()):
                    yield from batched(self._give_up(rest, why), FILTER_VALUES)
                    continue
                if not self._ready():
                    yield self._look()
                yield self._check_holds()
                if self._waiting and (why := self._limits.used_up()):
                    yield from batched(self._leave(rest, why), FILTER_VALUES)
                yield self._send(pool)
                if self._waiting or self._accepted:
                    self._pause()

    def _fill(self, rest: Iterator[tuple[str, PlannedChange | None]]) -> bool:
        """Take on as much as one look can cover; False if nothing is left."""
        taken_on = dict(islice(rest, FILTER_VALUES - len(self._waiting) - len(self._accepted)))
        self._waiting.update(taken_on)
        self._not_begun -= len(taken_on)
        return bool(self._waiting or self._accepted)

    def _left(self) -> int:
        """How many changes a sweep still has to make here. Below one for events, which keep no reserve."""
        return self._not_begun + len(self._waiting)

    def _ready(self) -> list[PlannedChange]:
        """The plans that may be sent without another look."""
        plans = filter(None, self._waiting.values())
        return [plan for plan in plans if not needs_look(plan, self._clock) and self._limits.allow(plan)]

    def _look(self) -> Iterator[Result]:
        """Read all instances under way, and yield the results that this shows."""
        seen: dict[str, Instance] = {}
        self._unseen = None
        try:
            seen = self._context.read([*self._waiting, *self._accepted])
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
            result = confirmed(change.plan, instance)
            if result is None and self._context.looked_enough(change.at, self._unseen):
                result = unconfirmed(change.plan, instance, self._unseen)
                if result.outcome is Outcome.FAILED:
                    overtaken = self._context.cancellation.overtaken() if overtaken is None else overtaken
                    result = superseded(result) if overtaken else result
            if result:
                del self._accepted[instance_id]
                self._limits.changed(result)
                yield replace(result, answer=change.answer, refused=lacking(change.plan, result))

    def _decide_again(self, seen: Mapping[str, Instance]) -> Iterator[Result]:
        for instance_id in [each for each in self._waiting if each not in seen]:
            yield self._failed(instance_id, self._waiting.pop(instance_id), UNKNOWN_INSTANCE)
        known = [instance for instance_id, instance in seen.items() if instance_id in self._waiting]
        for each in self._examine(known):
            instance_id = each.instance_id
            plan = self._waiting[instance_id]
            examined = seen_again(plan, each)
            if isinstance(examined, PlannedChange):
                self._waiting[instance_id] = examined
                continue
            if plan and made_after_all(plan, examined):
                # EC2 made a change after all that it had not answered.
                self._accepted[instance_id] = AcceptedChange(plan, self._clock.monotonic())
                self._context.ledger.answered(plan, self._accepted[instance_id])
            else:
                yield examined
            del self._waiting[instance_id]

    def _check_holds(self) -> Iterator[Result]:
        """Clear the plans that may be sent, and yield the results of held instances."""
        if self._context.hold_check is None:
            return
        for checked in self._context.hold_check.review([plan for plan in self._ready() if not plan.cleared]):
            del self._waiting[checked.instance_id]
            if isinstance(checked, PlannedChange):
                self._waiting[checked.instance_id] = checked
            else:
                yield checked

    def _send(self, pool: ThreadPoolExecutor) -> Iterator[Result]:
        """Send as many changes as EC2's limit allows, in parallel, once their intents are written."""
        if self._context.cancellation.cancelled:
            return
        # The breaker may let another plan take the place of one that is now too old: it waits for its own hold check.
        cleared = [plan for plan in self._ready() if plan.cleared or self._context.hold_check is None]
        ready = self._limits.admit(cleared)
        granted = ready[: self._ec2.changes.take(len(ready), self._left())]
        self._limits.withdraw(ready[len(granted) :])
        if not self._context.ledger.intend(granted):
            self._limits.withdraw(granted)
            self._ec2.changes.give_back(len(granted))
            return
        self._attempts = Attempts(self._context)
        sent = {plan.instance_id: pool.submit(self._attempts.send, plan) for plan in granted}
        # Wait for all answers before the first result: the caller may stop asking for results.
        wait(sent.values())
        for plan in granted:
            yield from self._answered(plan, sent[plan.instance_id].result())

    def _answered(self, plan: PlannedChange, answer: AcceptedChange | PlannedChange | Result) -> Iterator[Result]:
        """Sort an instance by EC2's answer, and yield its result if it already has one."""
        self._context.ledger.answered(plan, answer)
        if isinstance(answer, PlannedChange):
            self._limits.withdraw([answer])
        if answer is plan:
            return
        del self._waiting[plan.instance_id]
        if isinstance(answer, PlannedChange):
            # To the end of the line: a change that EC2 refuses again and again must not take every token.
            self._waiting[plan.instance_id] = answer
        elif isinstance(answer, AcceptedChange):
            self._accepted[plan.instance_id] = answer
            self._poll = 0.0
        else:
            self._limits.changed(answer)
            yield answer
        self._attempts.in_flight.pop(plan.instance_id, None)

    def _pause(self) -> None:
        """Sleep until the next change may be sent, or until another look makes sense."""
        seconds = 0.0
        if self._ready():
            # No longer than between two looks: meanwhile the pace grows, and the run may have to end.
            seconds = min(self._ec2.changes.wait(self._left()), _MAX_POLL_SECONDS)
        elif self._unseen or any(plan and plan.doubtful for plan in self._waiting.values()):
            seconds = _TROUBLE_PAUSE_SECONDS
        elif all(plan and not needs_look(plan, self._clock) for plan in self._waiting.values()):
            # Only accepted changes are waited for; the circuit breaker may be waiting for them too.
            seconds = self._looked_at + self._poll - self._clock.monotonic()
            self._poll = min(max(self._poll * 2, _FIRST_POLL_SECONDS), _MAX_POLL_SECONDS)
        if seconds > 0:
            self._clock.sleep(seconds)

    def _give_up(self, rest: Iterator[tuple[str, PlannedChange | None]], why: str) -> Iterator[Result]:
        """Results for all instances not changed: FAILED for a plan with a failure, DEFERRED for the others."""
        if self._unseen and not self._unseen.of_credentials:
            why = f"{why}, and the instance could not be read ({self._unseen})"
        waiting, self._waiting = self._waiting, {}
        for instance_id, plan in chain(waiting.items(), rest):
            if plan and plan.failure:
                yield failed(plan.instance, plan.failure)
            else:
                yield deferred(instance_id, self._ec2.name, plan, why, self._unseen)

    def _leave(self, rest: Iterator[tuple[str, PlannedChange | None]], why: str) -> Iterator[Result]:
        """Results for the instances left to another sweep; changes that were begun go on."""
        begun = [plan for plan in self._waiting.values() if plan and plan.begun]
        waiting, self._waiting, self._not_begun = self._waiting, {plan.instance_id: plan for plan in begun}, 0
        for instance_id, plan in chain(waiting.items(), rest):
            if instance_id not in self._waiting:
                yield replace(deferred(instance_id, self._ec2.name, plan, why), left_to_sweep=True)

    def _failed(self, instance_id: str, plan: PlannedChange | None, failure: Failure) -> Result:
        known = plan and failed(plan.instance, failure)
        return known or unread(instance_id, self._ec2.name, Outcome.FAILED, str(failure), failure)
