"""The marks judge the measurements, and no mark is met without a measurement."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.marks import (
    BARE,
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
    """A system that changed every instance."""
    usual = {
        "seconds": seconds,
        "cpu_s": seconds,
        "peak_mb": 80,
        "requests": {MODIFY: 100, DESCRIBE: 1},
        "throttled": 0,
        "required": 100,
        "instances": 100,
        "facts": {},
        "slowest": {},
    }
    return usual | fields


def missed(scenario: str, systems: dict[str, Any], bound_s: float = 10) -> set[str]:
    """The names of the missed marks. By default the enforcer takes the same time without safeguards."""
    pairs = ((COLD, COLD_WITHOUT), (WARM, WARM_WITHOUT))
    without = {other: a_system(systems[one]["seconds"]) for one, other in pairs if one in systems}
    return {mark.name for mark in marks_of(scenario, without | systems, bound_s) if not mark.met}


@pytest.mark.parametrize(("figure", "met"), [(None, False), (1.5, True), (1.51, False), (0, True)])
def test_the_limit_itself_is_within(figure: float | None, met: bool) -> None:  # noqa: FBT001  # a table's column
    """A missing figure is not within any limit."""
    assert Mark("seconds", figure, at_most=1.5).met is met


def test_a_mark_has_its_figure_and_finite_limits_in_json() -> None:
    """JSON has no infinity."""
    shown = Mark("times", 2.00049, at_least=2.5).as_json()
    assert shown == {"mark": "times", "figure": 2.0, "at_least": 2.5, "met": False}


def test_a_mark_without_a_limit_is_met_by_any_figure() -> None:
    """A missing figure does not meet it."""
    assert Mark("CPU", 99).met
    assert not Mark("CPU", None).met
    assert Mark("CPU", 99).as_json() == {"mark": "CPU", "figure": 99, "met": True}


@pytest.mark.parametrize("scenario", SPECIFIC)
def test_a_missing_measurement_meets_no_mark(scenario: str) -> None:
    """An interrupted scenario meets none of its own marks."""
    marks = marks_of(scenario, {}, 10)
    assert marks
    assert not any(mark.met for mark in marks)


def test_a_burst_that_meets_every_mark() -> None:
    """No mark is missed."""
    assert not missed("burst", {COLD: a_system(2), WARM: a_system(1), C7N: a_system(8)})


def test_a_burst_that_is_less_than_four_times_as_fast_as_the_peer() -> None:
    """Its seconds are within their own limit."""
    assert missed("burst", {COLD: a_system(2), WARM: a_system(1), C7N: a_system(7)}) == {"times as fast as c7n, cold"}


@pytest.mark.parametrize("scenario", ["burst", "sustained", "regions"])
def test_safeguards_may_take_15_percent_more(scenario: str) -> None:
    """Cold and warm are judged separately; CPU is shown, but not judged."""
    systems = {
        COLD: a_system(1.16, requests={DESCRIBE: 1}),
        COLD_WITHOUT: a_system(1),
        WARM: a_system(0.115, cpu_s=9, requests={DESCRIBE: 1}),
        WARM_WITHOUT: a_system(0.1, cpu_s=0.1),
        **{each: a_system(200) for each in (C7N, C7N_ORG_WIDE, BARE)},
    }
    assert missed(scenario, systems) == {"seconds ÷ without safeguards, cold"}


def test_an_instance_left_and_too_much_memory_are_missed_in_every_scenario() -> None:
    """Only the enforcer is judged; the table shows what a peer leaves."""
    systems = {COLD: a_system(2, required=99), WARM: a_system(1, peak_mb=151), C7N: a_system(8, required=1)}
    assert missed("burst", systems) == {f"instances left: {COLD}", f"peak MB: {WARM}"}


def test_boto3_alone_is_not_judged() -> None:
    """It reads nothing back, so EC2 may not have applied its last changes when it ends."""
    systems = {COLD: a_system(2), WARM: a_system(1), C7N: a_system(8), BARE: a_system(1, required=99, peak_mb=151)}
    assert missed("burst", systems) == set()


def test_a_sustained_sweep_takes_little_longer_than_the_bound_and_is_never_throttled() -> None:
    """A cold sweep may take a twentieth longer, a warm one less. A single throttled request is too many."""
    met = {COLD: a_system(10.5), WARM: a_system(10.4), C7N: a_system(10.3)}
    assert not missed("sustained", met)
    slow = {COLD: a_system(10.51), WARM: a_system(10.41, throttled=1), C7N: a_system(10.31)}
    assert missed("sustained", slow) == {
        "times the bound, cold",
        "times the bound, warm",
        f"requests throttled: {WARM}",
    }


def test_a_sustained_sweep_is_no_slower_than_the_peer() -> None:
    """The limit allows for noise."""
    systems = {COLD: a_system(10.3), WARM: a_system(10), C7N: a_system(10)}
    assert missed("sustained", systems) == {"seconds ÷ c7n, cold"}


def test_regions_are_compared_with_the_changes_alone_and_with_the_peer_at_its_fastest() -> None:
    """The peer with its default number of processes does not count."""
    met = {COLD: a_system(11, cpu_s=4), WARM: a_system(11), BARE: a_system(10, cpu_s=2), C7N_ORG_WIDE: a_system(11)}
    assert not missed("regions", met)
    slow = met | {COLD: a_system(11.3, cpu_s=4.1), C7N_ORG: a_system(5)}
    assert missed("regions", slow) == {
        f"seconds ÷ {BARE}, cold",
        f"CPU ÷ {BARE}, cold",
        f"seconds ÷ {C7N_ORG_WIDE}, cold",
    }


def test_cpu_is_shown_for_each_change() -> None:
    """The CPU of the whole process, in milliseconds, without a limit."""
    systems = {COLD: a_system(11, cpu_s=0.5), BARE: a_system(10, cpu_s=0.25, required=0)}
    shown = {mark.name: (mark.figure, mark.met) for mark in marks_of("regions", systems, 10)}
    assert shown[f"CPU ms a change: {COLD}"] == (5, True)
    assert shown[f"CPU ms a change: {BARE}"] == (None, False)


def test_a_launch_during_a_sweep_is_judged_by_its_median() -> None:
    """The slowest is shown, but not judged."""
    one = a_system(110, facts={"launch_s": 2.5}, slowest={"launch_s": 9})
    assert not missed("mixed", {DEPLOYED: one})
    late = a_system(110, facts={"launch_s": 2.51}, slowest={"launch_s": 2.51})
    assert missed("mixed", {DEPLOYED: late}) == {"seconds until the launch is applied"}


def test_safeguards_may_take_a_tenth_of_a_second_more_of_a_quiet_sweep() -> None:
    """CPU is shown, but not judged."""
    reads = {DESCRIBE: 1}
    systems = {
        COLD: a_system(0.71, requests=reads),
        COLD_WITHOUT: a_system(0.6),
        WARM: a_system(0.19, cpu_s=9, requests=reads),
        WARM_WITHOUT: a_system(0.1, cpu_s=0.1),
        C7N: a_system(200, cpu_s=2000),
    }
    assert missed("quiet", systems) == {"seconds more than without safeguards, cold"}


def test_a_quiet_fleet_is_read_once() -> None:
    """One request is the limit."""
    systems = {COLD: a_system(1, requests={DESCRIBE: 2}), WARM: a_system(0.1), C7N: a_system(3)}
    assert missed("quiet", systems) == {f"DescribeInstances: {COLD}"}


def test_a_baseline_must_leave_no_instance() -> None:
    """A baseline that leaves instances is fast for the wrong reason."""
    systems = {COLD: a_system(2), WARM: a_system(1), C7N: a_system(8), WARM_WITHOUT: a_system(1, required=50)}
    assert missed("burst", systems) == {f"instances left: {WARM_WITHOUT}"}


def test_a_storm_may_take_one_look_for_a_hundred_events() -> None:
    """Five looks for 500, not six."""
    systems = {DEPLOYED: a_system(11, required=500, instances=500, facts={"first_looks": 6})}
    assert missed("storm", systems) == {"DescribeInstances before a batch's first change"}


def test_a_long_run_changes_everything_once() -> None:
    """If there are more changes than instances, an instance was changed twice."""
    facts = {"sweeps": 6, "changed": 3001}
    systems = {WARM: a_system(60, required=3000, instances=3000, facts=facts)}
    assert missed("long", systems, 58) == {"changed twice"}


def test_memory_is_the_same_for_ten_times_the_candidates() -> None:
    """It may differ by a tenth."""
    few, many = a_system(1, peak_mb=100), a_system(1, peak_mb=111)
    systems = {"audit, 5,000": few, "audit, 50,000": few, "enforce, 5,000": few, "enforce, 50,000": many}
    assert missed("memory", systems) == {"memory for 50,000 against 5,000: enforce"}
