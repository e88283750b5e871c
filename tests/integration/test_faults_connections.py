from typing import Any

import pytest

from imds_enforcer.aws.boto import CLIENT_CONFIG, WRITE_CONFIG
from infra.local.client import LocalAws
from tests.integration.enforcer_process import Enforcer, LocalSession
from tests.integration.guarded_fleet import AWAY, DESCRIBE, HOME, MODIFY, Fleet

CUT = {"reset": "ConnectionClosedError", "truncate": "ResponseParserError"}
READ_TIMEOUT_SECONDS = 0.3


@pytest.mark.parametrize("kind", CUT)
def test_a_change_whose_answer_is_lost_once_is_done_in_the_same_run(aws: LocalAws, kind: str) -> None:
    """Another look tells whether EC2 took it, and only if it did not it is sent again."""
    fleet = Fleet(aws)
    aws.fail(MODIFY, kind=kind, calls=1, instance_id=fleet.healthy[HOME][1])
    run = Enforcer(aws).sweep()
    assert run.remediated == fleet.ids
    assert aws.calls(MODIFY) == {"reset": 7, "truncate": 6}[kind]
    assert run.codes == {}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_change_that_is_always_cut_off_fails_alone(aws: LocalAws) -> None:
    """After three attempts, with the connection's own error as its code."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    unlucky = fleet.healthy[HOME][1]
    aws.fail(MODIFY, kind="reset", instance_id=unlucky)
    run = enforcer.sweep()
    assert run.outcomes[unlucky] == "FAILED"
    assert run.codes == {unlucky: CUT["reset"]}
    assert fleet.lagging() == {unlucky}
    fleet.mend()
    assert enforcer.sweep().remediated == {unlucky}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


@pytest.mark.parametrize("kind", CUT)
def test_a_read_that_is_cut_once_loses_nothing(aws: LocalAws, kind: str) -> None:
    """A sweep reads again at once, or names the region and leaves it to the next."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    aws.fail(DESCRIBE, kind=kind, calls=1, region=AWAY)
    run = enforcer.sweep()
    assert run.region_errors in ({}, {AWAY: CUT[kind]})
    assert fleet.lagging() == ({*fleet.healthy[AWAY]} if run.region_errors else set())
    enforcer.sweep()
    assert fleet.lagging() == set()
    assert fleet.violated() == []


@pytest.mark.parametrize("kind", CUT)
def test_a_region_whose_answers_are_always_cut_stops_no_other(aws: LocalAws, kind: str) -> None:
    """An answer that is not whole is no answer: nothing is written on it."""
    fleet, enforcer = Fleet(aws), Enforcer(aws)
    records = fleet.records(*fleet.events())
    aws.fail(DESCRIBE, kind=kind, region=AWAY)
    run = enforcer.batch(records)
    assert run.remediated == {*fleet.healthy[HOME]}
    assert run.codes == dict.fromkeys([*fleet.healthy[AWAY], *fleet.protected[AWAY]], CUT[kind])
    assert aws.calls(MODIFY, region=AWAY) == 0
    again = run.coming_back(records)
    assert len(again) == 6
    fleet.mend()
    assert enforcer.batch(again).remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_change_that_hangs_holds_up_no_other(aws: LocalAws) -> None:
    """The client gives up each of three attempts."""
    fleet, enforcer = Fleet(aws), Enforcer(aws, session=LocalSession(aws, read_timeout=READ_TIMEOUT_SECONDS))
    unlucky = fleet.healthy[HOME][1]
    aws.fail(MODIFY, kind="hang", instance_id=unlucky)
    run = enforcer.sweep()
    assert run.outcomes[unlucky] == "FAILED"
    assert run.codes == {unlucky: "ReadTimeoutError"}
    assert fleet.lagging() == {unlucky}
    fleet.mend()
    assert Enforcer(aws).sweep().remediated == {unlucky}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_region_that_hangs_holds_up_no_other(aws: LocalAws) -> None:
    """It is named in the report, and done by the next sweep."""
    fleet, enforcer = Fleet(aws), Enforcer(aws, session=LocalSession(aws, read_timeout=READ_TIMEOUT_SECONDS))
    aws.fail(DESCRIBE, kind="hang", region=AWAY)
    run = enforcer.sweep()
    assert run.remediated == {*fleet.healthy[HOME]}
    assert run.region_errors == {AWAY: "ReadTimeoutError"}
    fleet.mend()
    assert Enforcer(aws).sweep().remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


@pytest.mark.parametrize("config", [CLIENT_CONFIG, WRITE_CONFIG])
def test_the_shipped_clients_give_up_a_call_that_hangs(config: Any) -> None:
    """Three attempts of it end before a batch's minute does; the tests above only shorten the time-out."""
    assert config.connect_timeout + config.read_timeout <= 15
    assert config.retries["total_max_attempts"] <= 3


def test_a_region_that_refuses_connections_stops_no_other(aws: LocalAws) -> None:
    """Its events come back."""
    fleet = Fleet(aws)
    records = fleet.records(*fleet.events())
    run = Enforcer(aws, session=LocalSession(aws, refused=[AWAY])).batch(records)
    assert run.remediated == {*fleet.healthy[HOME]}
    assert run.codes == dict.fromkeys([*fleet.healthy[AWAY], *fleet.protected[AWAY]], "EndpointConnectionError")
    again = run.coming_back(records)
    assert len(again) == 6
    assert Enforcer(aws).batch(again).remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_region_that_a_sweep_cannot_connect_to_is_named(aws: LocalAws) -> None:
    """And done by the next."""
    fleet = Fleet(aws)
    run = Enforcer(aws, session=LocalSession(aws, refused=[AWAY])).sweep()
    assert run.remediated == {*fleet.healthy[HOME]}
    assert run.region_errors == {AWAY: "EndpointConnectionError"}
    assert Enforcer(aws).sweep().remediated == {*fleet.healthy[AWAY]}
    assert fleet.lagging() == set()
    assert fleet.violated() == []
