"""An enforcer in another region than the named one: without a check, its holds would be ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import AwsError
from imds_enforcer.policy import RegionSelection
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.account.regions import chosen_regions, refuse_if_elsewhere
from imds_enforcer_cli.console.errors import CommandError
from tests.fakes.command import ANN
from tests.fakes.examples import AWAY, DENIED_BY_SCP, HOME, UNAUTHORIZED
from tests.fakes.stack import FakeCloudFormation

if TYPE_CHECKING:
    from imds_enforcer.model import Failure
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2


def undeployed(clients: FakeClients, code: str | None, stack: str = "ImdsEnforcer") -> Connection:
    """A connection whose home region has no stack; in the others CloudFormation gives this answer."""
    clients.learn_regions()
    return Connection(clients, clients.clock, lambda: ANN, client=lambda *_: FakeCloudFormation(code, stack))


@pytest.mark.parametrize("stack", ["ImdsEnforcer", "ImdsEnforcerState"])
def test_the_enforcer_is_in_another_region(clients: FakeClients, stack: str) -> None:
    """The same goes for a state stack alone. The error says how to name the region."""
    with pytest.raises(CommandError, match=f"the stack {stack} is in {AWAY}; name that region with --region"):
        refuse_if_elsewhere(undeployed(clients, None, stack))


@pytest.mark.parametrize("code", ["ValidationError", "AccessDenied", "InvalidClientTokenId"])
def test_the_enforcer_is_nowhere(clients: FakeClients, code: str) -> None:
    """A region without access counts as one without it, and so does one that refuses a global session token."""
    refuse_if_elsewhere(undeployed(clients, code))


@pytest.mark.parametrize("code", ["Throttling", "ServiceUnavailable", "ExpiredToken"])
def test_a_region_that_does_not_answer_is_an_error(clients: FakeClients, code: str) -> None:
    """It may have an enforcer, whose holds would be ignored."""
    with pytest.raises(AwsError, match=rf"^{code}: no \(while looking for the stack ImdsEnforcer in {AWAY}\)$"):
        refuse_if_elsewhere(undeployed(clients, code))


@pytest.mark.parametrize("failure", [UNAUTHORIZED, DENIED_BY_SCP])
def test_without_a_list_of_regions_the_regions_to_change_are_searched(
    clients: FakeClients, home: FakeEc2, failure: Failure
) -> None:
    """If there are none, the command cannot know whether an instance is held."""
    home.regions_error = failure
    reached = undeployed(clients, None)
    with pytest.raises(AwsError, match=r"^UnauthorizedOperation: "):
        refuse_if_elsewhere(reached)
    refuse_if_elsewhere(reached, (HOME,))
    with pytest.raises(CommandError, match=rf"^the stack ImdsEnforcer is in {AWAY}; "):
        refuse_if_elsewhere(reached, (HOME, AWAY))


def test_an_enforcer_at_home_ends_the_search(clients: FakeClients) -> None:
    """An account has only one enforcer."""
    clients.learn_regions()
    refuse_if_elsewhere(Connection(clients, clients.clock, lambda: ANN, {"FunctionName": "enforcer"}))


def test_all_regions_or_some(clients: FakeClients) -> None:
    """Each appears once, in the order in which the user named them."""
    assert chosen_regions(clients, " all ", RegionSelection()) == (HOME, AWAY)
    assert chosen_regions(clients, f"{AWAY},{HOME}, {AWAY},", RegionSelection()) == (AWAY, HOME)
