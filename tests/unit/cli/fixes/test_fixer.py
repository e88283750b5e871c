from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.template_fix import FixState
from imds_enforcer.model import AwsError
from tests.fakes.examples import a_policy
from tests.fakes.fixing import TEMPLATE, Fixing
from tests.fakes.template_changes import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.exceptions import ClientError

LAX: dict[str, Any] = {"ImageId": "ami-1", "InstanceType": "t3.micro"}
FIXED = {**LAX, "MetadataOptions": {"HttpTokens": "required"}}


@pytest.fixture
def fixing() -> Fixing:
    """A region with a template that does not set HttpTokens."""
    return Fixing(LAX)


def calls(fixing: Fixing, name: str) -> list[dict[str, Any]]:
    """The requests of one call."""
    return [request for call, request in fixing.region.requests if call == name]


def fail(fixing: Fixing, call: str, error: ClientError) -> None:
    """Let a call fail."""

    def raise_it(name: str) -> None:
        if name == call:
            raise error

    fixing.region.before = raise_it


def test_the_request_for_a_new_version(fixing: Fixing) -> None:
    """It names the source, and has only metadata options, the mark as description, and the run's own token."""
    assert fixing.fix("run-1").plan.reason == (
        "version 2 requires tokens and is otherwise the same as version 1; it is now the default"
    )
    assert calls(fixing, "create_launch_template_version") == [
        {
            "LaunchTemplateId": TEMPLATE,
            "SourceVersion": "1",
            "VersionDescription": "imds-enforcer launches fix: fix of version 1, run run-1",
            "LaunchTemplateData": {"MetadataOptions": {"HttpTokens": "required"}},
            "ClientToken": f"run-1-{TEMPLATE}-1",
        }
    ]
    assert fixing.state == (2, {1: LAX, 2: FIXED})


def test_a_fix_is_recorded_before_and_after(fixing: Fixing) -> None:
    """The intent is recorded before the first change, and the outcome at the end."""
    seen = []
    fixing.region.before = lambda call: seen.append((call, [each.state for each in fixing.records.all()]))
    fixing.fix()
    assert ("create_launch_template_version", [FixState.OPEN]) in seen
    [fix] = fixing.records.all()
    assert (fix.source, fix.version, fix.moves_default, fix.state) == ("1", "2", True, FixState.FIXED)


def test_a_read_back_that_differs_fails_the_fix(fixing: Fixing) -> None:
    """The fix deletes the version and names the fields that differ."""
    fixing.region.lost = ("InstanceType",)
    fixed = fixing.fix()
    assert fixed.plan.outcome == "FAILED"
    assert fixed.plan.reason == "ReadBackDiffers: version 2 differs in InstanceType; version 2 was deleted"
    assert fixing.state == (1, {1: LAX})
    assert [each.state for each in fixing.records.all()] == [FixState.WITHDRAWN]


def test_an_endpoint_that_ec2_adds_as_enabled_is_no_difference(fixing: Fixing) -> None:
    """Enabled is the default anyway. Any other option that the fix did not send would be a change."""
    fixing.region.shown_options = {"HttpEndpoint": "enabled"}
    assert fixing.fix().plan.outcome == "FIXED"
    assert fixing.undo().outcome == "UNDONE"
    for name, value in (("HttpEndpoint", "disabled"), ("HttpPutResponseHopLimit", 1)):
        fixing.region.shown_options = {name: value}
        assert f"version {len(fixing.region.templates[TEMPLATE]) + 1} differs in MetadataOptions.{name}" in (
            fixing.fix(f"run-{name}").plan.reason
        )
    assert fixing.state == (1, {1: LAX})


def test_a_new_warning_fails_the_fix(fixing: Fixing) -> None:
    """Warnings are the only checks that EC2 makes of a new version."""
    fixing.region.warn = lambda data: ["InvalidParameter"] if "MetadataOptions" in data else []
    fixed = fixing.fix()
    assert fixed.plan.outcome == "FAILED"
    assert (
        "EC2 warns about the new version, but not about its source: InvalidParameter: EC2 says so" in fixed.plan.reason
    )
    assert fixing.state == (1, {1: LAX})


def test_a_warning_that_the_source_has_too_does_not_matter(fixing: Fixing) -> None:
    """The fix learns that from a copy of the source, which it deletes."""
    fixing.region.warn = lambda _: ["InvalidAMIID.Malformed"]
    assert fixing.fix().plan.outcome == "FIXED"
    assert fixing.state == (2, {1: LAX, 2: FIXED})


def test_a_default_that_someone_moves_while_the_copy_exists_stays(fixing: Fixing) -> None:
    """The fix checks for changes by others last, right before it moves the default."""
    fixing.region.warn = lambda _: ["InvalidAMIID.Malformed"]

    def meddle(call: str) -> None:
        if call == "delete_launch_template_versions" and fixing.state[0] == 1:
            fixing.region.default_versions[TEMPLATE] = fixing.edit({"ImageId": "ami-2"})

    fixing.region.before = meddle
    fixed = fixing.fix().plan
    assert fixed.outcome == "LEFT"
    assert fixed.reason == "someone else has changed its default version since the plan; version 2 was deleted"
    assert fixing.state == (4, {1: LAX, 4: {"ImageId": "ami-2"}})


@pytest.mark.parametrize("call", ["create_launch_template_version", "modify_launch_template"])
def test_a_refused_call_fails_the_fix_with_the_code_of_aws(fixing: Fixing, call: str) -> None:
    """The fix leaves nothing behind."""
    fail(fixing, call, refusal("UnauthorizedOperation"))
    fixed = fixing.fix()
    assert fixed.plan.outcome == "FAILED"
    assert fixed.plan.reason.startswith("UnauthorizedOperation: AWS said so")
    assert fixing.state == (1, {1: LAX})


def test_a_version_that_cannot_be_deleted_is_named(fixing: Fixing) -> None:
    """The next undo finds it."""
    fixing.region.lost = ("InstanceType",)
    fail(fixing, "delete_launch_template_versions", refusal("UnauthorizedOperation"))
    assert fixing.fix().plan.reason.endswith("version 2 still exists (UnauthorizedOperation: AWS said so)")
    fixing.region.before = lambda _: None
    assert fixing.undo().reason == "version 2 was deleted"
    assert fixing.state == (1, {1: LAX})


def test_rejected_credentials_end_the_run(fixing: Fixing) -> None:
    """AWS would reject them for every other template too."""
    fail(fixing, "modify_launch_template", refusal("ExpiredToken"))
    with pytest.raises(AwsError, match="ExpiredToken"):
        fixing.fix()


def test_the_fix_waits_until_ec2_shows_the_version(fixing: Fixing) -> None:
    """EC2 is eventually consistent."""
    hidden = iter([True, True, False, False, False, False, False, False])
    since = fixing.region.describe_launch_template_versions

    def late(**request: Any) -> Any:
        answer = since(**request)
        if "MinVersion" in request and len(answer["LaunchTemplateVersions"]) > 1 and next(hidden):
            answer["LaunchTemplateVersions"].pop()
        return answer

    fixing.region.describe_launch_template_versions = late  # type: ignore[method-assign]
    assert fixing.fix().plan.outcome == "FIXED"
    assert 0 < fixing.clock.elapsed < 5


def test_a_fix_whose_default_was_moved_back_by_hand_is_continued(fixing: Fixing) -> None:
    """Its version was checked and already is the latest: the next fix reuses it."""
    fixing.fix()
    fixing.region.default_versions[TEMPLATE] = 1
    assert fixing.fix("run-2").version == "2"
    assert fixing.state == (2, {1: LAX, 2: FIXED})


@pytest.fixture
def moved_back(fixing: Fixing) -> Fixing:
    """A fixed template whose default was moved back by hand; a group names the fix's version."""
    fixing.fix()
    fixing.region.default_versions[TEMPLATE] = 1
    pinned = {"LaunchTemplateId": TEMPLATE, "Version": "2"}
    fixing.region.groups = [{"AutoScalingGroupName": "web", "LaunchTemplate": pinned}]
    return fixing


def test_an_earlier_version_with_other_options_stays(moved_back: Fixing) -> None:
    """After a change of the policy the fix creates another version."""
    moved_back.policy = a_policy(http_put_response_hop_limit=3)
    assert moved_back.fix("run-2").version == "3"
    default, versions = moved_back.state
    assert (default, versions[2]) == (3, FIXED)
    assert moved_back.undo("run-2").outcome == "UNDONE"
    assert moved_back.state == (1, {1: LAX, 2: FIXED})


def test_an_earlier_version_stays_if_the_default_cannot_be_moved(moved_back: Fixing) -> None:
    """The run deletes only versions that it created itself."""
    fail(moved_back, "modify_launch_template", refusal("UnauthorizedOperation"))
    assert moved_back.fix("run-2").plan.reason == "UnauthorizedOperation: AWS said so"
    assert moved_back.state == (1, {1: LAX, 2: FIXED})


def test_the_undo_of_a_fix_that_reused_an_earlier_version_leaves_that(moved_back: Fixing) -> None:
    """Default and latest version are as before that fix, even if the fix was killed."""
    moved_back.region.after = lambda _: (_ for _ in ()).throw(SystemExit)
    with pytest.raises(SystemExit):
        moved_back.fix("run-2")
    moved_back.region.after = lambda _: None
    assert moved_back.state == (2, {1: LAX, 2: FIXED})
    assert moved_back.undo("run-2").reason == "version 1 is the default again"
    assert moved_back.state == (1, {1: LAX, 2: FIXED})


def copy_the_description(fixing: Fixing) -> None:
    """Create a version as someone else, with the description of the fix's version."""
    fixing.edit({"ImageId": "ami-2"})
    fixing.region.described_as[TEMPLATE, 3] = fixing.region.described_as[TEMPLATE, 2]


def test_a_version_with_a_copied_description_stays(fixing: Fixing) -> None:
    """It has the mark of the fix but other content: it is someone else's."""
    fixing.fix()
    copy_the_description(fixing)
    fixing.region.default_versions[TEMPLATE] = 1
    before = fixing.state
    assert fixing.fix("run-2").plan.reason.startswith("its default is version 1 and its latest is version 3")
    assert fixing.state == before


def test_a_version_with_a_description_copied_after_the_plan_stays(fixing: Fixing) -> None:
    """The fix does not mistake it for the leftover of an interrupted fix."""
    fixing.fix()
    fixing.region.default_versions[TEMPLATE] = 1
    plan = fixing.plan()
    copy_the_description(fixing)
    before = fixing.state
    assert fixing.carry_out(plan, "run-2").plan.reason == "someone else has created version 3 since the plan"
    assert fixing.state == before


def test_a_default_with_a_copied_description_is_fixed(fixing: Fixing) -> None:
    """The default is then the source of the fix."""
    fixing.fix()
    copy_the_description(fixing)
    fixing.region.default_versions[TEMPLATE] = 3
    fixed = fixing.fix("run-2")
    assert (fixed.plan.outcome, fixed.plan.source, fixed.version) == ("FIXED", "3", "4")


def lose_the_answer(fixing: Fixing, call: str) -> None:
    """Let EC2 carry out a call but lose its answer, once."""

    def lose(name: str) -> None:
        if name == call:
            fixing.region.after = lambda _: None
            raise refusal("InternalError")

    fixing.region.after = lose


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("create_launch_template_version", "version 2 was deleted"),
        ("modify_launch_template", "version 1 is the default again; version 2 was deleted"),
    ],
)
def test_a_change_whose_answer_was_lost_is_undone(fixing: Fixing, call: str, reason: str) -> None:
    """The fix is reported as failed, so it must leave nothing behind."""
    lose_the_answer(fixing, call)
    assert fixing.fix().plan.reason == f"InternalError: AWS said so; {reason}"
    assert fixing.state == (1, {1: LAX})


def test_the_reason_says_if_it_is_not_known_whether_a_version_was_created(fixing: Fixing) -> None:
    """The next undo finds the version."""
    lose_the_answer(fixing, "create_launch_template_version")
    looks = iter([True])

    def fail_later(call: str) -> None:
        if call == "describe_launch_template_versions" and fixing.records.fixes and next(looks):
            raise refusal("RequestLimitExceeded")

    fixing.region.before = fail_later
    said = "it is not known whether a version was created (RequestLimitExceeded: AWS said so)"
    assert fixing.fix().plan.reason.endswith(said)
    fixing.region.before = lambda _: None
    assert fixing.undo().reason == "version 2 was deleted"


def test_a_version_that_ec2_never_shows_is_not_reported_as_deleted(fixing: Fixing) -> None:
    """The fix deletes it by its number but stays open: an undo looks for the version again."""
    describe = fixing.region.describe_launch_template_versions

    def without_the_new_one(**request: Any) -> Any:
        answer = describe(**request)
        shown = [each for each in answer["LaunchTemplateVersions"] if each["VersionNumber"] == 1]
        return {**answer, "LaunchTemplateVersions": shown}

    fixing.region.describe_launch_template_versions = without_the_new_one  # type: ignore[method-assign]
    assert fixing.fix().plan.reason == "NotShown: EC2 does not show the change that it accepted"
    assert fixing.state == (1, {1: LAX})
    assert [each.to_undo for each in fixing.records.all()] == [True]


def test_the_version_of_an_interrupted_fix_stays_while_something_names_it(fixing: Fixing) -> None:
    """Here someone has moved a group to it."""
    fixing.region.before = lambda call: (_ for _ in ()).throw(SystemExit) if call == "modify_launch_template" else None
    with pytest.raises(SystemExit):
        fixing.fix()
    fixing.region.before = lambda _: None
    pinned = {"LaunchTemplateId": TEMPLATE, "Version": "2"}
    fixing.region.groups = [{"AutoScalingGroupName": "web", "LaunchTemplate": pinned}]
    plan = fixing.fix("run-2").plan
    assert (plan.outcome, plan.reason) == (
        "LEFT",
        "an interrupted fix left version 2 behind, and Auto Scaling group web names it",
    )
    assert fixing.state == (1, {1: LAX, 2: FIXED})


THEIRS = {"ImageId": "ami-2"}


def interfere(fixing: Fixing, when: str, edit: Callable[[], object]) -> None:
    """Let others make a change just before or just after EC2 creates the new version."""

    def do(call: str) -> None:
        if call == "create_launch_template_version":
            fixing.region.before = fixing.region.after = lambda _: None
            edit()

    setattr(fixing.region, when, do)


def test_a_version_that_others_create_just_before_the_fix_stays_the_latest(fixing: Fixing) -> None:
    """The fix's version must not replace it, because it does not have the other version's content."""
    interfere(fixing, "before", lambda: fixing.edit(THEIRS))
    plan = fixing.fix().plan
    assert plan.outcome == "LEFT"
    assert plan.reason == "someone else has created version 2 since the plan; version 3 was deleted"
    assert fixing.state == (1, {1: LAX, 2: THEIRS})


def test_a_version_that_others_create_just_after_the_fix_stays_the_latest(fixing: Fixing) -> None:
    """The default moves to the fix's version."""
    interfere(fixing, "after", lambda: fixing.edit(THEIRS))
    assert fixing.fix().plan.outcome == "FIXED"
    assert fixing.state == (2, {1: LAX, 2: FIXED, 3: THEIRS})


def test_a_default_that_others_change_during_the_fix_stays() -> None:
    """The fix is left, and deletes its version."""
    fixing = Fixing(THEIRS, LAX)
    interfere(fixing, "after", lambda: fixing.region.default_versions.update({TEMPLATE: 1}))
    plan = fixing.fix().plan
    assert plan.outcome == "LEFT"
    assert plan.reason == "someone else has changed its default version since the plan; version 3 was deleted"
    assert fixing.state == (1, {1: THEIRS, 2: LAX})


def test_a_change_by_others_between_plan_and_fix_prevents_the_fix(fixing: Fixing) -> None:
    """The fix creates and records nothing."""
    plan = fixing.plan()
    fixing.edit(THEIRS)
    assert fixing.carry_out(plan).plan.reason == "someone else has created version 2 since the plan"
    assert fixing.state == (1, {1: LAX, 2: THEIRS})
    assert fixing.records.all() == []
