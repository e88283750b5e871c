from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError

from imds_enforcer.decision.drift_filters import drift_filters
from imds_enforcer.model import AwsError, Change, Failure, HttpTokens, Kind, Switch
from tests.fakes.ec2_answers import a_page, an_item
from tests.fakes.examples import a_policy, an_id

if TYPE_CHECKING:
    from imds_enforcer.aws.ec2 import Ec2Region
    from tests.fakes.clock import FakeClock
    from tests.fakes.transport import FakeTransport

SHOW_MANAGED = "IncludeManagedResources"
LIVE = ["pending", "running", "stopping", "stopped"]


def _filters(request: dict[str, Any]) -> dict[str, list[str]]:
    """The filters of a request as sent over the wire."""
    names = {key.split(".")[1]: value for key, value in request.items() if key.endswith(".Name")}
    return {
        name: [value for key, value in request.items() if key.startswith(f"Filter.{number}.Value.")]
        for number, name in names.items()
    }


def test_instances_are_read_by_filter_two_hundred_at_a_time(region: Ec2Region, transport: FakeTransport) -> None:
    """One unknown id must not hide the others, and a filter accepts 200 values."""
    ids = [an_id(number) for number in range(401)]
    for number in (0, 200, 400):
        transport.answer(a_page(an_item(number)))
    assert list(region.read(iter(ids))) == [an_id(0), an_id(200), an_id(400)]
    for request, chunk in zip(transport.requests, (ids[:200], ids[200:400], ids[400:]), strict=True):
        assert request["Action"] == "DescribeInstances"
        assert request["MaxResults"] == "1000"
        assert _filters(request) == {"instance-id": chunk}
        assert not any(key.startswith("InstanceId") for key in request)


def test_reading_no_instances_sends_no_request(region: Ec2Region, transport: FakeTransport) -> None:
    """An empty list of ids would mean all of them."""
    assert region.read([]) == {}
    assert transport.requests == []


def test_a_search_has_the_policys_filters_and_leaves_out_ended_instances(
    region: Ec2Region, transport: FakeTransport
) -> None:
    """EC2 itself selects the instances that differ."""
    transport.answer(a_page(an_item(1)))
    (filters,) = drift_filters(a_policy())
    pages = list(region.find(filters))
    assert [[instance.instance_id for instance in page] for page in pages] == [[an_id(1)]]
    assert _filters(transport.requests[0]) == {
        "metadata-options.http-endpoint": ["enabled"],
        "metadata-options.http-tokens": ["optional"],
        "instance-state-name": LIVE,
    }
    assert transport.requests[0]["MaxResults"] == "500"


def test_an_empty_page_is_not_the_last(region: Ec2Region, transport: FakeTransport) -> None:
    """EC2 cuts pages before it filters."""
    transport.answer(a_page(following="t-2"))
    transport.answer(a_page(an_item(1), an_item(2), following="t-3"))
    transport.answer(a_page(an_item(3)))
    found = [[instance.instance_id for instance in page] for page in region.find({})]
    assert found == [[], [an_id(1), an_id(2)], [an_id(3)]]
    assert [request.get("NextToken") for request in transport.requests] == [None, "t-2", "t-3"]


def test_a_page_that_leads_to_itself_is_a_failed_call(region: Ec2Region, transport: FakeTransport) -> None:
    """Otherwise the listing would never end."""
    transport.answer(a_page(an_item(1), following="t-2"))
    transport.answer(a_page(an_item(2), following="t-2"))
    pages = region.find({})
    assert [next(pages)[0].instance_id for _ in range(2)] == [an_id(1), an_id(2)]
    with pytest.raises(AwsError, match="t-2"):
        next(pages)


def test_managed_instances_are_listed_except_in_a_search_for_drift(region: Ec2Region, transport: FakeTransport) -> None:
    """EC2 hides them unless asked; a search for drift would only skip them."""
    for _ in range(3):
        transport.answer(a_page())
    list(region.find({}))
    region.read([an_id(1)])
    list(region.find(drift_filters(a_policy())[0]))
    assert [request.get(SHOW_MANAGED) for request in transport.requests] == ["true", "true", None]


@pytest.mark.parametrize(
    "code",
    [
        "UnknownParameter",
        "InvalidParameter",
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "UnsupportedOperation",
    ],
)
@pytest.mark.parametrize("call", ["find", "read"])
def test_an_endpoint_that_refuses_the_parameter_is_asked_without_it(
    region: Ec2Region, transport: FakeTransport, call: str, code: str
) -> None:
    """This begins at once, for every page of the listing, and stays so."""
    transport.refuse(code)
    transport.answer(a_page(an_item(1), following="t-2"))
    transport.answer(a_page(an_item(2)))
    transport.answer(a_page(an_item(3)))
    ids = [an_id(1), an_id(2)]
    found = region.read(ids) if call == "read" else [each.instance_id for page in region.find({}) for each in page]
    assert list(found) == ids
    region.read([an_id(3)])
    asked = [(request.get(SHOW_MANAGED), request.get("NextToken")) for request in transport.requests]
    assert asked == [("true", None), (None, None), (None, "t-2"), (None, None)]


def test_a_refusal_in_the_middle_of_a_listing_loses_no_page(region: Ec2Region, transport: FakeTransport) -> None:
    """One address may hide servers of two versions."""
    transport.answer(a_page(an_item(1), following="t-2"))
    transport.refuse("UnknownParameter")
    transport.answer(a_page(an_item(2)))
    assert [page[0].instance_id for page in region.find({})] == [an_id(1), an_id(2)]
    assert [request.get("NextToken") for request in transport.requests] == [None, "t-2", "t-2"]


def test_a_request_that_fails_without_the_parameter_too_has_another_error(
    region: Ec2Region, transport: FakeTransport
) -> None:
    """That error is raised, and the next request has the parameter again."""
    transport.refuse("InvalidParameterValue", "a bad filter", times=2)
    with pytest.raises(AwsError, match=r"^InvalidParameterValue: a bad filter$"):
        region.read([an_id(1)])
    transport.answer(a_page())
    region.read([an_id(1)])
    assert [request.get(SHOW_MANAGED) for request in transport.requests] == ["true", None, "true"]


@pytest.mark.parametrize(
    "code", ["UnauthorizedOperation", "AuthFailure", "OptInRequired", "InvalidInstanceID.NotFound"]
)
def test_another_error_is_no_reason_to_ask_without_managed_instances(
    region: Ec2Region, transport: FakeTransport, code: str
) -> None:
    """Otherwise managed instances would be missing for the rest of the process's life."""
    transport.refuse(code)
    with pytest.raises(AwsError):
        region.read([an_id(1)])
    transport.answer(a_page())
    region.read([an_id(1)])
    assert [request.get(SHOW_MANAGED) for request in transport.requests] == ["true", "true"]


@pytest.mark.usefixtures("backoffs")
def test_throttling_is_no_reason_to_ask_without_managed_instances(region: Ec2Region, transport: FakeTransport) -> None:
    """Even the third attempt asks for managed instances."""
    transport.refuse("RequestLimitExceeded", status=503, times=3)
    with pytest.raises(AwsError):
        region.read([an_id(1)])
    assert [request.get(SHOW_MANAGED) for request in transport.requests] == ["true"] * 3


def test_an_observation_is_as_old_as_its_request(region: Ec2Region, transport: FakeTransport, clock: FakeClock) -> None:
    """The answer may be slow; each page has its own age."""
    begin = clock.monotonic()
    transport.before_answering = lambda: clock.advance(7)
    transport.answer(a_page(an_item(1), following="t-2"))
    transport.answer(a_page(an_item(2)))
    assert [page[0].observed_at - begin for page in region.find({})] == [0, 7]


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        (Change(http_tokens=HttpTokens.REQUIRED), {"HttpTokens": "required"}),
        (Change(http_tokens=HttpTokens.OPTIONAL), {"HttpTokens": "optional"}),
        (
            Change(http_tokens=HttpTokens.REQUIRED, http_put_response_hop_limit=2),
            {"HttpTokens": "required", "HttpPutResponseHopLimit": "2"},
        ),
        (
            Change(http_tokens=HttpTokens.REQUIRED, http_protocol_ipv6=Switch.DISABLED),
            {"HttpTokens": "required", "HttpProtocolIpv6": "disabled"},
        ),
        (
            Change(http_tokens=HttpTokens.REQUIRED, instance_metadata_tags=Switch.ENABLED),
            {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        ),
    ],
)
def test_a_change_sends_tokens_endpoint_and_changed_options_only(
    region: Ec2Region, transport: FakeTransport, change: Change, sent: dict[str, str]
) -> None:
    """Other options keep their value."""
    transport.answer("<ModifyInstanceMetadataOptionsResponse/>")
    region.modify(an_id(1), change)
    always = {"Action": "ModifyInstanceMetadataOptions", "InstanceId": an_id(1), "HttpEndpoint": "enabled"}
    assert transport.requests == [always | sent]


def test_the_answer_to_a_change_is_returned(region: Ec2Region, transport: FakeTransport) -> None:
    """It is as EC2 sent it, without what botocore adds."""
    options = "<state>pending</state><httpTokens>required</httpTokens>"
    inner = f"<instanceId>{an_id(1)}</instanceId><instanceMetadataOptions>{options}</instanceMetadataOptions>"
    transport.answer(f"<ModifyInstanceMetadataOptionsResponse>{inner}</ModifyInstanceMetadataOptionsResponse>")
    answer = region.modify(an_id(1), Change(http_tokens=HttpTokens.REQUIRED))
    described = {"State": "pending", "HttpTokens": "required"}
    assert answer == {"InstanceId": an_id(1), "InstanceMetadataOptions": described}


def test_a_rehearsal_is_a_dry_run(region: Ec2Region, transport: FakeTransport) -> None:
    """EC2 says yes with an error code of its own."""
    transport.refuse("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
    region.rehearse(an_id(1), Change(http_tokens=HttpTokens.REQUIRED, http_put_response_hop_limit=2))
    assert transport.requests == [
        {
            "Action": "ModifyInstanceMetadataOptions",
            "InstanceId": an_id(1),
            "HttpTokens": "required",
            "HttpEndpoint": "enabled",
            "HttpPutResponseHopLimit": "2",
            "DryRun": "true",
        }
    ]


def test_the_regions_are_those_enabled_in_the_account(region: Ec2Region, transport: FakeTransport) -> None:
    """EC2 leaves the others out unless asked for all."""
    names = "".join(f"<item><regionName>{name}</regionName></item>" for name in ("us-east-1", "eu-west-1"))
    transport.answer(f"<DescribeRegionsResponse><regionInfo>{names}</regionInfo></DescribeRegionsResponse>")
    assert region.enabled_regions() == ("eu-west-1", "us-east-1")
    assert transport.requests == [{"Action": "DescribeRegions"}]


DECLARED = "<managedBy>declarative-policy</managedBy>"
ENFORCED = "<httpTokensEnforced>enabled</httpTokensEnforced>"


@pytest.mark.parametrize(
    ("defaults", "why"),
    [
        ("", None),
        ("<managedBy>account</managedBy>", None),
        # If only new instances require tokens by default, tokens can still be made optional.
        ("<httpTokens>required</httpTokens><httpTokensEnforced>disabled</httpTokensEnforced>", None),
        ("<httpTokensEnforced>no-preference</httpTokensEnforced>", None),
        (ENFORCED, "the metadata defaults of the region enforce tokens (HttpTokensEnforced)"),
        (
            f"<managedBy>account</managedBy>{ENFORCED}",
            "the metadata defaults of the region enforce tokens (HttpTokensEnforced)",
        ),
        # A policy may manage the other defaults and leave this one alone.
        (DECLARED, None),
        (f"{DECLARED}<httpTokens>required</httpTokens><managedExceptionMessage>no</managedExceptionMessage>", None),
        (
            f"{DECLARED}{ENFORCED}<managedExceptionMessage>ask security@example.com</managedExceptionMessage>",
            (
                "the metadata defaults of the region, which a declarative policy manages, enforce tokens "
                "(HttpTokensEnforced): ask security@example.com"
            ),
        ),
    ],
)
def test_the_accounts_defaults_say_whether_tokens_may_be_optional(
    region: Ec2Region, transport: FakeTransport, defaults: str, why: str | None
) -> None:
    """The reason has the organization's own message."""
    account = f"<accountLevel>{defaults}</accountLevel>" if defaults else ""
    transport.answer(f"<GetInstanceMetadataDefaultsResponse>{account}</GetInstanceMetadataDefaultsResponse>")
    assert region.tokens_enforced() == why
    assert transport.requests == [{"Action": "GetInstanceMetadataDefaults"}]


@pytest.mark.parametrize("call", ["find", "read", "modify", "rehearse", "regions", "defaults"])
def test_a_refused_call_is_an_error_with_ec2s_code(region: Ec2Region, transport: FakeTransport, call: str) -> None:
    """This holds for every kind of call."""
    transport.refuse("UnauthorizedOperation", "not you", 403)
    with pytest.raises(AwsError, match=r"^UnauthorizedOperation: not you$") as raised:
        _call(region, call)
    assert raised.value.failure.kind is Kind.FINAL


@pytest.mark.parametrize(
    ("call", "tries"),
    [("find", 3), ("read", 3), ("modify", 1), ("rehearse", 3), ("regions", 3), ("defaults", 3)],
)
@pytest.mark.usefixtures("backoffs")
def test_an_unanswered_call_may_work_later(region: Ec2Region, transport: FakeTransport, call: str, tries: int) -> None:
    """This holds for every kind of call, after its number of attempts. A change is sent only once."""
    transport.fail(ReadTimeoutError(endpoint_url="https://ec2"), times=tries)
    with pytest.raises(AwsError) as raised:
        _call(region, call)
    assert raised.value.failure.kind is Kind.UNAVAILABLE
    assert len(transport.requests) == tries


def test_a_truncated_answer_may_be_whole_later(region: Ec2Region, transport: FakeTransport) -> None:
    """It does not mean that the account has no instances."""
    transport.answer(a_page(an_item(1))[:200])
    with pytest.raises(AwsError, match=r"^ResponseParserError") as raised:
        region.read([an_id(1)])
    assert raised.value.failure.kind is Kind.UNAVAILABLE


@pytest.mark.parametrize(
    ("call", "body", "missing"),
    [
        ("find", "<DescribeInstancesResponse/>", "Reservations"),
        ("read", "<DescribeInstancesResponse/>", "Reservations"),
        ("regions", "<DescribeRegionsResponse/>", "Regions"),
    ],
)
def test_an_answer_without_its_list_is_a_failed_call(
    region: Ec2Region, transport: FakeTransport, call: str, body: str, missing: str
) -> None:
    """EC2 writes an empty list if there is nothing to list."""
    transport.answer(body)
    with pytest.raises(AwsError) as raised:
        _call(region, call)
    assert raised.value.failure == Failure("IncompleteAnswer", f"the answer has no {missing}", Kind.UNAVAILABLE)


def test_pages_before_an_error_are_not_lost(region: Ec2Region, transport: FakeTransport) -> None:
    """A sweep works on each page as it comes."""
    transport.answer(a_page(an_item(1), following="t-2"))
    transport.refuse("UnauthorizedOperation")
    pages = region.find({})
    assert [instance.instance_id for instance in next(pages)] == [an_id(1)]
    with pytest.raises(AwsError):
        next(pages)


def _call(region: Ec2Region, call: str) -> object:
    match call:
        case "find":
            return list(region.find({}))
        case "read":
            return region.read([an_id(1)])
        case "modify":
            region.modify(an_id(1), Change(http_tokens=HttpTokens.REQUIRED))
            return None
        case "rehearse":
            region.rehearse(an_id(1), Change(http_tokens=HttpTokens.REQUIRED))
            return None
        case "defaults":
            return region.tokens_enforced()
        case _:
            return region.enabled_regions()
