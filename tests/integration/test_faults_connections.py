import pytest

from infra.local.client import LocalAws
from tests.integration.enforcer_process import Enforcer, LocalSession
from tests.integration.guarded_fleet import AWAY, HOME, MODIFY, Fleet

READ_TIMEOUT_SECONDS = 0.3


@pytest.mark.parametrize(("kind", "requests"), [("reset", 7), ("truncate", 6)])
def test_a_change_whose_answer_is_lost_once_is_done_in_the_same_run(aws: LocalAws, kind: str, requests: int) -> None:
    """Another look tells whether EC2 took it, and only if it did not it is sent again."""
    fleet = Fleet(aws)
    aws.fail(MODIFY, kind=kind, calls=1, instance_id=fleet.healthy[HOME][1])
    run = Enforcer(aws).sweep()
    assert run.remediated == fleet.ids
    assert aws.calls(MODIFY) == requests
    assert run.codes == {}
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
