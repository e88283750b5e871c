"""The enforcer in another region than the one that was named: its holds would not be heeded."""

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
    """A connection without the stack in its home region; in others CloudFormation answers this."""
    clients.learn_regions()
    return Connection(clients, clients.clock, lambda: ANN, client=lambda *_: FakeCloudFormation(code, stack))


@pytest.mark.parametrize("stack", ["ImdsEnforcer", "ImdsEnforcerState"])
def test_the_enforcer_is_in_another_region(clients: FakeClients, stack: str) -> None:
    """Or what outlived it. The message says how to name it."""
    with pytest.raises(CommandError, match=f"the stack {stack} is in {AWAY}; name that region with --region"):
        refuse_if_elsewhere(undeployed(clients, None, stack))


@pytest.mark.parametrize("code", ["ValidationError", "AccessDenied", "InvalidClientTokenId"])
def test_the_enforcer_is_nowhere(clients: FakeClients, code: str) -> None:
    """Nor is it where nobody may ask, or where a session token of the global endpoint is not valid."""
    refuse_if_elsewhere(undeployed(clients, code))


@pytest.mark.parametrize("code", ["Throttling", "ServiceUnavailable", "ExpiredToken"])
def test_a_region_that_gives_no_answer_may_have_it(clients: FakeClients, code: str) -> None:
    """Its holds would go unheeded."""
    with pytest.raises(AwsError, match=rf"^{code}: no \(asked for the stack ImdsEnforcer in {AWAY}\)$"):
        refuse_if_elsewhere(undeployed(clients, code))


@pytest.mark.parametrize("failure", [UNAUTHORIZED, DENIED_BY_SCP])
def test_where_no_region_is_listed_those_that_are_to_be_changed_are_asked(
    clients: FakeClients, home: FakeEc2, failure: Failure
) -> None:
    """With none of them nobody knows whether an instance is held."""
    home.regions_error = failure
    reached = undeployed(clients, None)
    with pytest.raises(AwsError, match=r"^UnauthorizedOperation: "):
        refuse_if_elsewhere(reached)
    refuse_if_elsewhere(reached, (HOME,))
    with pytest.raises(CommandError, match=rf"^the stack ImdsEnforcer is in {AWAY}; "):
        refuse_if_elsewhere(reached, (HOME, AWAY))


def test_where_it_was_found_nobody_looks_further(clients: FakeClients) -> None:
    """It is there once."""
    clients.learn_regions()
    refuse_if_elsewhere(Connection(clients, clients.clock, lambda: ANN, {"FunctionName": "enforcer"}))


def test_all_regions_or_some(clients: FakeClients) -> None:
    """Each once, in the order in which they are named."""
    assert chosen_regions(clients, " all ", RegionSelection()) == (HOME, AWAY)
    assert chosen_regions(clients, f"{AWAY},{HOME}, {AWAY},", RegionSelection()) == (AWAY, HOME)
