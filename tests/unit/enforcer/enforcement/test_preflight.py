"""If the region's defaults enforce tokens, EC2 would refuse to loosen any instance: the enforcer asks beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import HttpTokens, Outcome, Switch
from imds_enforcer.policy import Mode
from tests.fakes import example_events as events
from tests.fakes.example_events import a_message
from tests.fakes.examples import SERVER_FAULT, UNAUTHORIZED, V1_ALLOWED, V2_ONLY, a_policy, an_id, an_instance
from tests.fakes.runs import Batch, Sweep, ledger

if TYPE_CHECKING:
    from imds_enforcer.model import Failure, MetadataOptions
    from imds_enforcer.policy import Policy
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

DEFAULTS, MODIFY = "GetInstanceMetadataDefaults", "ModifyInstanceMetadataOptions"
LOOSE = a_policy(HttpTokens.OPTIONAL)
WHY = "the metadata defaults of the region enforce tokens (HttpTokensEnforced)"


@pytest.mark.parametrize(("mode", "read_seconds"), [(Mode.ENFORCE, 0), (Mode.ENFORCE, 11), (Mode.AUDIT, 0)])
def test_if_tokens_are_enforced_no_change_is_sent(
    clients: FakeClients, home: FakeEc2, away: FakeEc2, mode: Mode, read_seconds: float
) -> None:
    """One request for each region shows it, however many instances and looks there are."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(40)))
    away.launch(*(an_instance(number, V2_ONLY) for number in range(40, 50)))
    home.enforced, home.read_seconds, home.page_size = WHY, read_seconds, 7
    done = Sweep(clients, replace(LOOSE, mode=mode))
    assert done.report.outcomes[Outcome.SKIPPED] == 40
    assert (home.calls.count(DEFAULTS), home.calls.count(MODIFY)) == (1, 0)
    assert away.calls.count(DEFAULTS) == 1
    assert len(away.sent) == (0 if mode is Mode.AUDIT else 10)
    assert {entry.region for entry in ledger(clients)} <= {away.name}


def test_the_reason_names_the_defaults(clients: FakeClients, home: FakeEc2) -> None:
    """And the planned change; the message does not come back."""
    home.launch(an_instance(1, V2_ONLY))
    home.enforced = WHY
    batch = Batch(clients, a_message(events.running(an_id(1))), policy=LOOSE)
    ((result, _),) = batch.log
    assert result.outcome is Outcome.SKIPPED
    assert result.reason == f"{WHY}; HttpTokens is required, not optional"
    assert (result.before, result.after) == (V2_ONLY, V2_ONLY)
    assert not result.compliant
    assert batch.again == []


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        (a_policy(), V1_ALLOWED),
        (a_policy(HttpTokens.OPTIONAL, instance_metadata_tags=Switch.ENABLED), V1_ALLOWED),
        (a_policy(instance_metadata_tags=Switch.ENABLED), V2_ONLY),
    ],
    ids=["tightened", "optional as before", "required as before"],
)
def test_other_changes_are_made_without_asking(
    clients: FakeClients, home: FakeEc2, policy: Policy, options: MetadataOptions
) -> None:
    """EC2 does not refuse them."""
    home.launch(an_instance(1, options))
    home.enforced = WHY
    assert Sweep(clients, policy).report.outcomes == {Outcome.REMEDIATED: 1}
    assert home.calls.count(DEFAULTS) == 0


@pytest.mark.parametrize("failure", [SERVER_FAULT, UNAUTHORIZED])
def test_if_the_defaults_cannot_be_read_the_change_is_tried(
    clients: FakeClients, home: FakeEc2, failure: Failure
) -> None:
    """The defaults are still asked for only once."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(3)))
    home.defaults_error = failure
    assert Sweep(clients, LOOSE).report.outcomes == {Outcome.REMEDIATED: 3}
    assert home.calls.count(DEFAULTS) == 1


def test_if_nothing_enforces_tokens_they_are_loosened(clients: FakeClients, home: FakeEc2) -> None:
    """As the policy demands."""
    home.launch(*(an_instance(number, V2_ONLY) for number in range(3)))
    assert Sweep(clients, LOOSE).report.outcomes == {Outcome.REMEDIATED: 3}
    assert home.calls.count(DEFAULTS) == 1
