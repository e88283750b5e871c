"""Checks every change and every outcome against the policy in force and what EC2 had shown."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.aws.parameter_store import CACHE_SECONDS
from imds_enforcer.enforcement.attempt import MAX_OBSERVATION_AGE
from imds_enforcer.model import Kind, OptionsState, Outcome, Switch
from tests.fakes.clock import START
from tests.fakes.records import FakeTable
from tests.fakes.rules import smaller

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from imds_enforcer.model import Change, Instance, Result
    from imds_enforcer.model.region_defaults import RegionDefaults
    from imds_enforcer.policy import PolicyVersions
    from imds_enforcer.reporting.report import RunReport
    from tests.fakes.clock import FakeClock
    from tests.fakes.ec2 import FakeEc2
    from tests.fakes.rules import Rules

_ROUNDING = 1e-6

_CAN_BE_REFUSED = ("http_protocol_ipv6", "instance_metadata_tags")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A result with its time, the instance as the run had last seen it, and the number of changes sent by then."""

    result: Result
    now: datetime
    shown: Instance | None
    sent: int


class Judge:
    """Knows which policy was in force when; counts changes, and raises AssertionError for what must never happen."""

    def __init__(self, clock: FakeClock, table: FakeTable) -> None:
        self._clock = clock
        # The judge can read the table even while the enforcer cannot reach it.
        within_reach = FakeTable()
        within_reach.items = table.items
        self._ledger_table = within_reach.ledger_table(clock)
        self._unreadable_since = float("inf")
        self._ever_held: set[str] = set()
        self._asked_for: set[str] = set()
        self.held: dict[str, float] = {}
        self._history: list[tuple[float, PolicyVersions, Rules]] = []
        self._off_since: dict[str, float] = {}
        self._refused: dict[str, set[str]] = defaultdict(set)
        self.refusals: list[str] = []
        self.refused_at_once: set[str] = set()
        self.changes = self.defaults_changes = 0

    def enact(self, versions: PolicyVersions, rules: Rules) -> None:
        """Record a policy that is in force from now on."""
        self._history.append((self._clock.monotonic(), versions, rules))

    @property
    def rules(self) -> Rules:
        """The policy in force."""
        return self._history[-1][2]

    def lately(self) -> list[Rules]:
        """Every policy in force at some moment within the age that the enforcer's copy may have."""
        since = self._clock.monotonic() - CACHE_SECONDS - _ROUNDING
        begun = [index for index, (moment, _, _) in enumerate(self._history) if moment <= since]
        return [rules for _, _, rules in self._history[begun[-1] if begun else 0 :]]

    def look(self, instance: Instance) -> None:
        """Record options that someone else has set."""
        if instance.options and instance.options.http_endpoint is Switch.DISABLED:
            self._off_since.setdefault(instance.instance_id, self._clock.monotonic())
        else:
            self._off_since.pop(instance.instance_id, None)

    def hold(self, instance_id: str) -> None:
        """Record a hold."""
        self._ever_held.add(instance_id)
        self.held.setdefault(instance_id, self._clock.monotonic())

    def release(self, instance_id: str) -> None:
        """Record the end of a hold."""
        self.held.pop(instance_id, None)

    def refuse(self, instance_id: str, change: Change) -> None:
        """Record a change that EC2 refused because the instance cannot have one of its options.

        If the change has two such options, the enforcer leaves one of them to its next run.
        """
        named = {name for name in _CAN_BE_REFUSED if getattr(change, name)}
        assert named, "EC2 never refuses a change of tokens and hop limit alone for that"
        self.refusals.append(instance_id)
        self._refused[instance_id] |= named
        if len(named) > 1:
            self.refused_at_once.add(instance_id)

    def table_is_readable(self, *, readable: bool) -> None:
        """Record whether holds can be read."""
        self._unreadable_since = float("inf") if readable else min(self._unreadable_since, self._clock.monotonic())

    def change(self, ec2: FakeEc2, instance_id: str, change: Change) -> None:
        """Check a change that has been sent."""
        self.changes += 1
        shown = ec2.shown.get(instance_id)
        assert shown is not None, f"{instance_id} was changed without an observation"
        assert instance_id not in ec2.unseen, f"{instance_id} was changed again before the first change was read back"
        age = self._clock.monotonic() - shown.observed_at
        assert age <= MAX_OBSERVATION_AGE, f"{instance_id} was changed on an observation {age} s old"
        off_since = self._off_since.get(instance_id, float("inf"))
        off_for = self._clock.monotonic() - off_since
        assert off_for <= MAX_OBSERVATION_AGE, f"the metadata service of {instance_id} has been off for {off_for} s"
        assert (instance_id, change) not in ec2.refusals, (
            f"EC2 has already refused {change} of {instance_id} in this run"
        )
        asked = [rules.change_for(shown, self._clock.now()) for rules in self.lately()]
        allowed = [*asked, *(less for full in asked if full for less in self._less(shown, full))]
        assert change in allowed, f"{change} was sent to {shown}; allowed: {allowed}"
        held_at = self.held.get(instance_id, float("inf"))
        assert shown.observed_at <= held_at, f"{instance_id} was changed on an observation made after its hold"
        assert shown.observed_at <= self._unreadable_since, f"{instance_id} was changed while holds cannot be read"
        self._is_written_down(shown, change)
        self._asked_for.add(instance_id)

    def defaults(self, region: str, shown: RegionDefaults, wanted: RegionDefaults) -> None:
        """Check account defaults that have been sent."""
        self.defaults_changes += 1
        age = self._clock.monotonic() - shown.observed_at
        assert age <= MAX_OBSERVATION_AGE, f"the defaults of {region} were set on an observation {age} s old"
        lately = [rules for rules in self.lately() if rules.sets_defaults(region, self._clock.now())]
        assert lately, f"{wanted} was sent to {region}, but no policy asks for it"
        entries = self._ledger_table.defaults.of(region)
        assert (shown, wanted) in [(entry.before, entry.wanted) for entry in entries if entry.outcome is None]
        loosened = [
            name
            for name, tight in (("http_tokens", "required"), ("http_tokens_enforced", "enabled"))
            if getattr(shown, name) == tight and getattr(wanted, name) != tight
        ]
        if loosened:
            assert any(rules.tokens == "optional" for rules in lately), (
                f"{loosened} of {region} was loosened, but no policy allows it"
            )
        for name in loosened:
            set_by_us = [e for e in entries if getattr(e.before, name) != getattr(e.wanted, name) and e.outcome]
            assert set_by_us, f"{name} of {region} was loosened, but the enforcer never set it"
        stranded = wanted.enforces_tokens and wanted.http_tokens != "required" and not shown.enforces_tokens
        assert not stranded, f"every launch in {region} that names no tokens would fail"

    def _less(self, shown: Instance, full: Change) -> list[Change]:
        """Smaller changes that may replace one of which EC2 has refused an option, if they change anything."""
        assert shown.options is not None
        refused = self._refused[shown.instance_id]
        return [
            less
            for less in smaller(full)
            if less.applied_to(shown.options) != shown.options
            and any(getattr(full, name) and not getattr(less, name) for name in refused)
            and less.http_put_response_hop_limit == full.http_put_response_hop_limit
        ]

    def _is_written_down(self, shown: Instance, change: Change) -> None:
        """The ledger has the intent, with the options that the enforcer decided on."""
        assert shown.options is not None
        entries = self._ledger_table.entries.of(shown.instance_id)
        intents = [(entry.before, entry.wanted) for entry in entries if entry.outcome is None]
        assert (shown.options, change.applied_to(shown.options)) in intents, (
            f"{change} was sent to {shown}; the ledger has {entries}"
        )

    def run(
        self,
        report: RunReport,
        evidence: Collection[Evidence],
        seen: Mapping[str, Collection[str]],
        left_behind: Collection[str],
    ) -> None:
        """Check a run that has ended; `seen` has, by region, the instances that EC2 or an event named to it.

        The run may have read those in `left_behind` only to finalize the changes that an earlier process left open.
        """
        versions = report.policy.versions
        rules = next(rules for _, known, rules in reversed(self._history) if known == versions)
        assert rules.valid, "a run under an invalid policy"
        for one in evidence:
            self._result(one, rules)
        self._ledger()
        counted = Counter((one.result.region, one.result.instance_id) for one in evidence)
        assert not counted or max(counted.values()) == 1, "an instance has more than one outcome"
        for region, part in report.regions.items():
            of_region = {instance_id for name, instance_id in counted if name == region}
            assert part.outcomes.total() == len(of_region), "the report's counts differ from the outcomes"
            if part.failure is None:
                missing = set(seen[region]) ^ of_region
                assert missing <= {*left_behind} - of_region, "the outcomes do not match the instances that the run saw"
            else:
                assert of_region <= set(seen[region])
        assert set(seen) <= set(report.regions) or not any(seen[name] for name in set(seen) - set(report.regions))

    def _ledger(self) -> None:
        """The ledger has no change that was never sent to EC2."""
        for entry in self._ledger_table.entries.since(START):
            unasked = entry.result is not None and entry.instance_id not in self._asked_for
            assert not unasked, f"never sent to EC2: {entry}"

    def _result(self, one: Evidence, rules: Rules) -> None:
        result, shown = one.result, one.shown
        options = shown.options if shown else None
        is_off = options is not None and options.http_endpoint is Switch.DISABLED
        ended = shown is None or shown.state.ended
        applied = options is not None and options.state is OptionsState.APPLIED
        shown_applied = rules.agree_with(options) and applied
        but_for = self._refused[result.instance_id] if result.refused else set()
        agrees = rules.agree_with(options, but_for)
        lacks = bool(result.refused) and agrees and not rules.agree_with(options) and not is_off
        # An unanswered change may have taken effect or not, as may someone else's: that it was sent is enough.
        proofs: dict[Outcome, Callable[[], object]] = {
            Outcome.REMEDIATED: lambda: agrees and applied and not is_off and one.sent and result.after == options,
            Outcome.PENDING: lambda: one.sent and (result.after is None or result.after == options),
            Outcome.COMPLIANT: lambda: rules.agree_with(options) and not is_off and result.after == options,
            Outcome.EXEMPT: lambda: shown and rules.exempts(shown, one.now),
            Outcome.SKIPPED: lambda: (
                is_off
                or ended
                or lacks
                or not rules.covers(result.region)
                or (shown and (shown.managed_by is not None or not rules.has_reached(shown, one.now)))
            ),
            Outcome.WOULD_REMEDIATE: lambda: rules.audit and not rules.agree_with(options),
            Outcome.GONE: lambda: ended or (result.failure and result.failure.kind is Kind.UNKNOWN_INSTANCE),
            Outcome.FAILED: lambda: result.failure is not None,
            Outcome.DEFERRED: lambda: result.reason,
            Outcome.HELD: lambda: result.instance_id in self._ever_held or rules.has_gate,
            Outcome.CONTESTED: lambda: shown and not rules.agree_with(options),
        }
        assert proofs[result.outcome](), f"{result} of {shown}, sent {one.sent} times"
        assert not result.compliant or shown_applied or is_off, f"{result} counts as compliant, but EC2 shows {options}"
        assert not (rules.audit and one.sent), f"a change in audit mode: {result}"
