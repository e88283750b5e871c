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
    """A region with a fixed template: version 2, made from version 1, is the default."""
    fixing = Fixing(LAX)
    assert fixing.fix().plan.outcome == "FIXED"
    return fixing


def test_an_undo_restores_default_and_latest(fixed: Fixing) -> None:
    """A second undo finds nothing to do."""
    undone = fixed.undo()
    assert (undone.outcome, undone.reason) == ("UNDONE", "version 1 is the default again; version 2 was deleted")
    assert fixed.state == (1, {1: LAX})
    assert fixed.undo().reason == "nothing of the fix is left"


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
    """The default moves back anyway. Once nothing names the version, the next undo deletes it."""
    for name, value in fields.items():
        setattr(fixed.region, name, value)
    undone = fixed.undo()
    assert (undone.outcome, undone.reason) == (
        "LEFT",
        f"version 1 is the default again; version 2 stays, because it is named by {user}",
    )
    assert fixed.state == (1, {1: LAX, 2: FIXED})
    for name, value in fields.items():
        setattr(fixed.region, name, type(value)())
    assert fixed.undo().outcome == "UNDONE"
    assert fixed.state == (1, {1: LAX})


@pytest.mark.parametrize(
    "call", ["describe_auto_scaling_groups", "list_clusters", "describe_fleets", "describe_spot_fleet_requests"]
)
def test_nothing_is_undone_if_it_is_not_known_what_names_the_version(fixed: Fixing, call: str) -> None:
    """The reason has AWS's own code."""
    before = fixed.state
    fixed.region.refused = {call: "AccessDenied"}
    assert fixed.undo().reason == "AccessDenied: AWS said so"
    assert fixed.state == before


def test_ended_fleets_do_not_count(fixed: Fixing) -> None:
    """They no longer launch anything."""
    fixed.region.fleets = [{"FleetId": "fleet-1", "FleetState": "deleted", "LaunchTemplateConfigs": CONFIGS}]
    assert fixed.undo().outcome == "UNDONE"


def test_a_default_that_someone_else_chose_stays(fixed: Fixing) -> None:
    """The undo only deletes the version of the fix."""
    fixed.region.default_versions[TEMPLATE] = fixed.edit({"ImageId": "ami-2"})
    undone = fixed.undo()
    assert undone.outcome == "LEFT"
    assert "someone else has changed the default to version 3" in undone.reason
    assert fixed.state == (3, {1: LAX, 3: {"ImageId": "ami-2"}})


def test_a_later_version_stays_the_latest(fixed: Fixing) -> None:
    """The reason names it."""
    fixed.edit({"ImageId": "ami-2"})
    undone = fixed.undo()
    assert undone.reason == (
        "version 1 is the default again; version 2 was deleted; someone else has since created version 3, which stays "
        "the latest"
    )
    assert fixed.state == (1, {1: LAX, 3: {"ImageId": "ami-2"}})


def test_a_version_with_a_copied_description_stays(fixed: Fixing) -> None:
    """It has the mark of the fix, but not the recorded number."""
    fixed.edit({"ImageId": "ami-2"})
    fixed.region.described_as[TEMPLATE, 3] = fixed.region.described_as[TEMPLATE, 2]
    fixed.region.default_versions[TEMPLATE] = 3
    undone = fixed.undo()
    assert "someone else has changed the default to version 3" in undone.reason
    assert fixed.state == (3, {1: LAX, 3: {"ImageId": "ami-2"}})


def test_the_fixed_version_stays_the_default_if_the_source_is_gone(fixed: Fixing) -> None:
    """The undo deletes nothing either."""
    fixed.region.templates[TEMPLATE][0] = None
    undone = fixed.undo()
    assert (undone.outcome, undone.reason) == (
        "LEFT",
        "version 1 no longer exists, so version 2 stays the default",
    )


def test_a_version_that_others_made_the_default_stays() -> None:
    """The fix itself did not move the default, so the undo does not either."""
    fixing = Fixing(FIXED, LAX, default=1)
    fixing.fix()
    fixing.region.default_versions[TEMPLATE] = 3
    assert fixing.undo().reason == "someone else has made version 3 the default"
    assert fixing.state[0] == 3


def test_the_undo_of_a_deleted_template_is_reported_as_gone(fixed: Fixing) -> None:
    """Nothing is left to undo."""
    del fixed.region.templates[TEMPLATE]
    assert fixed.undo().outcome == "GONE"


def test_a_refused_call_fails_the_undo_with_the_code_of_aws(fixed: Fixing) -> None:
    """The next undo finishes the work."""

    def refuse(call: str) -> None:
        if call == "delete_launch_template_versions":
            raise refusal("UnauthorizedOperation")

    fixed.region.before = refuse
    assert fixed.undo().reason == "UnauthorizedOperation: AWS said so"
    fixed.region.before = lambda _: None
    assert fixed.undo().outcome == "UNDONE"
    assert fixed.state == (1, {1: LAX})
