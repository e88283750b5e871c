from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.fixing import TEMPLATE, Fixing
from tests.fakes.template_changes import LaunchData, refusal

LAX: dict[str, Any] = {"ImageId": "ami-1"}
FIXED = {**LAX, "MetadataOptions": {"HttpTokens": "required"}}
NAMED = {"LaunchTemplateId": TEMPLATE, "Version": "2"}
BY_NAME = {"LaunchTemplateName": "web", "Version": "2"}
CONFIGS = [{"LaunchTemplateSpecification": NAMED}]


@pytest.fixture
def fixed() -> Fixing:
    """A region whose template was fixed: version 2 is made from version 1, and the default."""
    fixing = Fixing(LAX)
    assert fixing.fix().plan.outcome == "FIXED"
    return fixing


def test_default_and_latest_are_as_before(fixed: Fixing) -> None:
    """And a second undo finds nothing."""
    undone = fixed.undo()
    assert (undone.outcome, undone.reason) == ("UNDONE", "version 1 is the default again; version 2 was deleted")
    assert fixed.state == (1, {1: LAX})
    assert fixed.undo().reason == "nothing of it is there any more"


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        ({"groups": [{"AutoScalingGroupName": "web", "LaunchTemplate": NAMED}]}, "Auto Scaling group web"),
        (
            {"node_groups": {"shop": [{"nodegroupName": "blue", "launchTemplate": {"id": TEMPLATE, "version": "2"}}]}},
            "node group shop/blue",
        ),
        (
            {"fleets": [{"FleetId": "fleet-1", "FleetState": "active", "LaunchTemplateConfigs": CONFIGS}]},
            "fleet fleet-1",
        ),
        (
            {
                "spot_fleets": [
                    {
                        "SpotFleetRequestId": "sfr-1",
                        "SpotFleetRequestState": "active",
                        "SpotFleetRequestConfig": {"LaunchTemplateConfigs": [{"LaunchTemplateSpecification": BY_NAME}]},
                    }
                ]
            },
            "Spot Fleet sfr-1",
        ),
    ],
)
def test_a_version_that_is_named_by_number_is_never_deleted(fixed: Fixing, fields: LaunchData, user: str) -> None:
    """The default goes back all the same; once it is free, the next undo deletes it."""
    for name, value in fields.items():
        setattr(fixed.region, name, value)
    undone = fixed.undo()
    assert (undone.outcome, undone.reason) == (
        "LEFT",
        f"version 1 is the default again; version 2 stays: {user} names it",
    )
    assert fixed.state == (1, {1: LAX, 2: FIXED})
    for name, value in fields.items():
        setattr(fixed.region, name, type(value)())
    assert fixed.undo().outcome == "UNDONE"
    assert fixed.state == (1, {1: LAX})


@pytest.mark.parametrize(
    "call", ["describe_auto_scaling_groups", "list_clusters", "describe_fleets", "describe_spot_fleet_requests"]
)
def test_nothing_is_undone_where_it_is_not_known_who_names_it(fixed: Fixing, call: str) -> None:
    """The failure has AWS's own code."""
    before = fixed.state
    fixed.region.refused = {call: "AccessDenied"}
    assert fixed.undo().reason == "AccessDenied: AWS said so"
    assert fixed.state == before


def test_fleets_that_have_ended_name_nothing(fixed: Fixing) -> None:
    """They launch nothing any more."""
    fixed.region.fleets = [{"FleetId": "fleet-1", "FleetState": "deleted", "LaunchTemplateConfigs": CONFIGS}]
    assert fixed.undo().outcome == "UNDONE"


def test_another_default_is_left(fixed: Fixing) -> None:
    """It is someone else's choice; the version of the fix goes."""
    fixed.region.default_versions[TEMPLATE] = fixed.edit({"ImageId": "ami-2"})
    undone = fixed.undo()
    assert undone.outcome == "LEFT"
    assert "someone else has changed the default to version 3" in undone.reason
    assert fixed.state == (3, {1: LAX, 3: {"ImageId": "ami-2"}})


def test_a_later_version_stays_the_latest(fixed: Fixing) -> None:
    """It is named."""
    fixed.edit({"ImageId": "ami-2"})
    undone = fixed.undo()
    assert undone.reason == (
        "version 1 is the default again; version 2 was deleted; someone else has made version 3 since, which stays the "
        "latest"
    )
    assert fixed.state == (1, {1: LAX, 3: {"ImageId": "ami-2"}})


def test_a_version_whose_description_was_copied_stays(fixed: Fixing) -> None:
    """It has the mark of the fix, and another number than the one that is written down."""
    fixed.edit({"ImageId": "ami-2"})
    fixed.region.described_as[TEMPLATE, 3] = fixed.region.described_as[TEMPLATE, 2]
    fixed.region.default_versions[TEMPLATE] = 3
    undone = fixed.undo()
    assert "someone else has changed the default to version 3" in undone.reason
    assert fixed.state == (3, {1: LAX, 3: {"ImageId": "ami-2"}})


def test_a_source_that_is_gone(fixed: Fixing) -> None:
    """There is no way back to it: the fixed version stays the default."""
    fixed.region.templates[TEMPLATE][0] = None
    undone = fixed.undo()
    assert (undone.outcome, undone.reason) == (
        "LEFT",
        "version 1 is not there any more, so version 2 stays the default",
    )


def test_a_version_that_others_made_the_default_stays() -> None:
    """A fix that did not move the default leaves it to those who did."""
    fixing = Fixing(FIXED, LAX, default=1)
    fixing.fix()
    fixing.region.default_versions[TEMPLATE] = 3
    assert fixing.undo().reason == "someone else has made version 3 the default"
    assert fixing.state[0] == 3


def test_a_template_that_is_gone(fixed: Fixing) -> None:
    """Nothing is left to undo."""
    del fixed.region.templates[TEMPLATE]
    assert fixed.undo().outcome == "GONE"


def test_a_refusal_carries_the_code_of_aws(fixed: Fixing) -> None:
    """And the next undo goes on."""

    def refuse(call: str) -> None:
        if call == "delete_launch_template_versions":
            raise refusal("UnauthorizedOperation")

    fixed.region.before = refuse
    assert fixed.undo().reason == "UnauthorizedOperation: AWS said so"
    fixed.region.before = lambda _: None
    assert fixed.undo().outcome == "UNDONE"
    assert fixed.state == (1, {1: LAX})
