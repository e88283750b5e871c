"""The adapters of one process, in memory."""

from __future__ import annotations

import threading
from copy import copy
from typing import TYPE_CHECKING, Any, cast

from imds_enforcer.aws.parameter_store import PolicyStore
from imds_enforcer.aws.services import Clients
from imds_enforcer.aws.sns import Notifications
from imds_enforcer.aws.sqs import EventQueue
from imds_enforcer.limits.cancellation import Cancellation
from imds_enforcer.model import AwsError, Deadline, Failure
from imds_enforcer.policy import PolicyVersions
from imds_enforcer.runs.run import PolicyRun
from tests.fakes.account_defaults import FakeDefaults
from tests.fakes.clock import START
from tests.fakes.ec2 import FakeEc2
from tests.fakes.examples import AWAY, HOME, POLICY_PARAMETER, TOKENS_PARAMETER, a_policy
from tests.fakes.records import FakeCallMetrics, FakeTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from botocore.exceptions import ClientError
    from mypy_boto3_ssm import SSMClient

    from imds_enforcer.enforcement.enforcer import Enforcer
    from imds_enforcer.model import Result
    from imds_enforcer.policy import Policy
    from tests.fakes.clock import FakeClock


class FakeSsm:
    """Parameter Store: the one call that the enforcer makes, and the one that people make.

    `delay` runs before the first is answered, `before_put` before the second takes effect.
    """

    def __init__(self) -> None:
        self.values: dict[str, tuple[str, int]] = {}
        self.requests: list[dict[str, Any]] = []
        self.error: ClientError | None = None
        self.delay: Callable[[], None] | None = None
        self.before_put: Callable[[], None] = lambda: None
        self.puts: list[dict[str, Any]] = []

    def store(self, clock: FakeClock) -> PolicyStore:
        """A new reader that has read nothing yet."""
        return PolicyStore(cast("SSMClient", self), clock, TOKENS_PARAMETER, POLICY_PARAMETER)

    def put(self, name: str, value: str) -> None:
        """Store a value under the next version."""
        _, version = self.values.get(name, ("", 0))
        self.values[name] = (value, version + 1)

    def get_parameters(self, **request: Any) -> dict[str, Any]:
        """Those of the requested parameters that exist."""
        self.requests.append(request)
        found = {name: self.values[name] for name in request["Names"] if name in self.values}
        if self.delay:
            self.delay()
        if self.error:
            raise self.error
        return {
            "Parameters": [
                {"Name": name, "Value": value, "Version": v, "LastModifiedDate": START}
                for name, (value, v) in found.items()
            ],
            "InvalidParameters": [name for name in request["Names"] if name not in found],
        }

    def put_parameter(self, **request: Any) -> dict[str, Any]:
        """Replace a value."""
        self.before_put()
        self.puts.append(request)
        self.put(request["Name"], request["Value"])
        return {"Version": self.values[request["Name"]][1]}


class FakeQueue(EventQueue):
    """Records each message's delay, by the id in its receipt handle (see `a_message`)."""

    def __init__(self) -> None:
        self.delays: dict[str, int] = {}
        self.failure: Failure | None = None

    def deliver_again(self, delays: Mapping[str, int]) -> None:
        """Record the delays, or fail."""
        if self.failure:
            raise AwsError(self.failure)
        self.delays |= {handle.removeprefix("receipt-"): delay for handle, delay in delays.items()}


class FakeTopic(Notifications):
    """Records the mails."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str]] = []
        self.failure: Failure | None = None

    def send(self, subject: str, message: str) -> None:
        """Record a mail, or fail."""
        if self.failure:
            raise AwsError(self.failure)
        self.mails.append((subject, message))


class FakeClients(Clients):
    """An account with a home region and any other regions named."""

    def __init__(self, clock: FakeClock, *regions: str) -> None:
        names = regions or (HOME, AWAY)
        self.clock = clock
        self.prepared = threading.Event()
        self.fakes = {name: FakeEc2(clock, name, names) for name in names}
        self.defaults = {name: FakeDefaults(clock) for name in names}
        self.ssm, self.fake_queue, self.topic = FakeSsm(), FakeQueue(), FakeTopic()
        self.ssm.put(TOKENS_PARAMETER, "required")
        self.ssm.put(POLICY_PARAMETER, "{}")
        self.table = FakeTable()
        self.metrics = {name: FakeCallMetrics() for name in names}
        self.policies = self.ssm.store(clock)
        self.ledger_table = self.table.ledger_table(clock)
        self.queue, self.notifications = self.fake_queue, self.topic
        self.known_regions, self.unlisted = frozenset({self.home_region}), None

    def in_another_process(self) -> FakeClients:
        """The same account for a second process, which remembers nothing."""
        twin = copy(self)
        twin.fakes = {name: fake.in_another_process() for name, fake in self.fakes.items()}
        twin.policies = self.ssm.store(self.clock)
        twin.known_regions, twin.unlisted = frozenset({self.home_region}), None
        return twin

    @property
    def home_region(self) -> str:
        """The first region."""
        return next(iter(self.fakes))

    def ec2(self, region: str) -> FakeEc2:
        """EC2 of one of the regions."""
        return self.fakes[region]

    def account_defaults(self, region: str) -> FakeDefaults:
        """The account defaults of one of the regions."""
        return self.defaults[region]

    def prepare_for_changes(self) -> None:
        """Record the request; there are no clients to make."""
        self.prepared.set()

    def call_metrics(self, region: str) -> FakeCallMetrics:
        """CloudWatch of one of the regions."""
        return self.metrics[region]

    @property
    def ec2_calls(self) -> list[str]:
        """Every call to EC2, in all regions."""
        return [call for fakes in (self.fakes, self.defaults) for fake in fakes.values() for call in fake.calls]


class FakeVersions:
    """The versions of the policy in force, or the error of reading them; `before` runs before each read."""

    def __init__(self) -> None:
        self.now = PolicyVersions(3, 7)
        self.failure: Failure | None = None
        self.asked: list[bool] = []
        self.before: Callable[[], None] | None = None

    def in_force(self, *, fresh: bool) -> PolicyVersions:
        """The versions in force now."""
        self.asked.append(fresh)
        if self.before:
            self.before()
        if self.failure:
            raise AwsError(self.failure)
        return self.now


def a_cancellation(clock: FakeClock, seconds: float = 1_000, source: FakeVersions | None = None) -> Cancellation:
    """A cancellation that lets a run change instances for this long, under versions 3 and 7 of the policy."""
    return Cancellation(Deadline.after(clock, seconds), PolicyVersions(3, 7), source or FakeVersions())


def an_enforcer(
    ec2: FakeEc2,
    clock: FakeClock,
    policy: Policy | None = None,
    *,
    seconds: float = 1_000,
    source: FakeVersions | None = None,
) -> Enforcer:
    """An enforcer for one region, for instances that events named, with a table of its own."""
    clients = FakeClients(clock, ec2.name)
    clients.fakes = {ec2.name: ec2}
    run = a_run(clients, policy or a_policy())
    run.cancellation = a_cancellation(clock, seconds, source)
    return run.for_events(ec2.name, lambda _: "launch", {}, lambda result: result)


def a_run(
    clients: FakeClients,
    policy: Policy,
    log: list[tuple[Result, str]] | None = None,
    seconds: float = 40,
    *,
    keeps_defaults: bool | None = True,
) -> PolicyRun:
    """A run that stops writing after this many seconds and logs to a list.

    Its policy is in force as long as Parameter Store keeps its current versions. Ids are sorted instead of shuffled.
    """
    lines = [] if log is None else log
    run = PolicyRun(
        run_id="run-1",
        policy=policy,
        source=clients.policies,
        clients=clients,
        clock=clients.clock,
        ledger=clients.ledger_table.entries,
        seconds=seconds,
        verify_timeout=20,
        log=lambda result, trigger: lines.append((result, trigger)),
        shuffle=lambda ids: ids.sort(),
        keeps_defaults=keeps_defaults,
    )
    in_force = clients.policies.in_force(fresh=True)
    run.cancellation = Cancellation(Deadline.after(clients.clock, seconds), in_force, clients.policies)
    run.list_deadline = Deadline.after(clients.clock, seconds)
    return run
