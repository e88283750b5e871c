"""The table may have items that this enforcer did not write: manual ones, another version's, mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.aws.ledger_items import entry_item
from tests.fakes.clock import START
from tests.fakes.entries import an_entry, an_intent
from tests.fakes.examples import HOME, an_id, an_instance
from tests.fakes.runs import App, Documents, metric_names

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2

SCHEDULE = {"trigger": "schedule"}
HELD = {"pk": "standing", "sk": f"hold#{an_id(1)}"}
WHOLE = {**HELD, "reason": "repair", "by": "ana", "at": START.isoformat()}


def _store(clients: FakeClients, item: dict[str, Any]) -> None:
    clients.table.items[item["pk"], item["sk"]] = item


@pytest.mark.parametrize(
    "item",
    [HELD, {**WHOLE, "until": "2020-01-31"}, {**WHOLE, "until": "soon"}, {**WHOLE, "at": "now"}, {**WHOLE, "until": 7}],
)
def test_an_unreadable_hold_stays_in_force(clients: FakeClients, app: App, home: FakeEc2, item: dict[str, Any]) -> None:
    """A person meant it. It holds only its own instance, until it is released."""
    home.launch(*map(an_instance, range(3)))
    _store(clients, item)
    (kept,) = app.invoke(SCHEDULE)["kept_back"]
    assert kept["reason"].startswith("held until it is released by an unknown person: the hold cannot be read")
    assert home.modified_ids == [an_id(0), an_id(2)]


@pytest.mark.parametrize(
    "item",
    [
        {"pk": "standing", "sk": "nonsense"},
        {"pk": "standing", "sk": f"contest#{an_id(1)}"},
        {"pk": "standing", "sk": f"contest#{an_id(1)}", "principal": "ana", "until": "2027-01-31"},
        {"pk": "x", "sk": "y", "open": HOME},
        {"pk": "x", "sk": f"{START.isoformat()}#run", "month": f"{START:%Y-%m}"},
        {"pk": "told", "sk": "nonsense"},
        {"pk": "lease", "sk": "sweep"},
        {"pk": "lease", "sk": "sweep", "held_by": "run-0", "policy_versions": "[1, 1]", "until": START.isoformat()},
        {"pk": "lease", "sk": "sweep", "held_by": "run-0", "policy_versions": "{}", "until": "2027-01-31"},
        entry_item(an_intent(7, ends_at=START.replace(tzinfo=None))),
        entry_item(an_entry(7, at=START.replace(tzinfo=None))),
    ],
)
def test_other_malformed_items_stop_nothing(
    clients: FakeClients, app: App, home: FakeEc2, item: dict[str, Any]
) -> None:
    """The sweep goes on without them."""
    home.launch(*map(an_instance, range(3)))
    _store(clients, item)
    assert app.invoke(SCHEDULE)["outcomes"] == {"REMEDIATED": 3}


def test_a_malformed_item_raises_the_alarm(clients: FakeClients, app: App, metrics: Documents) -> None:
    """An instance may need it for its revert."""
    app.invoke(SCHEDULE)
    assert "LedgerUnavailable" not in metric_names(metrics())
    _store(clients, {"pk": "x", "sk": "y", "open": HOME})
    app.invoke(SCHEDULE)
    assert "LedgerUnavailable" in metric_names(metrics())


@pytest.mark.parametrize(
    "calls", ["{", "[]", "7", f'{{"{an_id(1)}": ["many", null]}}', f'{{"{an_id(1)}": [[], null]}}']
)
def test_malformed_notes_are_asked_for_again(clients: FakeClients, app: App, home: FakeEc2, calls: str) -> None:
    """As if CloudWatch had not been asked yet."""
    clients.ssm.put("/imds-enforcer/policy", '{"legacy_calls": {}}')
    home.launch(*map(an_instance, range(3)))
    topic = f"calls#MetadataNoToken/14/{HOME}"
    _store(clients, {"pk": topic, "sk": f"{START.isoformat()}#i", "calls": calls})
    assert app.invoke(SCHEDULE)["outcomes"] == {"REMEDIATED": 3}
    assert len(clients.metrics[HOME].requests) == 1
