import itertools
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.aws.boto import LISTING_CONFIG, aws_errors
from imds_enforcer.aws.listing import Listing
from imds_enforcer.model import SystemClock
from infra.local.client import LocalAws
from tests.integration.enforcer_process import Enforcer, LocalSession
from tests.integration.guarded_fleet import AWAY, DESCRIBE, HOME, MODIFY, Fleet

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import DescribeInstancesRequestTypeDef, DescribeInstancesResultTypeDef

READ_TIMEOUT_SECONDS = 0.3


@pytest.mark.parametrize(("kind", "requests"), [("reset", 7), ("truncate", 6)])
def test_a_change_whose_answer_is_lost_once_is_done_in_the_same_run(aws: LocalAws, kind: str, requests: int) -> None:
    """The enforcer reads the instance again, and repeats the change only if EC2 has not made it."""
    fleet = Fleet(aws)
    aws.fail(MODIFY, kind=kind, calls=1, instance_id=fleet.healthy[HOME][1])
    run = Enforcer(aws).sweep()
    assert run.remediated == fleet.ids
    assert aws.calls(MODIFY) == requests
    assert run.codes == {}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_change_that_hangs_delays_no_other(aws: LocalAws) -> None:
    """Each of three attempts times out."""
    fleet, enforcer = Fleet(aws), Enforcer(aws, session=LocalSession(aws, read_timeout=READ_TIMEOUT_SECONDS))
    unlucky = fleet.healthy[HOME][1]
    aws.fail(MODIFY, kind="hang", instance_id=unlucky)
    run = enforcer.sweep()
    assert run.outcomes[unlucky] == "FAILED"
    assert run.codes == {unlucky: "ReadTimeoutError"}
    assert fleet.lagging() == {unlucky}
    fleet.clear_faults()
    assert Enforcer(aws).sweep().remediated == {unlucky}
    assert fleet.lagging() == set()
    assert fleet.violated() == []


def test_a_region_that_is_slow_to_list_is_listed_in_smaller_pages(aws: LocalAws) -> None:
    """A page that times out is requested in halves; reads by id keep their size and their own time-out."""
    fleet = Fleet(aws)
    enforcer = Enforcer(aws, session=LocalSession(aws, listing_timeout=READ_TIMEOUT_SECONDS))
    aws.fail(DESCRIBE, kind="hang", seconds=4 * READ_TIMEOUT_SECONDS, region=HOME, parameters={"MaxResults": "500"})
    run = enforcer.sweep()
    assert run.remediated == fleet.ids
    assert {part["status"] for part in run.answer["regions"].values()} == {"DONE"}
    assert fleet.violated() == []


def test_smaller_pages_begin_where_the_slow_page_did(aws: LocalAws) -> None:
    """They use the same token, and list each instance once."""
    ids = aws.launch(count=23)
    timeout = 2.0  # longer than a page without the fault takes on a busy machine
    client = LocalSession(aws, listing_timeout=timeout).client("ec2", config=LISTING_CONFIG)
    aws.fail(DESCRIBE, kind="hang", seconds=4 * timeout, first=2, parameters={"MaxResults": "10"})

    def describe(request: "DescribeInstancesRequestTypeDef") -> "DescribeInstancesResultTypeDef":
        with aws_errors():
            answer: DescribeInstancesResultTypeDef = client.describe_instances(**request)
        return answer

    pages = [page.answer for page in Listing(SystemClock(), 10).pages({"Filters": []}, describe, None)]
    found = [[each["InstanceId"] for group in page["Reservations"] for each in group["Instances"]] for page in pages]
    assert [len(page) for page in found] == [10, 5, 5, 3]
    assert sorted(itertools.chain.from_iterable(found)) == sorted(ids)


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
