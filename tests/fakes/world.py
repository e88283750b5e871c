"""An account in which anything may happen, with the enforcer at work in it and a judge who sees everything."""

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
"""So long an account's story is at most."""

SCHEDULE: Mapping[str, Any] = {"trigger": "schedule"}
SWEEPS: Sequence[Mapping[str, Any]] = ({}, SCHEDULE, {"inventory": True}, {"source": "aws.ssm"})
Table = Literal["", "reads", "writes", "reads and writes"]
"""What the table refuses."""

_UNREACHABLE = ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "GetParameters")


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How slow AWS is, in seconds, and what goes wrong with it, as in FakeEc2; instances are numbers.

    `blind` lets every read fail, and `defaults_errors` every read and every change of account defaults.
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
    """Two processes of the enforcer in an account of two regions. Instances are told apart by a number."""

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
        """Turn the toggle."""
        self._clients.ssm.put(TOKENS_PARAMETER, tokens)
        self._enact(replace(self.judge.rules, tokens=tokens))

    def _enact(self, rules: Rules) -> None:
        values = self._clients.ssm.values
        self.judge.enact(PolicyVersions(values[TOKENS_PARAMETER][1], values[POLICY_PARAMETER][1]), rules)

    def cut_off(self) -> None:
        """Put Parameter Store out of reach."""
        self._clients.ssm.error = _UNREACHABLE

    def mend(self) -> None:
        """Bring Parameter Store back."""
        self._clients.ssm.error = None

    def launch(self, instance: Instance) -> None:
        """Launch an instance under the next number; even ones at home, odd ones away."""
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
        """Change options of an instance by another hand."""
        for ec2, instance_id in self._there(number):
            if ec2.actual(instance_id).options:
                ec2.set_options(instance_id, **options)
                self.judge.look(ec2.actual(instance_id))

    def bring(self, number: int, state: InstanceState) -> None:
        """Start, stop or terminate an instance; what has ended stays so."""
        for ec2, instance_id in self._there(number):
            if not ec2.actual(instance_id).state.ended:
                ec2.set_state(instance_id, state)

    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Tag an instance."""
        for ec2, instance_id in self._there(number):
            ec2.set_tags(instance_id, **tags)

    def forget(self, number: int) -> None:
        """Let EC2 know an instance no more."""
        for ec2, instance_id in self._there(number):
            ec2.forget(instance_id)

    def prefer(self, region: str, defaults: Mapping[str, Any]) -> None:
        """Set account defaults by another hand."""
        self._clients.defaults[region].put(**defaults)

    def hold(self, number: int) -> None:
        """Hold an instance, by hand. If the table does not take it, it is not held."""
        hold = Hold(instance_id=an_id(number), reason="legacy SDK", by="ana", at=self.clock.now())
        with suppress(AwsError):
            self._clients.ledger_table.holds.write([hold])
            self.judge.hold(an_id(number))

    def release(self, number: int) -> None:
        """End a hold."""
        with suppress(AwsError):
            self._clients.ledger_table.holds.release([an_id(number)])
            self.judge.release(an_id(number))

    def set_back(self, number: int) -> None:
        """Hold an instance and let it have IMDSv1, in this order."""
        self.hold(number)
        if an_id(number) in self.judge.held:
            self.change(number, {"http_tokens": HttpTokens.OPTIONAL})

    def lose_table(self, refuses: Table) -> None:
        """Let the table refuse something from now on, or nothing any more."""
        table = self._clients.table
        table.read_failure = THROTTLED if "reads" in refuses else None
        table.write_failure = THROTTLED if "writes" in refuses else None
        self.judge.table_is_readable(readable=table.read_failure is None)

    def _there(self, number: int) -> Iterator[tuple[FakeEc2, str]]:
        """The instance with this number, if there is one."""
        ec2 = self._clients.ec2(REGIONS[number % 2])
        if an_id(number) in ec2.instance_ids:
            yield ec2, an_id(number)

    def after(self, seconds: float, happening: Callable[[World], None]) -> None:
        """Let something happen so many seconds from now."""
        self.clock.at(self.clock.elapsed + seconds, lambda: happening(self))

    def change_weather(self, weather: Weather) -> None:
        """From now on."""
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
        """Let nothing happen any more, until everything that did has shown and the lease of every run is over."""
        self.clock.cancel()
        self.change_weather(CALM)
        self.mend()
        self.clock.advance(1_000)

    # What the enforcer is asked to do.

    def sweep(self, event: Mapping[str, Any] = SCHEDULE) -> Process | None:
        """One sweep, in a process that is free; None if there is none, or if the sweep could not begin."""
        for process in self._free():
            with suppress(AwsError):
                process.invoke(dict(event))
                return process
        return None

    def sweep_to_the_end(self) -> None:
        """One sweep; and a second one where EC2 refused two options at once, of which it may mean one.

        Tokens and hop limits are right after the first.
        """
        self.judge.refused_at_once.clear()
        self.sweep()
        if self.judge.refused_at_once:
            assert self.without_tokens_or_hops == []
            self.sweep()

    def deliver(self, letters: Sequence[Letter]) -> list[Letter]:
        """One batch, in a process that is free; answers the messages that come back."""
        for process in self._free():
            may_be_invalid = any(not rules.valid for rules in self.judge.lately())
            again = process.deliver(letters)
            may_be_invalid |= any(not rules.valid for rules in self.judge.lately())
            for letter in letters:
                _is_settled_or_back(letter, process, back=letter in again, may_be_invalid=may_be_invalid)
            return again
        return list(letters)

    def _free(self) -> list[Process]:
        return [process for process in self.processes if not process.busy][:1]

    # What is to be seen.

    @property
    def fleet(self) -> list[Instance]:
        """Every instance as it really is."""
        return [ec2.actual(i) for ec2 in self._clients.fakes.values() for i in ec2.instance_ids]

    @property
    def differing(self) -> list[Instance]:
        """The instances that the policy in force asks to be changed, as far as EC2 can, and that nobody holds."""
        return [instance for instance, change in self._wanted() if _changes(instance, change)]

    @property
    def differing_defaults(self) -> list[str]:
        """The regions whose account defaults are not as the policy in force asks."""
        rules, now = self.judge.rules, self.clock.now()
        return [
            name for name, fake in self._clients.defaults.items() if not rules.defaults_agree(name, fake.current, now)
        ]

    @property
    def without_tokens_or_hops(self) -> list[Instance]:
        """Those among them that differ in more than the options which EC2 may refuse."""
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
    """Whether anything is left of the change."""
    return instance.options is not None and change.applied_to(instance.options) != instance.options


def _is_settled_or_back(letter: Letter, process: Process, *, back: bool, may_be_invalid: bool) -> None:
    """A message is acknowledged once its instances are settled, and comes back only for a reason of its own."""
    unlisted = _is_unlisted(letter.region, process)
    if not letter.understood:
        assert back, "what nobody understands has to end in the dead-letter queue"
    elif letter.foreign:
        assert not back, "it is for another account to handle"
    elif letter.refused_launch:
        kept = {sk.partition("#")[2] for pk, sk in process.clients.table.items if pk == "refused-launch"}
        assert back or letter.refused_launch in kept, "a launch was refused, and is forgotten"
    elif not process.reports:
        assert back or may_be_invalid or unlisted, "nothing was done, and the message is gone"
    elif letter.region not in process.reports[0].regions:
        assert back or unlisted, "a region that is not enabled, or of which nobody can say"
    else:
        results = [process.results[letter.region, instance_id] for instance_id in letter.instance_ids]
        unsettled = any(_is_unsettled(result) for result in results)
        assert back >= unsettled, f"{letter} is gone before its time: {results}"
        may_wait = letter.whole_region or letter.of_defaults
        for_nothing = not (unsettled or may_wait or process.reports[0].credentials_refused)
        assert not (back and for_nothing), f"{letter} comes back for nothing: {results}"


def _is_unlisted(region: str, process: Process) -> bool:
    """EC2 does not list the regions, and the policy does not include this one: its events are counted, and over."""
    clients, policies = process.clients, [report.policy for report in process.reports]
    included = any(region in policy.regions.include for policy in policies)
    return clients.unlisted is not None and region not in clients.known_regions and not included


def _is_unsettled(result: Result) -> bool:
    final = result.failure is None or result.failure.kind in {Kind.FINAL, Kind.REGION}
    return result.outcome is Outcome.DEFERRED or (result.outcome is Outcome.FAILED and not final)
