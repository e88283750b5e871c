"""The marks hold what the measurements say, and nothing holds that was not measured."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.marks import (
    C7N,
    C7N_ORG,
    C7N_ORG_WIDE,
    COLD,
    COLD_WITHOUT,
    DEPLOYED,
    SPECIFIC,
    WARM,
    WARM_WITHOUT,
    Mark,
    marks_of,
)
from tests.bench.measurement import DESCRIBE, MODIFY


def a_system(seconds: float, **fields: Any) -> dict[str, Any]:
    """A system that did all there was to do."""
    usual = {
        "seconds": seconds,
        "cpu_s": seconds,
        "peak_mb": 80,
        "requests": {MODIFY: 100, DESCRIBE: 1},
        "throttled": 0,
        "required": 100,
        "instances": 100,
        "facts": {},
    }
    return usual | fields


def missed(scenario: str, systems: dict[str, Any], bound_s: float = 10) -> set[str]:
    """The names of the marks that do not hold. Without safeguards it took as long, unless the systems say otherwise."""
    pairs = ((COLD, COLD_WITHOUT), (WARM, WARM_WITHOUT))
    without = {other: a_system(systems[one]["seconds"]) for one, other in pairs if one in systems}
    return {mark.name for mark in marks_of(scenario, without | systems, bound_s) if not mark.met}


@pytest.mark.parametrize(("figure", "met"), [(None, False), (1.5, True), (1.51, False), (0, True)])
def test_the_limit_itself_is_within(figure: float | None, met: bool) -> None:  # noqa: FBT001  # a table's column
    """No figure is not within."""
    assert Mark("seconds", figure, at_most=1.5).met is met


def test_a_mark_tells_its_figure_and_its_limits_and_no_infinity() -> None:
    """JSON knows no infinity."""
    told = Mark("times", 2.00049, at_least=2.5).as_json()
    assert told == {"mark": "times", "figure": 2.0, "at_least": 2.5, "met": False}


def test_a_figure_without_a_limit_is_for_information() -> None:
    """Unless it was not measured."""
    assert Mark("CPU", 99).met
    assert not Mark("CPU", None).met
    assert Mark("CPU", 99).as_json() == {"mark": "CPU", "figure": 99, "met": True}


@pytest.mark.parametrize("scenario", SPECIFIC)
def test_what_was_not_measured_is_not_met(scenario: str) -> None:
    """A scenario that broke off holds none of its own marks."""
    marks = marks_of(scenario, {}, 10)
    assert marks
    assert not any(mark.met for mark in marks)


def test_a_burst_that_meets_everything() -> None:
    """Nothing missed, nothing told."""
    assert not missed("burst", {COLD: a_system(2), WARM: a_system(1), C7N: a_system(8)})


def test_a_burst_too_slow_for_the_peer() -> None:
    """Within its seconds, and not four times as fast."""
    assert missed("burst", {COLD: a_system(2), WARM: a_system(1), C7N: a_system(7)}) == {"times as fast as c7n, cold"}


@pytest.mark.parametrize("scenario", ["burst", "sustained", "regions", "quiet"])
def test_safeguards_may_take_15_percent_more(scenario: str) -> None:
    """Cold and warm each for themselves; more CPU is told, and held against nothing."""
    systems = {
        COLD: a_system(1.16, requests={DESCRIBE: 1}),
        COLD_WITHOUT: a_system(1),
        WARM: a_system(0.115, cpu_s=9, requests={DESCRIBE: 1}),
        WARM_WITHOUT: a_system(0.1, cpu_s=0.1),
        C7N: a_system(200),
        C7N_ORG: a_system(200),
    }
    assert missed(scenario, systems) == {"seconds ÷ without safeguards, cold"}


def test_an_instance_left_and_too_much_memory_are_missed_in_every_scenario() -> None:
    """Of the enforcer; what a peer leaves is shown in the table."""
    systems = {COLD: a_system(2, required=99), WARM: a_system(1, peak_mb=151), C7N: a_system(8, required=1)}
    assert missed("burst", systems) == {f"instances left: {COLD}", f"peak MB: {WARM}"}


def test_throttled_requests_are_a_share_of_all() -> None:
    """One of 101 is within a hundredth, two are not."""
    systems = {COLD: a_system(11, throttled=2), WARM: a_system(11, throttled=1)}
    assert missed("sustained", systems) == {f"share of requests throttled: {COLD}"}


def test_regions_are_compared_with_the_peer_as_it_comes() -> None:
    """How fast it is with as many processes as regions stands in the table beside it."""
    systems = {COLD: a_system(11), WARM: a_system(11), C7N_ORG: a_system(27), C7N_ORG_WIDE: a_system(20)}
    assert missed("regions", systems) == {f"times as fast as {C7N_ORG}, cold"}


def test_a_quiet_fleet_is_read_once() -> None:
    """One request and no more."""
    systems = {COLD: a_system(1, requests={DESCRIBE: 2}), WARM: a_system(0.1), C7N: a_system(3)}
    assert missed("quiet", systems) == {f"DescribeInstances: {COLD}"}


def test_a_baseline_that_leaves_instances_is_none() -> None:
    """It would be quick for the wrong reason."""
    systems = {COLD: a_system(2), WARM: a_system(1), C7N: a_system(8), WARM_WITHOUT: a_system(1, required=50)}
    assert missed("burst", systems) == {f"instances left: {WARM_WITHOUT}"}


def test_a_storm_may_look_once_for_a_hundred_events() -> None:
    """Five looks for 500, not six."""
    systems = {DEPLOYED: a_system(11, required=500, instances=500, facts={"first_looks": 6})}
    assert missed("storm", systems) == {"DescribeInstances before a batch's first change"}


def test_a_long_run_changes_everything_once() -> None:
    """One change too many is one instance changed twice."""
    facts = {"sweeps": 6, "changed": 3001}
    systems = {WARM: a_system(60, required=3000, instances=3000, facts=facts)}
    assert missed("long", systems, 58) == {"changed twice"}


def test_memory_is_the_same_for_ten_times_the_candidates() -> None:
    """Within a tenth."""
    few, many = a_system(1, peak_mb=100), a_system(1, peak_mb=111)
    systems = {"audit, 5,000": few, "audit, 50,000": few, "enforce, 5,000": few, "enforce, 50,000": many}
    assert missed("memory", systems) == {"memory for 50,000 against 5,000: enforce"}
