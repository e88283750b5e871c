"""The summary of a system's runs: medians, and the worst of values that must never occur."""

from __future__ import annotations

import pytest

from tests.bench.measurement import DESCRIBE, MODIFY, Run, bound, summary


def a_run(seconds: float, **fields: object) -> Run:
    """A run of 100 instances without faults."""
    usual: dict[str, object] = {
        "requests": {MODIFY: 100, DESCRIBE: 1},
        "throttled": 0,
        "required": 100,
        "instances": 100,
        "cpu_s": seconds / 2,
        "peak_mb": 80.0,
    }
    return Run(seconds=seconds, **(usual | fields))  # type: ignore[arg-type]  # fields of Run


@pytest.mark.parametrize(
    ("instances", "refill", "seconds"), [(50, 5, 0), (100, 5, 0), (400, 5, 60), (3000, 50, 58), (101, 5, 0.2)]
)
def test_the_bound_is_the_time_to_refill_the_missing_tokens(instances: int, refill: float, seconds: float) -> None:
    """Up to 100 changes wait for nothing."""
    assert bound(instances, refill) == pytest.approx(seconds)


def test_seconds_and_cpu_are_medians() -> None:
    """The ratio is the median's."""
    found = summary([a_run(9), a_run(1), a_run(2)], 4)
    assert (found["seconds"], found["cpu_s"], found["ratio"], found["runs_s"]) == (2, 1, 0.5, [9, 1, 2])


def test_without_a_bound_there_is_no_ratio() -> None:
    """A ratio to zero says nothing."""
    assert summary([a_run(1)], 0)["ratio"] is None


def test_memory_throttling_and_counts_are_the_worst() -> None:
    """A median would hide the worst run."""
    runs = [a_run(1, peak_mb=90.0, throttled=2, facts={"sweeps": 4}), a_run(1, facts={"sweeps": 6})]
    found = summary(runs, 4)
    assert (found["peak_mb"], found["throttled"], found["facts"]) == (90, 2, {"sweeps": 6})


def test_a_fact_in_seconds_is_the_median_and_keeps_the_slowest() -> None:
    """Like the run's own seconds."""
    found = summary([a_run(1, facts={"launch_s": each, "sweeps": 1}) for each in (9, 2, 1)], 4)
    assert (found["facts"], found["slowest"]) == ({"launch_s": 2, "sweeps": 1}, {"launch_s": 9})


def test_an_instance_that_one_run_left_is_not_forgotten() -> None:
    """The summary has the fewest instances done in any run."""
    assert summary([a_run(1, required=99), a_run(1)], 4)["required"] == 99


def test_an_action_missing_in_one_run_counts_as_zero_there() -> None:
    """Of two middle values, the summary has the higher."""
    runs = [a_run(1), a_run(1, requests={MODIFY: 102})]
    assert summary(runs, 4)["requests"] == {DESCRIBE: 1, MODIFY: 102}


def test_a_missing_measurement_stays_unknown() -> None:
    """Unknown is not zero."""
    found = summary([a_run(1, cpu_s=None, peak_mb=None)], 4)
    assert found["cpu_s"] is None
    assert found["peak_mb"] is None
