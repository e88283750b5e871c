"""With the floor `required`, the function never sets `optional`, whatever the toggle says: IAM would refuse it."""

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
    """The application, deployed with the floor."""
    return App(clients, settings=replace(SETTINGS, http_tokens_floor="required"))


@pytest.mark.parametrize("event", [SCHEDULE, INVENTORY, POLICY_CHANGE, {}])
@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_the_toggle_loosens_nothing(
    app: App, clients: FakeClients, home: FakeEc2, event: dict[str, object], mode: str
) -> None:
    """Nothing is tried or recorded as intended; EC2 is not even asked for the account's defaults."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(3)))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, f'{{"mode": "{mode}"}}')
    assert app.invoke(event)["outcomes"] == {"SKIPPED": 3}
    assert home.sent == []
    assert ledger(clients) == []
    assert "GetInstanceMetadataDefaults" not in home.calls


def test_an_instance_that_an_event_names_is_skipped_with_the_reason(
    app: App, clients: FakeClients, home: FakeEc2, log_lines: Documents
) -> None:
    """Its message does not come back."""
    home.launch(an_instance(1, V2_ONLY))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    assert app.batch(a_message(events.running(an_id(1)))) == []
    [line] = [line for line in log_lines() if line.get("instance_id") == an_id(1)]
    assert (line["outcome"], line["reason"]) == ("SKIPPED", f"{WHY}; HttpTokens is required, not optional")
    assert line["before"] == line["after"] == V2_ONLY.as_log()


def test_no_change_that_repeats_optional_is_tried(app: App, clients: FakeClients, home: FakeEc2) -> None:
    """Each change sends HttpTokens, and IAM refuses `optional` even if the instance already has it."""
    home.launch(an_instance(1, V1_ALLOWED))
    clients.ssm.put(TOKENS_PARAMETER, "optional")
    clients.ssm.put(POLICY_PARAMETER, '{"http_put_response_hop_limit": 3}')
    assert app.invoke(SCHEDULE)["outcomes"] == {"SKIPPED": 1}
    assert home.sent == []


def test_tightening_still_works(app: App, home: FakeEc2) -> None:
    """The floor is there for it."""
    home.launch(an_instance(1))
    assert app.invoke(SCHEDULE)["outcomes"] == {"REMEDIATED": 1}
