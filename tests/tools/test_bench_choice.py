"""The choice in the environment of `make bench`, which leaves the published results alone."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import results
from tests.bench.choice import BUILD, Choice, ChoiceError, chosen
from tests.bench.marks import C7N, COLD, SYSTEMS, WARM, WARM_WITHOUT
from tests.bench.measurement import Run
from tests.bench.scenarios import Scenario

RUN = Run(seconds=1, requests={}, throttled=0, required=1, instances=1, peak_mb=80)


def test_everything_is_measured_unless_something_is_chosen() -> None:
    """Make passes an unset variable on as empty."""
    everything = Choice(frozenset(), None, results.FOLDER)
    assert chosen({}) == everything
    assert chosen({"SYSTEMS": "", "REPETITIONS": "", "RESULTS": "", "TABLE_MS": ""}) == everything


def test_systems_have_short_names() -> None:
    """No name has a space, and each names another system."""
    assert chosen({"SYSTEMS": "cold  warm-without"}).systems == {COLD, WARM_WITHOUT}
    assert len(set(SYSTEMS.values())) == len(SYSTEMS)


@pytest.mark.parametrize(("variable", "value"), [("SYSTEMS", "cold"), ("REPETITIONS", "3"), ("TABLE_MS", "50")])
def test_results_of_another_run_than_the_published_one_are_written_elsewhere(variable: str, value: str) -> None:
    """Unless RESULTS names a folder."""
    assert chosen({variable: value}).folder == BUILD
    assert chosen({variable: value, "RESULTS": "here"}).folder == Path("here")


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("SYSTEMS", "cold hot", "SYSTEMS is hot; allowed: cold, warm, deployed, .*, metabadger"),
        ("REPETITIONS", "0", "REPETITIONS is 0; allowed: a whole number from 1"),
        ("REPETITIONS", "twice", "REPETITIONS is twice; allowed: a whole number from 1"),
    ],
)
def test_a_wrong_choice_says_what_is_allowed(variable: str, value: str, problem: str) -> None:
    """Before any measurement."""
    with pytest.raises(ChoiceError, match=f"^{problem}$"):
        chosen({variable: value})


@pytest.mark.parametrize(
    ("names", "repetitions", "runs"),
    [
        ((), None, {COLD: 2, C7N: 2}),
        ({COLD, WARM}, None, {COLD: 2}),
        ({C7N}, 3, {C7N: 3}),
        ({WARM}, None, {}),
    ],
)
def test_a_scenario_runs_the_chosen_systems_as_often_as_chosen(
    names: set[str], repetitions: int | None, runs: dict[str, int]
) -> None:
    """It runs the chosen systems that it has; by default all, as often as the scenario says."""
    scenario = Scenario("", 0, lambda: nullcontext({COLD: lambda: RUN, C7N: lambda: RUN}), repetitions=2)
    lines: list[str] = []
    measured = scenario.measure(lines.append, names, repetitions)
    assert {name: len(each) for name, each in measured.items()} == runs
    assert len(lines) == sum(runs.values())


@pytest.mark.parametrize(("repetitions", "runs"), [(None, {COLD: 3, C7N: 1}), (2, {COLD: 2, C7N: 2})])
def test_a_system_without_a_close_mark_runs_once_unless_chosen_otherwise(
    repetitions: int | None, runs: dict[str, int]
) -> None:
    """All others are repeated."""
    systems = {COLD: lambda: RUN, C7N: lambda: RUN}
    scenario = Scenario("", 0, lambda: nullcontext(systems), repetitions=3, once=frozenset({C7N}))
    measured = scenario.measure(lambda _line: None, (), repetitions)
    assert {name: len(each) for name, each in measured.items()} == runs


def test_a_run_of_some_systems_shows_and_keeps_those(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """In the chosen folder; a scenario with none of the systems is not in the results."""
    some = {
        "burst": Scenario("", 0, lambda: nullcontext({COLD: lambda: RUN, C7N: lambda: RUN})),
        "storm": Scenario("", 0, lambda: nullcontext({C7N: lambda: RUN})),
    }
    monkeypatch.setattr(bench, "SCENARIOS", some)
    monkeypatch.setattr(sys, "argv", ["bench"])
    monkeypatch.setenv("SYSTEMS", "cold")
    monkeypatch.setenv("RESULTS", str(tmp_path))
    assert bench.main() == 0
    assert {name: list(each["systems"]) for name, each in results.read(tmp_path).items()} == {"burst": [COLD]}
    assert f"bound 0 s | {COLD} | 1.00 |" in capsys.readouterr().out


def test_a_wrong_choice_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no traceback."""
    monkeypatch.setattr(sys, "argv", ["bench"])
    monkeypatch.setenv("SYSTEMS", "hot")
    with pytest.raises(SystemExit):
        bench.main()
    assert "error: SYSTEMS is hot; allowed: cold" in capsys.readouterr().err
