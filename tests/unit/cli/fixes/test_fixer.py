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
    """A region with a template that says nothing about tokens."""
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


def test_the_request(fixing: Fixing) -> None:
    """From the source, with metadata options alone, a description as the mark, and a token of the run's own."""
    assert fixing.fix("run-1").plan.reason == "version 2 requires tokens, and is else as version 1, the default now"
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


def test_it_is_written_down_before_and_after(fixing: Fixing) -> None:
    """Before the first change what is intended, and then what was done."""
    seen = []
    fixing.region.before = lambda call: seen.append((call, [each.state for each in fixing.records.all()]))
    fixing.fix()
    assert ("create_launch_template_version", [FixState.OPEN]) in seen
    [fix] = fixing.records.all()
    assert (fix.source, fix.version, fix.moves_default, fix.state) == ("1", "2", True, FixState.FIXED)


def test_a_read_back_that_differs(fixing: Fixing) -> None:
    """The version is deleted again, and the fields are named."""
    fixing.region.lost = ("InstanceType",)
    fixed = fixing.fix()
    assert fixed.plan.outcome == "FAILED"
    assert fixed.plan.reason == "ReadBackDiffers: version 2 differs in InstanceType; version 2 was deleted again"
    assert fixing.state == (1, {1: LAX})
    assert [each.state for each in fixing.records.all()] == [FixState.WITHDRAWN]


def test_an_endpoint_that_ec2_shows_enabled_by_itself(fixing: Fixing) -> None:
    """It is so without metadata options, too; another option that was not asked for would change something."""
    fixing.region.shown_options = {"HttpEndpoint": "enabled"}
    assert fixing.fix().plan.outcome == "FIXED"
    assert fixing.undo().outcome == "UNDONE"
    for name, value in (("HttpEndpoint", "disabled"), ("HttpPutResponseHopLimit", 1)):
        fixing.region.shown_options = {name: value}
        assert f"version {len(fixing.region.templates[TEMPLATE]) + 1} differs in MetadataOptions.{name}" in (
            fixing.fix(f"run-{name}").plan.reason
        )
    assert fixing.state == (1, {1: LAX})


def test_a_warning_that_the_source_does_not_have(fixing: Fixing) -> None:
    """It is an error: EC2 checks nothing else when a version is made."""
    fixing.region.warn = lambda data: ["InvalidParameter"] if "MetadataOptions" in data else []
    fixed = fixing.fix()
    assert fixed.plan.outcome == "FAILED"
    assert "EC2 warns of what the source version does not have: InvalidParameter: EC2 says so" in fixed.plan.reason
    assert fixing.state == (1, {1: LAX})


def test_a_warning_that_the_source_has_too(fixing: Fixing) -> None:
    """A copy of it says so, and is gone."""
    fixing.region.warn = lambda _: ["InvalidAMIID.Malformed"]
    assert fixing.fix().plan.outcome == "FIXED"
    assert fixing.state == (2, {1: LAX, 2: FIXED})


def test_a_default_that_is_moved_while_the_copy_is_made_stays(fixing: Fixing) -> None:
    """What others do is looked at last, right before the default is moved."""
    fixing.region.warn = lambda _: ["InvalidAMIID.Malformed"]

    def meddle(call: str) -> None:
        if call == "delete_launch_template_versions" and fixing.state[0] == 1:
            fixing.region.default_versions[TEMPLATE] = fixing.edit({"ImageId": "ami-2"})

    fixing.region.before = meddle
    fixed = fixing.fix().plan
    assert fixed.outcome == "LEFT"
    assert fixed.reason == "someone else has changed its default meanwhile; version 2 was deleted again"
    assert fixing.state == (4, {1: LAX, 4: {"ImageId": "ami-2"}})


@pytest.mark.parametrize("call", ["create_launch_template_version", "modify_launch_template"])
def test_a_refusal_carries_the_code_of_aws(fixing: Fixing, call: str) -> None:
    """Nothing is left behind."""
    fail(fixing, call, refusal("UnauthorizedOperation"))
    fixed = fixing.fix()
    assert fixed.plan.outcome == "FAILED"
    assert fixed.plan.reason.startswith("UnauthorizedOperation: AWS said so")
    assert fixing.state == (1, {1: LAX})


def test_a_version_that_cannot_be_deleted_again_is_named(fixing: Fixing) -> None:
    """And the next undo finds it."""
    fixing.region.lost = ("InstanceType",)
    fail(fixing, "delete_launch_template_versions", refusal("UnauthorizedOperation"))
    assert fixing.fix().plan.reason.endswith("version 2 is still there (UnauthorizedOperation: AWS said so)")
    fixing.region.before = lambda _: None
    assert fixing.undo().reason == "version 2 was deleted"
    assert fixing.state == (1, {1: LAX})


def test_credentials_that_are_not_accepted_end_the_run(fixing: Fixing) -> None:
    """No other template would fare better."""
    fail(fixing, "modify_launch_template", refusal("ExpiredToken"))
    with pytest.raises(AwsError, match="ExpiredToken"):
        fixing.fix()


def test_a_version_that_is_not_shown_at_once_is_waited_for(fixing: Fixing) -> None:
    """EC2 is eventually consistent; one that does not appear in time is deleted again."""
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


def test_a_fix_whose_default_was_moved_back_by_hand_is_gone_on_with(fixing: Fixing) -> None:
    """Its version has been checked, and is the latest already: no other is made."""
    fixing.fix()
    fixing.region.default_versions[TEMPLATE] = 1
    assert fixing.fix("run-2").version == "2"
    assert fixing.state == (2, {1: LAX, 2: FIXED})


@pytest.fixture
def moved_back(fixing: Fixing) -> Fixing:
    """A template that was fixed, and whose default was moved back by hand; a group names the fix's version."""
    fixing.fix()
    fixing.region.default_versions[TEMPLATE] = 1
    pinned = {"LaunchTemplateId": TEMPLATE, "Version": "2"}
    fixing.region.groups = [{"AutoScalingGroupName": "web", "LaunchTemplate": pinned}]
    return fixing


def test_an_earlier_version_that_has_other_options_stays(moved_back: Fixing) -> None:
    """The policy has changed meanwhile: another version is made."""
    moved_back.policy = a_policy(http_put_response_hop_limit=3)
    assert moved_back.fix("run-2").version == "3"
    default, versions = moved_back.state
    assert (default, versions[2]) == (3, FIXED)
    assert moved_back.undo("run-2").outcome == "UNDONE"
    assert moved_back.state == (1, {1: LAX, 2: FIXED})


def test_an_earlier_version_stays_where_the_default_cannot_be_moved(moved_back: Fixing) -> None:
    """It is not this run's to delete."""
    fail(moved_back, "modify_launch_template", refusal("UnauthorizedOperation"))
    assert moved_back.fix("run-2").plan.reason == "UnauthorizedOperation: AWS said so"
    assert moved_back.state == (1, {1: LAX, 2: FIXED})


def test_an_undo_of_what_went_on_with_an_earlier_fix_leaves_that(moved_back: Fixing) -> None:
    """Default and latest are as before it, whether it was killed or not."""
    moved_back.region.after = lambda _: (_ for _ in ()).throw(SystemExit)
    with pytest.raises(SystemExit):
        moved_back.fix("run-2")
    moved_back.region.after = lambda _: None
    assert moved_back.state == (2, {1: LAX, 2: FIXED})
    assert moved_back.undo("run-2").reason == "version 1 is the default again"
    assert moved_back.state == (1, {1: LAX, 2: FIXED})


def copy_the_description(fixing: Fixing) -> None:
    """Someone else makes a version from that of the fix, with its description."""
    fixing.edit({"ImageId": "ami-2"})
    fixing.region.described_as[TEMPLATE, 3] = fixing.region.described_as[TEMPLATE, 2]


def test_a_version_whose_description_was_copied_stays(fixing: Fixing) -> None:
    """It has the mark of the fix, and other content: it is someone else's."""
    fixing.fix()
    copy_the_description(fixing)
    fixing.region.default_versions[TEMPLATE] = 1
    before = fixing.state
    assert fixing.fix("run-2").plan.reason.startswith("its default is version 1 and its latest 3")
    assert fixing.state == before


def test_a_copied_description_made_after_the_plan(fixing: Fixing) -> None:
    """Neither is it deleted as what an interrupted fix has left."""
    fixing.fix()
    fixing.region.default_versions[TEMPLATE] = 1
    plan = fixing.plan()
    copy_the_description(fixing)
    before = fixing.state
    assert fixing.carry_out(plan, "run-2").plan.reason == "someone else has made version 3 meanwhile"
    assert fixing.state == before


def test_a_default_whose_description_was_copied_is_fixed(fixing: Fixing) -> None:
    """From what it is itself."""
    fixing.fix()
    copy_the_description(fixing)
    fixing.region.default_versions[TEMPLATE] = 3
    fixed = fixing.fix("run-2")
    assert (fixed.plan.outcome, fixed.plan.source, fixed.version) == ("FIXED", "3", "4")


def lose_the_answer(fixing: Fixing, call: str) -> None:
    """Let EC2 do what a call asks for, and its answer be lost, once."""

    def lose(name: str) -> None:
        if name == call:
            fixing.region.after = lambda _: None
            raise refusal("InternalError")

    fixing.region.after = lose


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("create_launch_template_version", "version 2 was deleted again"),
        ("modify_launch_template", "version 1 is the default again; version 2 was deleted again"),
    ],
)
def test_what_was_done_although_the_answer_was_lost_is_taken_back(fixing: Fixing, call: str, reason: str) -> None:
    """It is reported as failed, so that nothing of it may be there."""
    lose_the_answer(fixing, call)
    assert fixing.fix().plan.reason == f"InternalError: AWS said so; {reason}"
    assert fixing.state == (1, {1: LAX})


def test_where_it_is_not_known_whether_a_version_was_made_that_is_said(fixing: Fixing) -> None:
    """And the next undo finds it."""
    lose_the_answer(fixing, "create_launch_template_version")
    looks = iter([True])

    def fail_later(call: str) -> None:
        if call == "describe_launch_template_versions" and fixing.records.fixes and next(looks):
            raise refusal("RequestLimitExceeded")

    fixing.region.before = fail_later
    said = "whether a version was made is not known (RequestLimitExceeded: AWS said so)"
    assert fixing.fix().plan.reason.endswith(said)
    fixing.region.before = lambda _: None
    assert fixing.undo().reason == "version 2 was deleted"


def test_a_version_that_ec2_never_shows_is_not_called_deleted(fixing: Fixing) -> None:
    """It is deleted by its number, and the fix stays open: an undo looks for it again."""
    describe = fixing.region.describe_launch_template_versions

    def without_the_new_one(**request: Any) -> Any:
        answer = describe(**request)
        shown = [each for each in answer["LaunchTemplateVersions"] if each["VersionNumber"] == 1]
        return {**answer, "LaunchTemplateVersions": shown}

    fixing.region.describe_launch_template_versions = without_the_new_one  # type: ignore[method-assign]
    assert fixing.fix().plan.reason == "NotShown: EC2 does not show the change that it accepted"
    assert fixing.state == (1, {1: LAX})
    assert [each.to_undo for each in fixing.records.all()] == [True]


def test_what_an_interrupted_fix_has_left_is_not_deleted_while_it_is_named(fixing: Fixing) -> None:
    """A group has been moved to it meanwhile."""
    fixing.region.before = lambda call: (_ for _ in ()).throw(SystemExit) if call == "modify_launch_template" else None
    with pytest.raises(SystemExit):
        fixing.fix()
    fixing.region.before = lambda _: None
    pinned = {"LaunchTemplateId": TEMPLATE, "Version": "2"}
    fixing.region.groups = [{"AutoScalingGroupName": "web", "LaunchTemplate": pinned}]
    plan = fixing.fix("run-2").plan
    assert (plan.outcome, plan.reason) == (
        "LEFT",
        "an interrupted fix has left version 2, which Auto Scaling group web names",
    )
    assert fixing.state == (1, {1: LAX, 2: FIXED})


THEIRS = {"ImageId": "ami-2"}


def meanwhile(fixing: Fixing, when: str, edit: Callable[[], object]) -> None:
    """Let others do something just before or just after the new version is made."""

    def do(call: str) -> None:
        if call == "create_launch_template_version":
            fixing.region.before = fixing.region.after = lambda _: None
            edit()

    setattr(fixing.region, when, do)


def test_a_version_that_others_make_just_before(fixing: Fixing) -> None:
    """It stays the latest: the one of the fix has not its content."""
    meanwhile(fixing, "before", lambda: fixing.edit(THEIRS))
    plan = fixing.fix().plan
    assert plan.outcome == "LEFT"
    assert plan.reason == "someone else has made version 2 meanwhile; version 3 was deleted again"
    assert fixing.state == (1, {1: LAX, 2: THEIRS})


def test_a_version_that_others_make_just_after(fixing: Fixing) -> None:
    """It stays the latest; the default moves."""
    meanwhile(fixing, "after", lambda: fixing.edit(THEIRS))
    assert fixing.fix().plan.outcome == "FIXED"
    assert fixing.state == (2, {1: LAX, 2: FIXED, 3: THEIRS})


def test_a_default_that_others_change_meanwhile() -> None:
    """It is theirs."""
    fixing = Fixing(THEIRS, LAX)
    meanwhile(fixing, "after", lambda: fixing.region.default_versions.update({TEMPLATE: 1}))
    plan = fixing.fix().plan
    assert plan.outcome == "LEFT"
    assert plan.reason == "someone else has changed its default meanwhile; version 3 was deleted again"
    assert fixing.state == (1, {1: THEIRS, 2: LAX})


def test_what_others_change_between_plan_and_fix(fixing: Fixing) -> None:
    """Nothing is made then, and nothing written down."""
    plan = fixing.plan()
    fixing.edit(THEIRS)
    assert fixing.carry_out(plan).plan.reason == "someone else has made version 2 meanwhile"
    assert fixing.state == (1, {1: LAX, 2: THEIRS})
    assert fixing.records.all() == []
