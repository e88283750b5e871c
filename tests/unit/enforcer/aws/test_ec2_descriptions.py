"""How EC2's description of an instance is read, even if parts of it are unrecognized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.model import HttpTokens, Instance, InstanceState, MetadataOptions, OptionsState, Switch
from tests.fakes.ec2_answers import OPTIONS, a_page, an_item
from tests.fakes.examples import HOME, an_id

if TYPE_CHECKING:
    from imds_enforcer.aws.ec2 import Ec2Region
    from tests.fakes.clock import FakeClock
    from tests.fakes.transport import FakeTransport


def _without(name: str) -> str:
    """The options without one of them."""
    before, _, rest = OPTIONS.partition(f"<{name}>")
    return before + rest.partition(f"</{name}>")[2]


def _with(name: str, value: str) -> str:
    """The options with another value for one of them."""
    before, _, rest = OPTIONS.partition(f"<{name}>")
    return f"{before}<{name}>{value}</{name}>{rest.partition(f'</{name}>')[2]}"


def test_an_instance_is_read_with_everything_a_decision_needs(
    region: Ec2Region, transport: FakeTransport, clock: FakeClock
) -> None:
    """Options, state, image, tags, and its manager."""
    more = (
        f"{OPTIONS}<imageId>ami-1</imageId><tagSet><item><key>team</key><value>web</value></item></tagSet>"
        "<operator><managed>true</managed><principal>eks.amazonaws.com</principal></operator>"
    )
    transport.answer(a_page(an_item(1, more)))
    assert region.read([an_id(1)]) == {
        an_id(1): Instance(
            instance_id=an_id(1),
            region=HOME,
            state=InstanceState.RUNNING,
            options=MetadataOptions(
                http_tokens=HttpTokens.OPTIONAL,
                http_endpoint=Switch.ENABLED,
                http_put_response_hop_limit=2,
                http_protocol_ipv6=Switch.ENABLED,
                instance_metadata_tags=Switch.ENABLED,
                state=OptionsState.APPLIED,
            ),
            observed_at=clock.monotonic(),
            image_id="ami-1",
            tags={"team": "web"},
            managed_by="eks.amazonaws.com",
        )
    }


@pytest.mark.parametrize(
    ("operator", "manager"),
    [
        ("", None),
        ("<operator><managed>false</managed></operator>", None),
        ("<operator><managed>false</managed><principal>eks.amazonaws.com</principal></operator>", None),
        ("<operator><managed>true</managed></operator>", "an AWS service"),
    ],
)
def test_an_instance_is_managed_only_if_ec2_says_so(
    region: Ec2Region, transport: FakeTransport, operator: str, manager: str | None
) -> None:
    """EC2 may say so without naming the manager."""
    transport.answer(a_page(an_item(1, operator)))
    assert region.read([an_id(1)])[an_id(1)].managed_by == manager


@pytest.mark.parametrize(
    "options",
    [
        "",
        "<metadataOptions/>",
        "<metadataOptions><state>pending</state></metadataOptions>",
        *map(_without, ["state", "httpTokens", "httpEndpoint", "httpPutResponseHopLimit"]),
        _with("state", "half-applied"),
        _with("httpTokens", "preferred"),
        _with("httpEndpoint", "local"),
        _with("httpProtocolIpv6", "only"),
        _with("instanceMetadataTags", "some"),
    ],
)
@pytest.mark.parametrize("state", InstanceState)
def test_unrecognized_options_are_not_guessed(
    region: Ec2Region, transport: FakeTransport, options: str, state: InstanceState
) -> None:
    """They count neither as on nor as off. The rest of the description is used."""
    transport.answer(a_page(an_item(1, f"{options}<imageId>ami-1</imageId>", state)))
    instance = region.read([an_id(1)])[an_id(1)]
    assert (instance.options, instance.state, instance.image_id) == (None, state, "ami-1")


@pytest.mark.parametrize(
    ("name", "field"),
    [("httpProtocolIpv6", "http_protocol_ipv6"), ("instanceMetadataTags", "instance_metadata_tags")],
)
def test_a_missing_newer_option_is_off(region: Ec2Region, transport: FakeTransport, name: str, field: str) -> None:
    """An EC2 endpoint that does not know the option cannot have it on."""
    transport.answer(a_page(an_item(1, _without(name))))
    options = region.read([an_id(1)])[an_id(1)].options
    assert getattr(options, field) is Switch.DISABLED


@pytest.mark.parametrize("state", ["frozen", ""])
def test_an_instance_in_an_unrecognized_state_may_exist_and_is_unreadable(
    region: Ec2Region, transport: FakeTransport, state: str
) -> None:
    """So is one without a state."""
    transport.answer(a_page(an_item(1, OPTIONS, state)))
    instance = region.read([an_id(1)])[an_id(1)]
    assert (instance.state, instance.options) == (InstanceState.RUNNING, None)


def test_an_unreadable_description_does_not_hide_the_others(region: Ec2Region, transport: FakeTransport) -> None:
    """They are on the same page."""
    transport.answer(
        a_page(an_item(1, state="frozen"), an_item(2), an_item(3, _with("httpTokens", "preferred")), an_item(4))
    )
    found = region.read([an_id(number) for number in range(1, 5)])
    assert [instance_id for instance_id, instance in found.items() if instance.options] == [an_id(2), an_id(4)]
    assert list(found) == [an_id(number) for number in range(1, 5)]
