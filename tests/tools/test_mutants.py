"""The sample of mutants is stable, and only failed tests kill a mutant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import tree
from tests.mutants.configuration import FOLDERS, PACKAGE, SAMPLE, SIZE
from tests.mutants.plugin import rank
from tests.mutants.population import Mutant, draw, mutants_of
from tests.mutants.report import Outcome, Result, document, outcome_of, table, totals

LAMBDA_SRC = Path(__file__).parents[2] / "lambda_src"

ORIGINAL = ["def x_wait__mutmut_orig(s):", "    if s > 0:", "        pause(s)", "    return s > 0"]
CONDITION = ["def x_wait__mutmut_1(s):", "    if s >= 0:", "        pause(s)", "    return s > 0"]
ARGUMENT = ["def x_wait__mutmut_2(s):", "    if s > 0:", "        pause(None)", "    return s > 0"]


def some_mutants(folder: str, count: int) -> list[Mutant]:
    """Mutants that differ only in their names."""
    return [Mutant(f"{folder}.x_{n}__mutmut_1", f"{folder}.{n} 0 1", folder, "") for n in range(count)]


def wait_mutants(*variants: list[str]) -> list[Mutant]:
    """The mutants of one function, numbered as in their first lines."""
    names = [variant[0].split()[1].partition("(")[0] for variant in variants]
    texts = {"x_wait__mutmut_orig": ORIGINAL} | dict(zip(names, variants, strict=True))
    return mutants_of("limits", "package.pace", names, texts)


def test_a_sample_is_the_same_every_time_and_in_any_order() -> None:
    """So the same mutants are tested before and after a change of the tests."""
    mutants = some_mutants("limits", 50)
    sample = draw(mutants, seed=11, size=20)
    assert draw(mutants[::-1], seed=11, size=20) == sample == sorted(sample)
    assert len(set(sample)) == 20
    assert draw(mutants, seed=12, size=20) != sample


def test_a_mutant_that_goes_is_replaced_and_the_others_stay() -> None:
    """A change of the code changes as little of the sample as possible."""
    mutants = some_mutants("limits", 50)
    sample = draw(mutants, seed=11, size=20)
    after = draw([mutant for mutant in mutants if mutant.identity != sample[7]], seed=11, size=20)
    assert len(after) == 20
    assert set(sample) - set(after) == {sample[7]}


def test_a_small_folder_has_as_large_a_share_as_a_large_one() -> None:
    """So the parser with its many texts does not displace the limits."""
    sample = draw(some_mutants("limits", 10) + some_mutants("policy", 500), seed=11, size=20)
    assert sum(identity.startswith("limits.") for identity in sample) == 10
    assert len(sample) == 20


def test_a_mutant_is_identified_by_its_function_and_changed_lines() -> None:
    """The diff names the function as the source does."""
    condition, argument = wait_mutants(CONDITION, ARGUMENT)
    assert condition.name == "package.pace.x_wait__mutmut_1"
    assert condition.identity.startswith("package.pace.wait ")
    assert condition.identity != argument.identity
    assert condition.diff.splitlines() == [
        "@@ -1,4 +1,4 @@",
        " def wait(s):",
        "-    if s > 0:",
        "+    if s >= 0:",
        "         pause(s)",
        "     return s > 0",
    ]


def test_a_mutant_keeps_its_identity_when_mutmut_renumbers_it() -> None:
    """Another line of the function now has more mutants."""
    (before,) = wait_mutants(ARGUMENT)
    renumbered = [ARGUMENT[0].replace("_2", "_7"), *ARGUMENT[1:]]
    (after,) = wait_mutants(renumbered)
    assert after.identity == before.identity
    assert after.name != before.name


def test_mutants_with_the_same_lines_are_distinguished() -> None:
    """A function may have the same line twice."""
    first, second = wait_mutants(CONDITION, [CONDITION[0].replace("_1", "_2"), *CONDITION[1:]])
    assert (first.identity[-2:], second.identity[-2:]) == (" 1", " 2")


def test_a_method_is_named_with_its_class() -> None:
    """The notation is mutmut's own."""
    texts = {
        "xǁBucketǁ_take__mutmut_orig": ["    def xǁBucketǁ_take__mutmut_orig(self):", "        return 1"],
        "xǁBucketǁ_take__mutmut_1": ["    def xǁBucketǁ_take__mutmut_1(self):", "        return 2"],
    }
    (mutant,) = mutants_of("limits", "package.pace", ["xǁBucketǁ_take__mutmut_1"], texts)
    assert mutant.identity.startswith("package.pace.Bucket._take ")
    assert "     def _take(self):" in mutant.diff.splitlines()


def test_the_tests_named_after_the_mutants_module_come_first() -> None:
    """Those with many examples are the last of them, and the last of the others."""
    near, far = "tests/unit/limits/test_pace.py::test_wait", "tests/unit/decision/test_decision.py::test_limits"
    runs = [(far, True), (near, False), (far, False), (near, True)]
    mutant = "package.limits.pace.x_wait__mutmut_2"
    runs.sort(key=lambda run: rank(mutant, run[0], of_examples=run[1]))
    assert runs == [(near, False), (near, True), (far, False), (far, True)]


@pytest.mark.parametrize(
    ("exit_code", "outcome"),
    [
        (1, Outcome.KILLED),
        (0, Outcome.SURVIVED),
        (33, Outcome.UNTESTED),
        (-24, Outcome.TIMED_OUT),
        (2, Outcome.BROKEN),
        (-11, Outcome.BROKEN),
        (None, Outcome.BROKEN),
    ],
)
def test_only_failed_tests_kill(exit_code: int | None, outcome: Outcome) -> None:
    """A worker that crashed or never ran says nothing about the tests."""
    assert outcome_of(exit_code) is outcome


def test_a_time_out_counts_in_the_total_but_not_as_killed() -> None:
    """It lowers the percentage."""
    outcomes = [Outcome.KILLED, Outcome.KILLED, Outcome.SURVIVED, Outcome.TIMED_OUT]
    results = [Result(*pair) for pair in zip(some_mutants("limits", 4), outcomes, strict=True)]
    results += [Result(mutant, Outcome.KILLED) for mutant in some_mutants("policy", 1)]
    limits = {"mutants": 4, "killed": 2, "survived": 1, "untested": 0, "timed out": 1, "broken": 0, "killed %": 50.0}
    assert totals(results)["limits"] == limits
    assert totals(results)["all"]["killed %"] == 60.0
    assert table(totals(results)).splitlines()[1:] == [
        "limits           4      2        1        0         1      0       50",
        "policy           1      1        0        0         0      0      100",
        "all              5      3        1        0         1      0       60",
    ]


def test_the_report_has_the_diff_of_every_mutant_that_was_not_killed() -> None:
    """Killed mutants are only counted."""
    condition, argument = wait_mutants(CONDITION, ARGUMENT)
    results = [Result(condition, Outcome.SURVIVED), Result(argument, Outcome.KILLED)]
    written = document(results, ["package.gone 0 1"], seconds=1.4, cpu_seconds=2.6)
    assert written["not_killed"] == [
        {"outcome": "survived", "mutant": condition.identity, "diff": condition.diff.splitlines()}
    ]
    assert (written["gone"], written["seconds"], written["cpu_seconds"]) == (["package.gone 0 1"], 1, 3)


def test_a_property_can_be_mutated_and_stays_a_property() -> None:
    """Other decorated functions do not change."""
    source = '''
class Share:
    """A share."""

    @property
    def used_up(self):
        """Is it?"""
        return True

    @classmethod
    def whole(cls):
        return cls()

    @property
    def left(self):
        return 7
'''
    plain = tree.with_plain_properties(source)
    assert "@property" not in plain
    namespace: dict[str, type] = {}
    exec(plain, namespace)  # noqa: S102  # the text above
    share = namespace["Share"].whole()  # type: ignore[attr-defined]  # it is a class method of the text above
    assert (share.used_up, share.left) == (True, 7)


def test_other_decorators_stay() -> None:
    """Only a property without other decorators is supported."""
    source = "class A:\n    @cache\n    @property\n    def b(self):\n        return 1\n"
    assert tree.with_plain_properties(source) == source


def test_a_pattern_that_matches_no_module_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that moved would otherwise drop out of the measurement unnoticed."""
    monkeypatch.setattr(tree, "FOLDERS", {"limits": ("limits/*.py",)})
    with pytest.raises(FileNotFoundError, match=r"no module matches imds_enforcer/limits/\*\.py"):
        tree.mutated(tmp_path)


def test_the_stored_sample_is_sorted_within_its_size_and_only_of_mutated_modules() -> None:
    """After a move of a module, the sample must be drawn again."""
    sample = SAMPLE.read_text().splitlines()
    assert sample == sorted(set(sample))
    assert len(sample) <= SIZE <= 400
    package = LAMBDA_SRC / PACKAGE
    paths = [path for patterns in FOLDERS.values() for pattern in patterns for path in package.glob(pattern)]
    modules = tuple(".".join(path.relative_to(LAMBDA_SRC).with_suffix("").parts) + "." for path in paths)
    assert [identity for identity in sample if not identity.startswith(modules)] == []
