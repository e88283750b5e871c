"""What holds for every fleet, every policy and every order of events and faults.

`Judge` checks each change and each outcome of these runs against the policy in force and against what EC2 had shown.
No change is of an instance that is exempt, managed or off, or that a hold, the gate or the rollout keeps back; none
goes beyond the policy, none is made in audit mode, and each is in the ledger first. Each instance has one outcome, and
no success is without proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imds_enforcer.model import Outcome
from tests.fakes import strategies as any_
from tests.fakes.examples import an_instance
from tests.fakes.rules import Rules, refused_options, smaller
from tests.fakes.world import SWEEPS, Weather, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imds_enforcer.model import Instance
    from tests.fakes.process import Letter
    from tests.fakes.strategies import Happening

# Measuring coverage would double their time, and the other tests reach every line that these do.
pytestmark = pytest.mark.no_cover

INVOCATIONS = st.sampled_from(SWEEPS) | any_.BATCHES
SLOW = st.builds(Weather, visible_after=st.integers(0, 15), applied_after=st.integers(0, 15))
"""EC2 on a good day: slow to show a change, but without faults."""


def _world(fleet: Sequence[Instance], rules: Rules, weather: Weather, happenings: Sequence[Happening] = ()) -> World:
    world = World(rules, fleet)
    world.change_weather(weather)
    for happening in happenings:
        world.after(happening.seconds, happening)
    return world


def _invoke(world: World, invocation: Mapping[str, object] | Sequence[Letter]) -> None:
    if isinstance(invocation, Mapping):
        world.sweep(invocation)
    else:
        world.deliver(invocation)


@given(any_.FLEETS, any_.POLICIES, any_.WEATHERS, any_.happenings(any_.POLICIES), INVOCATIONS)
def test_a_run_keeps_the_rules_whatever_happens_in_the_middle_of_it(
    fleet: list[Instance],
    rules: Rules,
    weather: Weather,
    happenings: list[Happening],
    invocation: Mapping[str, object] | Sequence[Letter],
) -> None:
    """Other people's changes, another policy, another run, faults of EC2 and of Parameter Store."""
    world = _world(fleet, rules, weather, happenings)
    _invoke(world, invocation)


@given(
    any_.FLEETS, any_.ENFORCING, any_.WEATHERS, st.lists(any_.HANDS | any_.HOLDS | any_.RUNS, max_size=4), INVOCATIONS
)
def test_after_any_trouble_one_sweep_fixes_everything_and_the_next_run_writes_nothing(
    fleet: list[Instance],
    rules: Rules,
    weather: Weather,
    happenings: list[Happening],
    invocation: Mapping[str, object] | Sequence[Letter],
) -> None:
    """The sweep is the guarantee; and no run touches an instance that follows the policy."""
    world = _world(fleet, rules, weather, happenings)
    _invoke(world, invocation)
    world.calm_down()
    world.sweep_to_the_end()
    assert world.differing == []
    assert world.differing_defaults == []
    changes = world.judge.changes, world.judge.defaults_changes
    _invoke(world, invocation)
    world.sweep({"inventory": True})
    assert (world.judge.changes, world.judge.defaults_changes) == changes


@given(any_.WEATHERS, st.lists(any_.HOLDS, min_size=3, max_size=8), INVOCATIONS)
def test_an_instance_held_during_a_run_is_left_alone_from_the_next_look_on(
    weather: Weather, happenings: list[Happening], invocation: Mapping[str, object] | Sequence[Letter]
) -> None:
    """And if it is reverted after it was held, the revert never counts as drift.

    Every instance needs a change and EC2 is slow, so that there is time to hold one during the run.
    """
    fleet = [an_instance()] * any_.FLEET
    world = _world(fleet, Rules(), replace(weather, read_seconds=2, blind=False, table=""), happenings)
    _invoke(world, invocation)


@given(any_.FLEETS, any_.ENFORCING, SLOW, st.sampled_from(SWEEPS))
def test_without_faults_one_sweep_is_enough(
    fleet: list[Instance], rules: Rules, weather: Weather, sweep: Mapping[str, object]
) -> None:
    """Every instance has a final outcome, and a second sweep writes nothing, however slow EC2 is to show a change.

    An instance that cannot have an option gets a second change, which requires tokens. If EC2 refused two options at
    once, the next sweep tries the one that EC2 did not mean.
    """
    world = _world(fleet, rules, weather)
    first = world.sweep(sweep)
    assert first is not None
    outcomes = {result.outcome for result in first.results.values() if result.before}
    assert not outcomes & {Outcome.DEFERRED, Outcome.FAILED, Outcome.GONE}
    assert world.without_tokens_or_hops == []
    refusals = Counter(world.judge.refusals)
    assert world.judge.changes <= len(fleet) + refusals.total()
    assert not refusals or max(refusals.values()) == 1
    if world.judge.refused_at_once:
        world.sweep(sweep)
    changes = world.judge.changes
    world.sweep(sweep)
    assert world.judge.changes == changes
    assert world.differing == []


@given(
    any_.FLEETS,
    any_.AUDITING | any_.INVALID,
    any_.WEATHERS,
    any_.happenings(any_.AUDITING | any_.INVALID, st.just("none")),
    st.lists(INVOCATIONS, min_size=1, max_size=3),
)
def test_in_audit_mode_or_under_an_invalid_policy_nothing_is_written(
    fleet: list[Instance],
    rules: Rules,
    weather: Weather,
    happenings: list[Happening],
    invocations: list[Mapping[str, object] | Sequence[Letter]],
) -> None:
    """Not even if another policy of that kind follows."""
    world = _world(fleet, rules, weather, happenings)
    for invocation in invocations:
        _invoke(world, invocation)
    assert world.judge.changes == 0


@given(any_.FLEETS, any_.ENFORCING, any_.WEATHERS, st.lists(INVOCATIONS, min_size=1, max_size=3))
def test_what_the_policy_does_not_ask_for_stays_as_it_is(
    fleet: list[Instance],
    rules: Rules,
    weather: Weather,
    invocations: list[Mapping[str, object] | Sequence[Letter]],
) -> None:
    """In the end every instance has its earlier options, except for those that the policy names."""
    world = _world(fleet, rules, weather)
    before = {instance.instance_id: instance for instance in world.fleet}
    allowed = {i: rules.change_for(instance, world.clock.now()) for i, instance in before.items()}
    for invocation in invocations:
        _invoke(world, invocation)
    for instance in world.fleet:
        old, change = before[instance.instance_id].options, allowed[instance.instance_id]
        changes = [change, *(smaller(change) if refused_options(instance, change) else ())] if change else []
        assert instance.options == old or (old and instance.options in [each.applied_to(old) for each in changes])
