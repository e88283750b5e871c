"""Which messages of a batch can be handled, and why the others cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.policy import RegionSelection
from imds_enforcer.runs.batch import ParsedBatch, check_regions, parse_batch
from tests.fakes import example_events as events
from tests.fakes.example_events import a_message
from tests.fakes.examples import ACCOUNT, AWAY, DENIED_BY_SCP, HOME, HUGE_NUMBER, OTHER_ACCOUNT, THROTTLED, UNAUTHORIZED

if TYPE_CHECKING:
    from imds_enforcer.model import Failure
    from imds_enforcer.runs.events import QueuedMessage
    from tests.fakes.clients import FakeClients
    from tests.fakes.ec2 import FakeEc2


def _workable(batch: ParsedBatch) -> list[QueuedMessage]:
    return [delivery.message for delivery in batch.deliveries]


def test_each_message_that_cannot_be_handled_has_its_own_reason() -> None:
    """The good one among them is handled."""
    good = a_message(events.running(), "good")
    poison = {
        a_message("{", "bad JSON"): "the body is not JSON",
        a_message(HUGE_NUMBER, "huge number"): "the body is not JSON",
        a_message(events.running("i-xyz"), "bad id"): 'instance id is "i-xyz"',
    }  # fmt: skip
    batch = parse_batch([*poison, good], ACCOUNT)
    assert _workable(batch) == [good]
    assert list(batch.malformed) == list(poison)
    for message, reason in batch.malformed.items():
        assert reason.startswith(poison[message])
    assert batch.unchecked == {}


def test_events_of_other_accounts_are_only_counted() -> None:
    """Delivering them again would not help, so they do not come back."""
    good = a_message(events.running(), "good")
    others = [
        a_message(event, f"m-{number}")
        for number, event in enumerate(
            (
                events.running(account=OTHER_ACCOUNT),
                events.launch_without_ids(account=OTHER_ACCOUNT),
                events.drift("i-xyz", account="777788889999"),
            )
        )
    ]
    batch = parse_batch([*others, good], ACCOUNT)
    assert _workable(batch) == [good]
    assert batch.foreign == {OTHER_ACCOUNT: 2, "777788889999": 1}
    assert (batch.malformed, batch.unchecked) == ({}, {})


def test_a_message_from_a_region_that_is_not_enabled_is_malformed(clients: FakeClients) -> None:
    """Messages from enabled regions are handled, and messages refused before keep their reason."""
    bad, here = a_message("{", "bad JSON"), a_message(events.running(), "here")
    away = a_message(events.running(region=AWAY), "away")
    unknown = a_message(events.running(region="eu-north-9"), "unknown")
    batch = parse_batch([bad, unknown, away, here], ACCOUNT)
    assert _workable(batch) == [unknown, away, here], "that much is known without asking EC2"
    reason = batch.malformed[bad]
    check_regions(batch, clients, RegionSelection())
    assert _workable(batch) == [away, here]
    assert batch.malformed == {
        bad: reason,
        unknown: "region is eu-north-9; allowed: the regions enabled in the account",
    }
    assert batch.unchecked == {}


def test_a_message_whose_region_cannot_be_checked_comes_back(clients: FakeClients, home: FakeEc2) -> None:
    """Until EC2 answers again; messages from the home region need no check."""
    home.regions_error = THROTTLED
    away, here = a_message(events.running(region=AWAY), "away"), a_message(events.running(), "here")
    batch = parse_batch([away, here], ACCOUNT)
    check_regions(batch, clients, RegionSelection())
    assert batch.unchecked == {away: str(THROTTLED)}
    assert _workable(batch) == [here]
    assert batch.malformed == {}


@pytest.mark.parametrize("failure", [UNAUTHORIZED, DENIED_BY_SCP])
def test_without_a_list_of_regions_those_of_the_policy_are_handled(
    clients: FakeClients, home: FakeEc2, failure: Failure
) -> None:
    """The others are only counted: they would come back twelve times in vain and end as dead letters."""
    home.regions_error = failure
    messages = [
        a_message(events.running(region=name), f"{name} {number}")
        for name, number in ((AWAY, 1), ("eu-north-1", 1), ("eu-north-1", 2), (HOME, 1))
    ]
    for _ in range(2):
        batch = parse_batch(messages, ACCOUNT)
        check_regions(batch, clients, RegionSelection(include=(AWAY,)))
        assert _workable(batch) == [messages[0], messages[3]]
        assert batch.out_of_reach == {"eu-north-1": 2}
        assert (batch.malformed, batch.unchecked) == ({}, {})
    home.regions_error = THROTTLED
    batch = parse_batch(messages, ACCOUNT)
    check_regions(batch, clients, RegionSelection(include=(AWAY,)))
    assert _workable(batch) == [messages[0], messages[3]]
    assert [*batch.unchecked] == messages[1:3], "there may be a list next time"


@pytest.mark.parametrize("failure", [None, THROTTLED])
def test_ec2_is_asked_once_about_all_regions_of_a_batch(
    clients: FakeClients, home: FakeEc2, failure: Failure | None
) -> None:
    """Neither a hundred messages from a disabled region nor an EC2 that hangs may use up the batch's time."""
    home.regions_error = failure
    strange = [a_message(events.running(region="eu-north-9"), str(number)) for number in range(10)]
    batch = parse_batch(strange, ACCOUNT)
    check_regions(batch, clients, RegionSelection())
    assert home.calls == ["DescribeRegions"]
    assert len(batch.unchecked if failure else batch.malformed) == 10


def test_regions_that_ec2_has_listed_are_not_checked_again(clients: FakeClients, home: FakeEc2) -> None:
    """A busy forwarder must not cost a call for each batch."""
    for _ in range(3):
        batch = parse_batch([a_message(events.running(region=AWAY))], ACCOUNT)
        check_regions(batch, clients, RegionSelection())
        assert len(batch.deliveries) == 1
    assert home.calls == ["DescribeRegions"]
