from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.aws.account_defaults import DefaultsApi
from imds_enforcer.aws.boto import CLIENT_CONFIG, WRITE_CONFIG
from imds_enforcer.model import AwsError, HttpTokens, Kind, Switch
from imds_enforcer.model.region_defaults import DEFAULTS, RegionDefaults

if TYPE_CHECKING:
    from tests.fakes.clock import FakeClock
    from tests.fakes.transport import FakeTransport

ALL = RegionDefaults(
    http_tokens=HttpTokens.REQUIRED,
    http_put_response_hop_limit=2,
    instance_metadata_tags=Switch.DISABLED,
    http_tokens_enforced=Switch.ENABLED,
)
TAKEN = "<ModifyInstanceMetadataDefaultsResponse><return>true</return></ModifyInstanceMetadataDefaultsResponse>"


@pytest.fixture
def api(transport: FakeTransport, clock: FakeClock) -> DefaultsApi:
    """The defaults of one region."""
    clients = {config: transport.client("ec2", config) for config in (CLIENT_CONFIG, WRITE_CONFIG)}
    return DefaultsApi(clients.__getitem__, clock)


def level(**fields: object) -> str:
    """EC2's answer with these fields."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    answer = "GetInstanceMetadataDefaultsResponse"
    return f"<{answer}><accountLevel>{inner}</accountLevel></{answer}>"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, RegionDefaults()),
        ({"managedBy": "account", "httpEndpoint": "disabled"}, RegionDefaults()),
        ({"httpTokens": "no-preference", "httpPutResponseHopLimit": -1}, RegionDefaults()),
        (
            {
                "httpTokens": "required",
                "httpPutResponseHopLimit": 2,
                "instanceMetadataTags": "disabled",
                "httpTokensEnforced": "enabled",
            },
            ALL,
        ),
    ],
)
def test_the_defaults_are_read(
    api: DefaultsApi, transport: FakeTransport, clock: FakeClock, answer: dict[str, object], expected: RegionDefaults
) -> None:
    """An attribute without a preference is None; the age counts from the request."""
    asked_at = clock.monotonic()
    transport.before_answering = lambda: clock.advance(3)
    transport.answer(level(**answer))
    seen = api.read()
    assert (seen, seen.managed, seen.observed_at) == (expected, None, asked_at)


@pytest.mark.parametrize(("message", "words"), [({}, ""), ({"managedExceptionMessage": "Ask Ann."}, ": Ask Ann.")])
def test_a_declarative_policy_is_named(
    api: DefaultsApi, transport: FakeTransport, message: dict[str, str], words: str
) -> None:
    """The organization's own words are quoted."""
    transport.answer(level(managedBy="declarative-policy", **message))
    assert api.read().managed == f"a declarative policy manages the region's defaults{words}"


def test_any_other_manager_of_the_defaults_is_named(api: DefaultsApi, transport: FakeTransport) -> None:
    """Only defaults that the account itself manages may be changed."""
    transport.answer(level(managedBy="control-tower"))
    assert api.read().managed == "control-tower manages the region's defaults"


@pytest.mark.parametrize("answer", [level(httpTokens="v3"), "<GetInstanceMetadataDefaultsResponse/>"])
def test_unrecognized_defaults_are_a_failed_call(api: DefaultsApi, transport: FakeTransport, answer: str) -> None:
    """The enforcer assumes nothing about the region."""
    transport.answer(answer)
    with pytest.raises(AwsError, match=r"UnreadableDefaults.*v3|IncompleteAnswer"):
        api.read()


def test_only_named_defaults_are_sent(api: DefaultsApi, transport: FakeTransport) -> None:
    """The others keep their value."""
    for _ in range(3):
        transport.answer(TAKEN)
    api.set(ALL, DEFAULTS.values())
    api.set(ALL, ["instance_metadata_tags"])
    api.set(RegionDefaults(), DEFAULTS.values())
    every = {"HttpTokens": "required", "HttpPutResponseHopLimit": "2", "InstanceMetadataTags": "disabled"}
    none = {"HttpTokens": "no-preference", "HttpPutResponseHopLimit": "-1", "InstanceMetadataTags": "no-preference"}
    action = {"Action": "ModifyInstanceMetadataDefaults"}
    assert transport.requests == [
        action | every | {"HttpTokensEnforced": "enabled"},
        action | {"InstanceMetadataTags": "disabled"},
        action | none | {"HttpTokensEnforced": "no-preference"},
    ]


@pytest.mark.parametrize("code", ["UnsupportedOperation", "UnauthorizedOperation", "DeclarativePolicyViolation"])
def test_a_refusal_is_final_and_has_ec2s_code(api: DefaultsApi, transport: FakeTransport, code: str) -> None:
    """This holds for every code. The call is made once."""
    transport.refuse(code, "denied due to an organizational policy in effect")
    with pytest.raises(AwsError) as refused:
        api.set(ALL, ["http_tokens"])
    assert (refused.value.failure.code, refused.value.failure.kind) == (code, Kind.FINAL)


def test_a_change_is_sent_once(api: DefaultsApi, transport: FakeTransport) -> None:
    """A retry by the client could act on an old observation."""
    transport.refuse("InternalError", status=500)
    with pytest.raises(AwsError):
        api.set(ALL, ["http_tokens"])
