"""An account in which anything may happen, with the enforcer at work and a judge who sees everything."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from imds_enforcer.decision.legacy_calls import SERVED
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import AwsError, Failure, HttpTokens, Kind, Outcome
from imds_enforcer.policy import PolicyVersions
from tests.fakes.clients import FakeClients
from tests.fakes.clock import FakeClock
from tests.fakes.examples import AWAY, HOME, POLICY_PARAMETER, THROTTLED, TOKENS_PARAMETER, an_id
from tests.fakes.judge import Judge
from tests.fakes.process import Letter, Process
from tests.fakes.rules import CALLING_GROUP, calls_imdsv1, is_xen, refused_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from imds_enforcer.model import Change, Instance, InstanceState, Result
    from tests.fakes.ec2 import FakeEc2
    from tests.fakes.rules import Rules

REGIONS = (HOME, AWAY)
_DAYS = 60
"""The longest story of an account."""

SCHEDULE: Mapping[str, Any] = {"trigger": "schedule"}
SWEEPS: Sequence[Mapping[str, Any]] = ({}, SCHEDULE, {"inventory": True}, {"source": "aws.ssm"})
Table = Literal["", "reads", "writes", "reads and writes"]
"""The requests that the table refuses."""

_UNREACHABLE = ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "GetParameters")


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How slow AWS is, in seconds, and what goes wrong with it, as in FakeEc2; instances are numbers.

    `blind` makes every read fail; `defaults_errors` are the errors of every read and every change of account defaults.
    """

    visible_after: float = 0
    applied_after: float = 0
    read_seconds: float = 0
    modify_seconds: float = 0
    policy_seconds: float = 0
    page_size: int = 1000
    modify_errors: Mapping[int, Sequence[Failure]] = field(default_factory=dict)
    read_errors: Mapping[int, Failure] = field(default_factory=dict)
    find_errors: Mapping[int, Failure] = field(default_factory=dict)
    blind: bool = False
    regions_error: Failure | None = None
    ignored: frozenset[int] = frozenset()
    unanswered: frozenset[int] = frozenset()
    cloudwatch_error: Failure | None = None
    table: Table = ""
    defaults_errors: tuple[Failure | None, Failure | None] = (None, None)


CALM = Weather()


class World:
    """Two processes of the enforcer in an account with two regions. Each instance has a number."""

    def __init__(self, rules: Rules, instances: Iterable[Instance] = ()) -> None:
        self.clock = FakeClock()
        self._clients = FakeClients(self.clock, *REGIONS)
        self.judge = Judge(self.clock, self._clients.table)
        self.processes = [
            Process("first", self._clients, self.judge),
            Process("second", self._clients.in_another_process(), self.judge),
        ]
        self.launched = 0
        self.put(rules)
        for metrics in self._clients.metrics.values():
            metrics.groups[SERVED, CALLING_GROUP] = self._every_day()
        for region, defaults in self._clients.defaults.items():
            defaults.judge = partial(self.judge.defaults, region)
        for instance in instances:
            self.launch(instance)

    # What happens to the account.

    def put(self, rules: Rules) -> None:
        """Write both parameters."""
        self._clients.ssm.put(TOKENS_PARAMETER, rules.tokens)
        self._clients.ssm.put(POLICY_PARAMETER, rules.text)
        self._enact(rules)

    def turn(self, tokens: str) -> None:
        """Set the toggle."""
        self._clients.ssm.put(TOKENS_PARAMETER, tokens)
        self._enact(replace(self.judge.rules, tokens=tokens))

    def _enact(self, rules: Rules) -> None:
        values = self._clients.ssm.values
        self.judge.enact(PolicyVersions(values[TOKENS_PARAMETER][1], values[POLICY_PARAMETER][1]), rules)

    def cut_off(self) -> None:
        """Put Parameter Store out of reach."""
        self._clients.ssm.error = _UNREACHABLE

    def reconnect(self) -> None:
        """Bring Parameter Store back within reach."""
        self._clients.ssm.error = None

    def launch(self, instance: Instance) -> None:
        """Launch an instance under the next number: even numbers at home, odd ones in the other region."""
        number = self.launched
        self.launched += 1
        ec2 = self._clients.ec2(REGIONS[number % 2])
        ec2.launch(replace(instance, instance_id=an_id(number)))
        del ec2.shown[an_id(number)]
        if calls_imdsv1(an_id(number)):
            self._clients.metrics[ec2.name].data[SERVED, an_id(number)] = self._every_day()
        if is_xen(an_id(number)):
            ec2.xen.add(an_id(number))
        self.judge.look(ec2.actual(an_id(number)))

    def _every_day(self) -> list[tuple[datetime, float]]:
        return [(self.clock.now() + timedelta(days=day), 1) for day in range(-1, _DAYS)]

    def change(self, number: int, options: Mapping[str, Any]) -> None:
        """Change options of an instance as someone else would."""
        for ec2, instance_id in self._there(number):
            if ec2.actual(instance_id).options:
                ec2.set_options(instance_id, **options)
                self.judge.look(ec2.actual(instance_id))

    def bring(self, number: int, state: InstanceState) -> None:
        """Start, stop or terminate an instance, unless it has ended."""
        for ec2, instance_id in self._there(number):
            if not ec2.actual(instance_id).state.ended:
                ec2.set_state(instance_id, state)

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Tag an instance."""
        for ec2, instance_id in self._there(number):
            ec2.set_tags(instance_id, **tags)

    def forget(self, number: int) -> None:
        """Make EC2 forget an instance."""
        for ec2, instance_id in self._there(number):
            ec2.forget(instance_id)

    def prefer(self, region: str, defaults: Mapping[str, Any]) -> None:
        """Set account defaults as someone else would."""
        self._clients.defaults[region].put(**defaults)

    def hold(self, number: int) -> None:
        """Hold an instance by hand; if the table refuses the hold, the instance is not held."""
        hold = Hold(instance_id=an_id(number), reason="legacy SDK", by="ana", at=self.clock.now())
        with suppress(AwsError):
            self._clients.ledger_table.holds.write([hold])
            self.judge.hold(an_id(number))

    def release(self, number: int) -> None:
        """End a hold."""
        with suppress(AwsError):
            self._clients.ledger_table.holds.release([an_id(number)])
            self.judge.release(an_id(number))

    def revert(self, number: int) -> None:
        """Revert an instance as an operator would: hold it first, then allow IMDSv1."""
        self.hold(number)
        if an_id(number) in self.judge.held:
            self.change(number, {"http_tokens": HttpTokens.OPTIONAL})

    def lose_table(self, refuses: Table) -> None:
        """From now on, let the table refuse these requests; with an empty string, none."""
        table = self._clients.table
        table.read_failure = THROTTLED if "reads" in refuses else None
        table.write_failure = THROTTLED if "writes" in refuses else None
        self.judge.table_is_readable(readable=table.read_failure is None)

    def _there(self, number: int) -> Iterator[tuple[FakeEc2, str]]:
        """The region and id of the instance with this number, if it exists."""
        ec2 = self._clients.ec2(REGIONS[number % 2])
        if an_id(number) in ec2.instance_ids:
            yield ec2, an_id(number)

    def after(self, seconds: float, happening: Callable[[World], None]) -> None:
        """Let something happen this many seconds from now."""
        self.clock.at(self.clock.elapsed + seconds, lambda: happening(self))

    def change_weather(self, weather: Weather) -> None:
        """Apply new weather from now on."""
        self._clients.ssm.delay = lambda: self.clock.advance(weather.policy_seconds)
        self.lose_table(weather.table)
        for metrics in self._clients.metrics.values():
            metrics.failure = weather.cloudwatch_error
        for defaults in self._clients.defaults.values():
            defaults.read_failure, defaults.set_failure = weather.defaults_errors
            defaults.visible_after, defaults.read_seconds = weather.visible_after, weather.read_seconds
        for ec2 in [ec2 for process in self.processes for ec2 in process.clients.fakes.values()]:
            ec2.visible_after, ec2.applied_after = weather.visible_after, weather.applied_after
            ec2.read_seconds, ec2.modify_seconds = weather.read_seconds, weather.modify_seconds
            ec2.page_size, ec2.regions_error = weather.page_size, weather.regions_error
            ec2.read_errors = dict.fromkeys(range(1_000), THROTTLED) if weather.blind else dict(weather.read_errors)
            ec2.find_errors = dict(weather.find_errors)
            ec2.modify_errors.clear()
            ec2.modify_errors.update({an_id(number): list(errors) for number, errors in weather.modify_errors.items()})
            ec2.ignored = {an_id(number) for number in weather.ignored}
            ec2.unanswered = {an_id(number) for number in weather.unanswered}

    def calm_down(self) -> None:
        """Stop all events and faults, and wait until every change shows and every lease has ended."""
        self.clock.cancel()
        self.change_weather(CALM)
        self.reconnect()
        self.clock.advance(1_000)

    # What the enforcer has to do.

    def sweep(self, event: Mapping[str, Any] = SCHEDULE) -> Process | None:
        """Sweep in a free process; None if no process is free, or if the sweep could not begin."""
        for process in self._free():
            with suppress(AwsError):
                process.invoke(dict(event))
                return process
        return None

    def sweep_to_the_end(self) -> None:
        """Sweep, and sweep again if EC2 refused a change with two options, of which it may mean only one.

        Tokens and hop limits are right after the first sweep.
        """
        self.judge.refused_at_once.clear()
        self.sweep()
        if self.judge.refused_at_once:
            assert self.without_tokens_or_hops == []
            self.sweep()

    def deliver(self, letters: Sequence[Letter]) -> list[Letter]:
        """Deliver a batch to a free process; returns the messages that come back."""
        for process in self._free():
            may_be_invalid = any(not rules.valid for rules in self.judge.lately())
            again = process.deliver(letters)
            may_be_invalid |= any(not rules.valid for rules in self.judge.lately())
            for letter in letters:
                _is_final_or_back(letter, process, back=letter in again, may_be_invalid=may_be_invalid)
            return again
        return list(letters)

    def _free(self) -> list[Process]:
        return [process for process in self.processes if not process.busy][:1]

    # What a test can see.

    @property
    def fleet(self) -> list[Instance]:
        """Every instance as it really is."""
        return [ec2.actual(i) for ec2 in self._clients.fakes.values() for i in ec2.instance_ids]

    @property
    def differing(self) -> list[Instance]:
        """The instances without a hold that EC2 can change and the policy in force wants changed."""
        return [instance for instance, change in self._wanted() if _changes(instance, change)]

    @property
    def differing_defaults(self) -> list[str]:
        """The regions whose account defaults differ from the policy in force."""
        rules, now = self.judge.rules, self.clock.now()
        return [
            name for name, fake in self._clients.defaults.items() if not rules.defaults_agree(name, fake.current, now)
        ]

    @property
    def without_tokens_or_hops(self) -> list[Instance]:
        """The differing instances that differ in more than the options that EC2 may refuse."""
        return [
            instance
            for instance, change in self._wanted()
            if _changes(instance, replace(change, http_protocol_ipv6=None, instance_metadata_tags=None))
        ]

    def _wanted(self) -> Iterator[tuple[Instance, Change]]:
        for instance in self.fleet:
            change = self.judge.rules.change_for(instance, self.clock.now())
            if change and instance.instance_id not in self.judge.held:
                yield instance, replace(change, **dict.fromkeys(refused_options(instance, change)))  # type: ignore[arg-type]


def _changes(instance: Instance, change: Change) -> bool:
    """Whether the change makes a difference."""
    return instance.options is not None and change.applied_to(instance.options) != instance.options


def _is_final_or_back(letter: Letter, process: Process, *, back: bool, may_be_invalid: bool) -> None:
    """A message is acknowledged once its instances have final outcomes, and comes back only for its own reason."""
    unlisted = _is_unlisted(letter.region, process)
    if not letter.understood:
        assert back, "a malformed message must end in the dead-letter queue"
    elif letter.foreign:
        assert not back, "an event of another account came back"
    elif letter.refused_launch:
        kept = {sk.partition("#")[2] for pk, sk in process.clients.table.items if pk == "refused-launch"}
        assert back or letter.refused_launch in kept, "a refused launch was lost"
    elif not process.reports:
        assert back or may_be_invalid or unlisted, "the message was acknowledged, but nothing was done"
    elif letter.region not in process.reports[0].regions:
        assert back or unlisted, "the message was acknowledged, but its region is not enabled or not known to be"
    else:
        results = [process.results[letter.region, instance_id] for instance_id in letter.instance_ids]
        not_final = any(_is_not_final(result) for result in results)
        assert back >= not_final, f"{letter} was acknowledged too early: {results}"
        may_wait = letter.whole_region or letter.of_defaults
        for_nothing = not (not_final or may_wait or process.reports[0].credentials_refused)
        assert not (back and for_nothing), f"{letter} comes back without a reason: {results}"


def _is_unlisted(region: str, process: Process) -> bool:
    """EC2 does not list the regions and the policy does not include this one: its events are only counted."""
    clients, policies = process.clients, [report.policy for report in process.reports]
    included = any(region in policy.regions.include for policy in policies)
    return clients.unlisted is not None and region not in clients.known_regions and not included


def _is_not_final(result: Result) -> bool:
    final = result.failure is None or result.failure.kind in {Kind.FINAL, Kind.REGION}
    return result.outcome is Outcome.DEFERRED or (result.outcome is Outcome.FAILED and not final)
