"""The same account for hours: whatever is done in it, in whatever order, `Judge` never objects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from imds_enforcer.model import Switch
from imds_enforcer.runs.retry import MAX_RECEIVES
from tests.fakes import strategies as any_
from tests.fakes.world import SWEEPS, World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imds_enforcer.model import Instance, InstanceState
    from tests.fakes.process import Letter
    from tests.fakes.rules import Rules
    from tests.fakes.strategies import Happening
    from tests.fakes.world import Table, Weather

# Measuring coverage would double their time, and the other tests reach every line that these do.
pytestmark = pytest.mark.no_cover


class Account(RuleBasedStateMachine):
    """Operators, other programs, AWS and the enforcer, one after another and in the middle of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: list[Letter] = []
        self.posted = 0

    @initialize(rules=any_.POLICIES, fleet=any_.FLEETS)
    def open(self, rules: Rules, fleet: list[Instance]) -> None:
        """An account with some instances and a policy."""
        self.world = World(rules, fleet)

    # Operators.

    @rule(rules=any_.POLICIES)
    def put_a_policy(self, rules: Rules) -> None:
        """Valid or not."""
        self.world.put(rules)

    @rule(tokens=any_.TOKENS)
    def turn_the_toggle(self, tokens: str) -> None:
        """Required or optional."""
        self.world.turn(str(tokens))

    @rule(number=any_.NUMBERS)
    def hold(self, number: int) -> None:
        """Nobody may touch it from now on."""
        self.world.hold(number)

    @rule(number=any_.NUMBERS)
    def set_back(self, number: int) -> None:
        """It is held, and gets IMDSv1 back."""
        self.world.revert(number)

    @rule(number=any_.NUMBERS)
    def release(self, number: int) -> None:
        """Whether it was held or not."""
        self.world.release(number)

    # Other people and programs.

    @precondition(lambda self: self.world.launched < any_.FLEET)
    @rule(instance=any_.INSTANCES)
    def launch(self, instance: Instance) -> None:
        """The event of it comes when it comes."""
        self.world.launch(instance)

    @rule(number=any_.NUMBERS, options=any_.OTHER_OPTIONS)
    def change_options(self, number: int, options: Mapping[str, Any]) -> None:
        """Drift."""
        self.world.change(number, options)

    @rule(number=any_.NUMBERS)
    def switch_off(self, number: int) -> None:
        """The one option that the enforcer must leave alone."""
        self.world.change(number, {"http_endpoint": Switch.DISABLED})

    @rule(number=any_.NUMBERS, state=any_.STATES)
    def start_stop_or_terminate(self, number: int, state: InstanceState) -> None:
        """In any order that EC2 allows, and some that it does not."""
        self.world.bring(number, state)

    @rule(number=any_.NUMBERS, tags=any_.TAGS)
    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """It may be exempt by that."""
        self.world.tag(number, tags)

    @rule(number=any_.NUMBERS)
    def forget(self, number: int) -> None:
        """An hour after it was terminated, EC2 lists an instance no more."""
        self.world.forget(number)

    @rule(happenings=any_.happenings(any_.POLICIES))
    def plan(self, happenings: list[Happening]) -> None:
        """To be done in the middle of something else."""
        for happening in happenings:
            self.world.after(happening.seconds, happening)

    # AWS.

    @rule(weather=any_.WEATHERS)
    def change_the_weather(self, weather: Weather) -> None:
        """Faults, and slow answers."""
        self.world.change_weather(weather)

    @rule()
    def lose_parameter_store(self) -> None:
        """For a while."""
        self.world.cut_off()

    @rule()
    def find_parameter_store(self) -> None:
        """If it was lost."""
        self.world.reconnect()

    @rule(refuses=st.sampled_from(any_.TABLES))
    def lose_the_table(self, refuses: Table) -> None:
        """Or find it again."""
        self.world.lose_table(refuses)

    @rule(seconds=st.sampled_from([1, 9, 11, 60, 900, 43_200]))
    def wait(self, seconds: float) -> None:
        """Exemptions expire, and what is planned happens."""
        self.world.clock.advance(seconds)

    @rule(letters=st.lists(any_.LETTERS, min_size=1, max_size=3), copies=st.integers(1, 2))
    def post(self, letters: list[Letter], copies: int) -> None:
        """Events come at least once, each copy as a message of its own."""
        for letter in letters * copies:
            self.posted += 1
            self.queue.append(letter.named(f"m-{self.posted}"))

    # The enforcer.

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Any of the messages in any order, sooner or later."""
        batch = data.draw(st.lists(st.sampled_from(self.queue), min_size=1, max_size=10, unique_by=id))
        self.queue = [letter for letter in self.queue if letter not in batch]
        again = self.world.deliver(batch)
        # What has come back too often goes to the dead-letter queue.
        self.queue += [
            replace(letter, message=replace(letter.message, receives=letter.message.receives + 1))
            for letter in again
            if letter.message.receives < MAX_RECEIVES
        ]

    @rule(event=st.sampled_from(SWEEPS))
    def sweep(self, event: Mapping[str, Any]) -> None:
        """By schedule, by hand, after a change of the policy, or to count."""
        self.world.sweep(event)

    @rule()
    def calm_down(self) -> None:
        """One sweep then mends what a valid policy asks for, and the next writes nothing."""
        world = self.world
        world.calm_down()
        world.sweep_to_the_end()
        assert world.differing == []
        changes = world.judge.changes
        world.sweep()
        assert world.judge.changes == changes

    @invariant()
    def nothing_runs_any_more(self) -> None:
        """An invocation that has ended leaves nothing behind."""
        assert not any(process.busy for process in self.world.processes)


def test_an_account_over_time() -> None:
    """Launches, drift, faults, policies and events in any order, duplicated and late."""
    run_state_machine_as_test(Account)
