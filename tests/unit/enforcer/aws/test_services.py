from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.aws.boto import BULK_CONFIG, CLIENT_CONFIG, LISTING_CONFIG, WRITE_CONFIG
from imds_enforcer.aws.cloudwatch import CallMetrics
from imds_enforcer.aws.ec2 import Ec2Region
from imds_enforcer.aws.services import Clients
from imds_enforcer.aws.session import OPERATIONS
from imds_enforcer.model import AwsError, Change, HttpTokens
from imds_enforcer.policy import RegionSelection
from tests.fakes.ec2 import FakeEc2
from tests.fakes.ec2_answers import a_page, an_item
from tests.fakes.examples import AWAY, DENIED_BY_SCP, HOME, SETTINGS, THROTTLED, UNAUTHORIZED, an_id
from tests.fakes.transport import SESSION

if TYPE_CHECKING:
    from typing import Any

    from botocore.config import Config

    from imds_enforcer.model import Failure
    from tests.fakes.clock import FakeClock
    from tests.fakes.transport import FakeTransport


@pytest.fixture
def clients(clock: FakeClock) -> Clients:
    """Real clients, which the tests keep from the network."""
    return Clients(SETTINGS, clock, SESSION)


@pytest.fixture
def home(clients: Clients, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> FakeEc2:
    """EC2 of the home region, in memory."""
    fake = FakeEc2(clock, HOME, (AWAY, HOME))
    monkeypatch.setattr(clients, "ec2", {HOME: fake}.__getitem__)
    return fake


def test_the_function_has_the_small_clients_too(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have three of EC2 in each of 17 regions."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", HOME)
    ec2 = Clients(SETTINGS, clock)._ec2_client(HOME, CLIENT_CONFIG)  # noqa: SLF001  # as its adapters get it
    assert set(ec2.meta.service_model.operation_names) == set(OPERATIONS)


def test_each_region_has_one_ec2(clients: Clients) -> None:
    """Made when first needed, even by many threads at once."""
    with ThreadPoolExecutor(8) as pool:
        adapters = list(pool.map(clients.ec2, [HOME, AWAY] * 8))
    assert all(isinstance(adapter, Ec2Region) for adapter in adapters)
    assert [adapter.name for adapter in adapters[:2]] == [HOME, AWAY]
    assert len(set(adapters)) == 2


@pytest.fixture
def made(transport: FakeTransport, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, Config]]:
    """The clients made from here on: service, region and configuration."""
    seen: list[tuple[str, str | None, Config]] = []

    def make(service: str, *, config: Config, region_name: str | None = None) -> Any:
        seen.append((service, region_name, config))
        return transport.client(service, config)

    monkeypatch.setattr(SESSION, "client", make)
    return seen


def test_the_client_for_changes_is_made_at_the_first_change(
    clients: Clients, transport: FakeTransport, made: list[tuple[str, str | None, Config]]
) -> None:
    """Most invocations change nothing, and making a client takes time."""
    transport.answer(a_page(an_item(1)))
    assert list(clients.ec2(HOME).read([an_id()])) == [an_id()]
    assert made == [("ec2", HOME, CLIENT_CONFIG)]
    for _ in range(2):
        transport.answer("<ModifyInstanceMetadataOptionsResponse/>")
        clients.ec2(HOME).modify(an_id(), Change(http_tokens=HttpTokens.REQUIRED))
    assert made == [("ec2", HOME, CLIENT_CONFIG), ("ec2", HOME, WRITE_CONFIG)]


def test_a_sweep_without_changes_makes_one_client_for_each_region(
    clients: Clients, transport: FakeTransport, made: list[tuple[str, str | None, Config]]
) -> None:
    """The one for listings: making a client takes time, and there are many regions."""
    for _ in range(2):
        transport.answer(a_page())
        assert list(clients.ec2(AWAY).find({})) == [[]]
    assert made == [("ec2", AWAY, LISTING_CONFIG)]


def test_the_clients_for_changes_can_be_made_beforehand(
    clients: Clients, made: list[tuple[str, str | None, Config]]
) -> None:
    """In the home region, while another call waits; later no further client is made."""
    for _ in range(2):
        clients.prepare_for_changes()
    assert made == [("dynamodb", None, BULK_CONFIG), ("ec2", HOME, WRITE_CONFIG)]


def test_the_home_region_is_the_sessions(clients: Clients) -> None:
    """The function runs there."""
    assert clients.home_region == HOME


def test_the_home_region_is_known_without_asking(clients: Clients, home: FakeEc2) -> None:
    """Otherwise the function could not run in it."""
    assert clients.known_regions == {HOME}
    assert home.calls == []


def test_other_regions_are_known_after_asking_once(clients: Clients, home: FakeEc2) -> None:
    """The process remembers them."""
    clients.learn_regions()
    assert clients.known_regions == {HOME, AWAY}
    assert home.calls == ["DescribeRegions"]


def test_a_region_that_was_enabled_later_becomes_known(
    clients: Clients, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of Lambda may live for hours."""
    monkeypatch.setattr(clients, "ec2", lambda _: FakeEc2(clock, HOME, (HOME,)))
    clients.learn_regions()
    assert clients.known_regions == {HOME}
    monkeypatch.setattr(clients, "ec2", lambda _: FakeEc2(clock, HOME, (HOME, AWAY)))
    clients.learn_regions()
    assert clients.known_regions == {HOME, AWAY}


def test_regions_stay_known_when_ec2_cannot_be_asked_again(clients: Clients, home: FakeEc2) -> None:
    """Their messages need no further answer."""
    clients.learn_regions()
    home.regions_error = THROTTLED
    with pytest.raises(AwsError):
        clients.learn_regions()
    assert clients.known_regions == {HOME, AWAY}


@pytest.mark.parametrize("failure", [UNAUTHORIZED, DENIED_BY_SCP])
def test_without_permission_to_list_regions_the_policys_regions_count(
    clients: Clients, home: FakeEc2, failure: Failure
) -> None:
    """Until the caller has permission; regions that the policy excludes do not count."""
    home.regions_error = failure
    clients.learn_regions()
    assert clients.known_regions == {HOME}
    assert clients.unlisted == failure
    assert clients.regions(RegionSelection(include=("eu-north-1", AWAY, AWAY))) == ("eu-north-1", AWAY)
    assert clients.regions(RegionSelection(exclude=(AWAY,))) == clients.regions(RegionSelection()) == (HOME,)
    home.regions_error = None
    clients.learn_regions()
    assert clients.unlisted is None
    assert clients.regions(RegionSelection(include=("eu-north-1",))) == (HOME, AWAY)


def test_the_other_adapters_are_made_once_from_the_settings(clients: Clients) -> None:
    """A warm invocation makes no client."""
    assert clients.policies is clients.policies
    assert clients.queue is clients.queue
    assert clients.notifications is clients.notifications
    assert clients.ledger_table is clients.ledger_table


def test_each_region_has_one_cloudwatch(clients: Clients) -> None:
    """Made when first needed, even by many threads at once."""
    with ThreadPoolExecutor(8) as pool:
        adapters = list(pool.map(clients.call_metrics, [HOME, AWAY] * 8))
    assert all(isinstance(adapter, CallMetrics) for adapter in adapters)
    assert adapters[0] is not adapters[1]
    assert len(set(adapters)) == 2


def test_the_clients_of_cloudwatch_and_dynamodb_are_made_once_with_the_projects_limits(
    clients: Clients, transport: FakeTransport, made: list[tuple[str, str | None, Config]]
) -> None:
    """CloudWatch's in the instances' region, DynamoDB's where the function runs."""
    ledger_table = clients.ledger_table
    assert made == [], "an invocation that asks for nothing makes no client"
    for _ in range(2):
        transport.answer('{"Items": []}')
        assert ledger_table.entries.open_intents() == []
        clients.call_metrics(AWAY)
    assert made == [("dynamodb", None, BULK_CONFIG), ("cloudwatch", AWAY, BULK_CONFIG)]
    assert {request["TableName"] for request in transport.requests} == {SETTINGS.ledger_table}
