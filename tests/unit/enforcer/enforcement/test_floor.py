"""The floor `required`: whatever the toggle says, the function never sets `optional`, as IAM would refuse it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.fakes import example_events as events
from tests.fakes.example_events import a_message
from tests.fakes.examples import (
    POLICY_PARAMETER,
    SETTINGS,
    TOKENS_PARAMETER,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)
from tests.fakes.runs import App, Documents, ledger

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
INVENTORY = {"inventory": True}
POLICY_CHANGE = {"source": "aws.ssm", "detail-type": "Parameter Store Change", "detail": {"operation": "Update"}}
WHY = "this deployment's floor is HttpTokens required, so it never sets optional"


@pytest.fixture
def app(clients: FakeClients) -> App:
    """Deployed with the floor."""
    return App(clients, settings=replace(SETTINGS, http_tokens_floor="required"))


@pytest.mark.parametrize("event", [SCHEDULE, INVENTORY, POLICY_CHANGE, {}])
@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_turning_the_toggle_loosens_nothing(
    app: App, clients: FakeClients, home: FakeEc2, event: dict[str, object], mode: str
) -> None:
    """Nothing is tried, nor written down as intended; the account's defaults are not even asked for."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(3)))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, f'{{"mode": "{mode}"}}')
    assert app.invoke(event)["outcomes"] == {"SKIPPED": 3}
    assert home.sent == []
    assert ledger(clients) == []
    assert "GetInstanceMetadataDefaults" not in home.calls


def test_an_event_is_answered_with_the_reason(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """And its message does not come back."""
    home.launch(an_instance(1, V2_ONLY))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    assert app.batch(a_message(events.running(an_id(1)))) == []
    [line] = [line for line in log_lines() if line.get("instance_id") == an_id(1)]
    assert (line["outcome"], line["reason"]) == ("SKIPPED", f"{WHY}; HttpTokens is required, not optional")
    assert line["before"] == line["after"] == V2_ONLY.as_log()


def test_no_change_that_would_set_optional_once_more_is_tried(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """Each change names the tokens, and IAM refuses the value even where the instance has it."""
    home.launch(an_instance(1, V1_ALLOWED))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, '{"http_put_response_hop_limit": 3}')
    assert app.invoke(SCHEDULE)["outcomes"] == {"SKIPPED": 1}
    assert home.sent == []


def test_tightening_goes_on(app: App, home: FakeEc2) -> None:
    """It is what the floor is for."""
    home.launch(an_instance(1))
    assert app.invoke(SCHEDULE)["outcomes"] == {"REMEDIATED": 1}
