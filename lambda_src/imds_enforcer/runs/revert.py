"""Revert instances to the options they had before the enforcer changed them, and hold them there."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.enforcement.remediation import Remediation
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.ledger.recovery import completed, left_behind
from imds_enforcer.ledger.undo import NothingToUndoError, OpenChangeError, Undo, to_undo, undo
from imds_enforcer.model import AwsError, Kind, Outcome, PlannedChange, Result, Trigger
from imds_enforcer.model.result import result_of
from imds_enforcer.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from imds_enforcer.aws.services import Clients
    from imds_enforcer.ledger.entry import Entry
    from imds_enforcer.model import Clock, Failure, Instance

_VERIFY_SECONDS = 20.0
_LEAST_SECONDS = 60.0
_CHANGES_A_SECOND = 2.5
"""Half of EC2's limit: a revert has twice the time it needs before its open entries count as left behind."""

_SHOWN = frozenset({Outcome.REMEDIATED, Outcome.PENDING, Outcome.COMPLIANT})


@dataclass(frozen=True, slots=True)
class Reverting:
    """The plan to revert one instance: the entries to undo, and how the instance looks now.

    If `way` is None, one of two fields says why: `nothing_left` if there is nothing left to undo, `problem` if the
    instance cannot be reverted.
    """

    instance_id: str
    region: str = ""
    undone: tuple[Entry, ...] = ()
    instance: Instance | None = None
    way: Undo | None = None
    nothing_left: str | None = None
    problem: str | None = None


class Revert:
    """Plans and carries out a revert that a person ordered; `by` names that person.

    `ledger_failures` says, by region, why the ledger lacks some of the changes. `refused` says why AWS did not accept
    the credentials, which ended the revert.
    """

    def __init__(self, clients: Clients, clock: Clock, *, run_id: str, by: str, overwrite: bool = False) -> None:
        self._clients = clients
        self._clock = clock
        self._run_id = run_id
        self._by = by
        self._overwrite = overwrite
        self.ledger_failures: dict[str, Failure] = {}
        self.refused: Failure | None = None
        self._ways: dict[str, Undo] = {}  # by instance, as of the last look at it

    def plan(self, instance_ids: Iterable[str], run_id: str | None = None) -> list[Reverting]:
        """Plan the revert of each of these instances, or of each instance that the run changed.

        Empty if the ledger has no change of these instances by that run. If a region cannot be read, only its own
        instances have a problem.

        Raises:
            AwsError: if the ledger could not be read, or if entries to complete first could not be written.
        """
        ledger_table = self._clients.ledger_table
        ids = list(dict.fromkeys(instance_ids))
        if run_id is not None and not ids:
            ids = list(dict.fromkeys(entry.instance_id for entry in ledger_table.entries.of_run(run_id)))
        ledger = {instance_id: ledger_table.entries.of(instance_id) for instance_id in ids}
        if run_id is not None and all(entry.run_id != run_id for entries in ledger.values() for entry in entries):
            return []
        by_region: dict[str, list[str]] = defaultdict(list)
        for instance_id, entries in ledger.items():
            if entries:
                by_region[entries[-1].region].append(instance_id)
        plans: dict[str, Reverting] = {}
        for region, named in by_region.items():
            try:
                seen = self._clients.ec2(region).read(named)
            except AwsError as error:
                if error.failure.kind is Kind.CREDENTIALS:
                    raise
                problem = f"the instance cannot be read ({error})"
                plans |= {each: Reverting(each, region, problem=problem) for each in named}
                continue
            for instance_id in named:
                entries = self._completed(ledger[instance_id], seen)
                plans[instance_id] = self._planned(region, instance_id, entries, run_id, seen.get(instance_id))
        nothing = "the ledger has no change left to undo"
        return [plans.get(each) or Reverting(each, nothing_left=nothing) for each in ids]

    def _completed(self, entries: Sequence[Entry], seen: Mapping[str, Instance]) -> list[Entry]:
        """The entries. Those that a process left open are completed from what the instance shows, as in a sweep."""
        left = left_behind(entries, self._clock.now())
        if not left:
            return [*entries]
        done = {entry.at: completed(entry, seen, entries) for entry in left}
        self._clients.ledger_table.entries.write(done.values())
        return [done.get(entry.at, entry) for entry in entries]

    def _planned(
        self, region: str, instance_id: str, entries: Sequence[Entry], run_id: str | None, instance: Instance | None
    ) -> Reverting:
        try:
            undone = to_undo(entries, run_id)
        except NothingToUndoError as error:
            return Reverting(instance_id, region, nothing_left=str(error))
        except OpenChangeError as error:
            return Reverting(instance_id, region, problem=str(error))
        return self._way_back(region, instance_id, undone, instance)

    def _way_back(
        self, region: str, instance_id: str, entries: Sequence[Entry], instance: Instance | None
    ) -> Reverting:
        if instance is None or instance.state.ended:
            return Reverting(instance_id, region, tuple(entries), instance, nothing_left="the instance is gone")
        if instance.unchangeable:
            return Reverting(instance_id, region, tuple(entries), instance, problem=instance.unchangeable)
        if instance.options is None:
            problem = "EC2 returned unrecognized metadata options"
            return Reverting(instance_id, region, tuple(entries), instance, problem=problem)
        way = undo(entries, instance.options, overwrite=self._overwrite)
        return Reverting(instance_id, region, tuple(entries), instance, way)

    def left(self, plan: Reverting) -> tuple[str, ...]:
        """The options that stay as someone else has since set them, as of the last look at the instance."""
        way = self._ways.get(plan.instance_id, plan.way)
        return way.theirs if way else ()

    def is_done(self, plan: Reverting, result: Result | None = None) -> bool:
        """True if the instance is reverted, or will be if there is no result yet; also if nothing is left to undo.

        A change that EC2 shows but has not applied yet counts as done; so does an instance that is gone.
        """
        if plan.way is None:
            return plan.problem is None
        if result is not None and result.outcome is Outcome.GONE:
            return True
        if self.left(plan):
            return False
        if result is None:
            return True
        way = self._ways.get(plan.instance_id, plan.way)
        return result.outcome in _SHOWN and result.after is not None and result.after.agree_with(way.wanted)

    def carry_out(self, plans: Sequence[Reverting], *, reason: str, until: datetime | None = None) -> Iterator[Result]:
        """Hold the instances, revert them and read them back; one result for each that can be reverted.

        All holds are written first. The enforcer reads holds after it looks at an instance, so it cannot
        take a reverted instance for drift.

        Raises:
            AwsError: if the holds could not be written; then nothing is changed.
        """
        possible = [plan for plan in plans if plan.way]
        now = self._clock.now()
        self._clients.ledger_table.holds.write(
            Hold(instance_id=plan.instance_id, reason=reason, by=self._by, at=now, until=until) for plan in possible
        )
        by_region: dict[str, dict[str, Reverting]] = defaultdict(dict)
        for plan in possible:
            by_region[plan.region][plan.instance_id] = plan
        # A person's order follows no policy.
        run = Run(
            run_id=self._run_id,
            clients=self._clients,
            clock=self._clock,
            ledger=self._clients.ledger_table.entries,
            seconds=_LEAST_SECONDS + max(map(len, by_region.values()), default=0) / _CHANGES_A_SECOND,
            verify_timeout=_VERIFY_SECONDS,
            by=self._by,
        )
        with ThreadPoolExecutor(max(1, len(by_region)), thread_name_prefix="region") as pool:
            for results in pool.map(lambda item: list(self._in_region(run, *item)), by_region.items()):
                yield from results
        self.refused = run.cancellation.refused

    def _in_region(self, run: Run, region: str, plans: Mapping[str, Reverting]) -> Iterator[Result]:
        def examine(instances: Iterable[Instance]) -> Iterator[PlannedChange | Result]:
            for instance in instances:
                yield self._examined(instance, plans[instance.instance_id].undone)

        context = run.order(region, Trigger.REVERT, heeds_holds=False)
        remediation = Remediation(context, examine, sweep_size=len(plans))
        yield from remediation.results((instance_id, None) for instance_id in plans)
        if context.ledger_failure:
            self.ledger_failures[region] = context.ledger_failure

    def _examined(self, instance: Instance, undone: Sequence[Entry]) -> PlannedChange | Result:
        """Decide again each time the instance is read: it may have changed since the plan."""
        now = self._way_back(instance.region, instance.instance_id, undone, instance)
        if now.way is None or instance.options is None:
            if now.nothing_left:
                return result_of(instance, Outcome.GONE, now.nothing_left)
            return result_of(instance, Outcome.SKIPPED, now.problem or "", after=instance.options)
        self._ways[instance.instance_id] = now.way
        left = f"; left as someone else set it: {', '.join(now.way.theirs)}" if now.way.theirs else ""
        if now.way.change is None:
            return result_of(instance, Outcome.COMPLIANT, f"nothing to revert{left}", after=instance.options)
        reason = f"reverted to what it was before the run {undone[0].run_id}{left}"
        return PlannedChange(instance, now.way.change, now.way.wanted, reason)
