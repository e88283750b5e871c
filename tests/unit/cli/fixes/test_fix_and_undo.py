"""Properties, over random templates: a fix changes only metadata options, and an undo leaves nothing of it."""

from __future__ import annotations

import copy
from contextlib import suppress
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.model import ListShape, Shape, StructureShape
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.fixing import TEMPLATE, Fixing
from tests.fakes.template_changes import refusal

if TYPE_CHECKING:
    from tests.fakes.template_changes import LaunchData

OPTIONS = "MetadataOptions"
SIMPLE = {"boolean": st.booleans(), "integer": st.integers(0, 9), "string": st.sampled_from(["", "a", "b-1"])}
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "HttpTokens": st.sampled_from(["optional", "required"]),
        "HttpEndpoint": st.sampled_from(["enabled", "enabled", "disabled"]),
        "HttpPutResponseHopLimit": st.integers(1, 64),
        "HttpProtocolIpv6": st.sampled_from(["enabled", "disabled"]),
        "InstanceMetadataTags": st.sampled_from(["enabled", "disabled"]),
        "State": st.just("applied"),
    },
)
DEVICES = st.lists(
    st.fixed_dictionaries(
        {"DeviceName": st.sampled_from(["/dev/xvda", "/dev/sdb"])},
        optional={
            "NoDevice": st.just(""),
            "Ebs": st.fixed_dictionaries(
                {"VolumeSize": st.integers(1, 99)}, optional={"SnapshotId": st.sampled_from(["snap-1", "snap-2"])}
            ),
        },
    ),
    min_size=1,
    max_size=2,
)


@cache
def shape() -> StructureShape:
    """What a version may contain, by botocore's model of EC2."""
    model = botocore.session.get_session().get_service_model("ec2")
    found = model.shape_for("RequestLaunchTemplateData")
    assert isinstance(found, StructureShape)
    return found


def values(of: Shape) -> st.SearchStrategy[Any]:
    """Generate values of a shape."""
    if isinstance(of, StructureShape):
        return st.fixed_dictionaries({}, optional={name: values(each) for name, each in of.members.items()})
    if isinstance(of, ListShape):
        return st.lists(values(of.member), min_size=1, max_size=2)
    return SIMPLE.get(of.type_name, st.just("2027-01-01"))


@st.composite
def datas(draw: st.DrawFn) -> LaunchData:
    """A version with a few random fields, and often with metadata options and block devices."""
    members = shape().members
    names = draw(st.lists(st.sampled_from(sorted(members.keys() - {OPTIONS, "BlockDeviceMappings"})), max_size=3))
    data = {name: draw(values(members[name])) for name in names}
    data["ImageId"] = "ami-1"
    if draw(st.booleans()):
        data[OPTIONS] = draw(METADATA)
    if draw(st.booleans()):
        data["BlockDeviceMappings"] = draw(DEVICES)
    return data


VERSIONS = st.lists(datas(), min_size=1, max_size=3)


def a_region(data: st.DataObject) -> Fixing:
    """A region with a template of several versions; its EC2 either merges or replaces metadata options."""
    versions = data.draw(VERSIONS)
    default = data.draw(st.sampled_from([len(versions), len(versions), 1]))
    fixing = Fixing(*copy.deepcopy(versions), default=default)
    fixing.region.merges_options = data.draw(st.booleans())
    return fixing


def is_lax(data: LaunchData) -> bool:
    """True if a launch with it allows IMDSv1 when neither region nor image sets anything."""
    options = data.get(OPTIONS, {})
    return bool(options.get("HttpTokens") != "required" and options.get("HttpEndpoint") != "disabled")


def only_tokens_differ(source: LaunchData, made: LaunchData) -> bool:
    """True if a version differs from its source only in requiring tokens."""
    wanted = {**{k: v for k, v in source.get(OPTIONS, {}).items() if k != "State"}, "HttpTokens": "required"}
    shown = {k: v for k, v in made[OPTIONS].items() if k != "State"}
    return shown == wanted and {**made, OPTIONS: 0} == {**source, OPTIONS: 0}


def check_fixed(before: tuple[int, dict[int, LaunchData]], fixing: Fixing) -> None:
    """Assert that the template is as a fix must leave it, whatever happened before."""
    (default, versions), (new_default, now) = before, fixing.state
    latest = max(versions)
    if (is_lax(versions[default]) and default != latest) or not is_lax(versions[latest]):
        assert (new_default, now) == before
        return
    made = max(now)
    assert {number: each for number, each in now.items() if number != made} == versions
    assert only_tokens_differ(versions[latest], now[made])
    assert new_default == (made if default == latest else default)


@given(st.data())
def test_a_fix_changes_only_metadata_options_and_an_undo_leaves_nothing(data: st.DataObject) -> None:
    """Whatever the template contains. If the default is not the latest, nothing changes at all."""
    fixing = a_region(data)
    before = fixing.state
    fixed = fixing.fix()
    check_fixed(before, fixing)
    default, versions = before
    if is_lax(versions[default]) and default != max(versions):
        assert fixed.plan.outcome == "LEFT"
    if fixed.plan.outcome == "FIXED":
        assert fixing.undo().outcome == "UNDONE"
    assert fixing.state == before


class Killed(BaseException):
    """The process is killed."""


def kill(fixing: Fixing, at: int, *, answered: bool) -> None:
    """Kill the process at a call: before EC2 receives it, or after EC2 has carried it out (`answered`)."""
    left = iter(range(at))

    def end(_: str) -> None:
        if next(left, None) is None:
            raise Killed

    setattr(fixing.region, "after" if answered else "before", end)


def alive(fixing: Fixing) -> None:
    """Stop killing the process and failing its calls."""
    fixing.region.before = fixing.region.after = lambda _: None


@given(st.data(), st.integers(0, 12), st.booleans(), st.booleans())
def test_a_killed_fix_is_continued_or_undone(
    data: st.DataObject,
    at: int,
    answered: bool,  # noqa: FBT001  # drawn
    undone: bool,  # noqa: FBT001  # drawn
) -> None:
    """By the next fix, or by an undo, which may be killed too; whatever the call at which the process died."""
    fixing = a_region(data)
    fixing.region.warn = lambda _: ["InvalidAMIID.Malformed"]  # also about the source: the fix creates a copy of it
    before, plan = fixing.state, fixing.plan()
    if plan.outcome != "WOULD_FIX":
        return
    kill(fixing, at, answered=answered)
    with suppress(Killed):
        fixing.carry_out(plan)
    alive(fixing)
    if undone and fixing.records.fixes:
        kill(fixing, data.draw(st.integers(0, 8)), answered=data.draw(st.booleans()))
        with suppress(Killed):
            fixing.undo()
        alive(fixing)
        assert fixing.undo().outcome == "UNDONE"
        assert fixing.state == before
        return
    fixing.fix("run-2")
    check_fixed(before, fixing)
    for run_id in ("run-2", "run-1"):
        if any(each.run_id == run_id for each in fixing.records.all()):
            fixing.undo(run_id)
    assert fixing.state == before


def refuse(fixing: Fixing, at: int, *, answered: bool, lasting: bool) -> None:
    """Let EC2 fail at a call, and if `lasting` at all later ones; if `answered`, EC2 carries the call out first."""
    calls = count()

    def fail(_: str) -> None:
        number = next(calls)
        if number == at or (lasting and number > at):
            raise refusal("InternalError")

    setattr(fixing.region, "after" if answered else "before", fail)


@given(st.data(), st.integers(0, 14), st.booleans(), st.booleans())
def test_a_fix_that_fails_leaves_nothing_or_names_it(
    data: st.DataObject,
    at: int,
    answered: bool,  # noqa: FBT001  # drawn
    lasting: bool,  # noqa: FBT001  # drawn
) -> None:
    """Whichever call EC2 fails at, once or from then on; an undo finds what is left."""
    fixing = a_region(data)
    fixing.region.warn = lambda _: ["InvalidAMIID.Malformed"]
    before, plan = fixing.state, fixing.plan()
    if plan.outcome != "WOULD_FIX":
        return
    refuse(fixing, at, answered=answered, lasting=lasting)
    fixed = fixing.carry_out(plan).plan
    alive(fixing)
    if fixed.outcome == "FIXED":
        check_fixed(before, fixing)
    else:
        assert "InternalError" in fixed.reason
        named = "still exists" in fixed.reason or "it is not known whether a version was created" in fixed.reason
        assert named or fixing.state == before
    if fixing.records.fixes:
        fixing.undo()
    assert fixing.state == before


@given(st.data(), st.integers(0, 8), st.sampled_from(["version", "default"]))
def test_changes_by_others_during_a_fix_or_undo_stay(data: st.DataObject, at: int, kind: str) -> None:
    """A version that someone else creates, or a default that someone else sets, at any call of fix or undo."""
    fixing = a_region(data)
    edit = data.draw(datas())
    theirs: dict[str, int] = {}
    calls = iter(range(at))

    def meddle(_: str) -> None:
        if theirs or next(calls, None) is not None:
            return
        if kind == "version":
            theirs["version"] = fixing.edit(copy.deepcopy(edit))
        else:
            theirs["default"] = fixing.region.default_versions[TEMPLATE] = 1

    before, plan = fixing.state, fixing.plan()
    if plan.outcome != "WOULD_FIX":
        return
    fixing.region.before = meddle
    fixing.carry_out(plan)
    if fixing.records.fixes:
        fixing.undo()
    alive(fixing)
    default, versions = fixing.state
    assert {number: versions[number] for number in before[1]} == before[1]
    if "version" in theirs:
        assert versions[theirs["version"]] == edit
    ours = versions.keys() - before[1].keys() - {theirs.get("version")}
    assert not ours
    assert default in {before[0], theirs.get("default")}
