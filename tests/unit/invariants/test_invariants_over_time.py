"""One account over hours: whatever happens in it, in whatever order, `Judge` never objects."""

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
    """Operators, other programs, AWS and the enforcer, one after another and in the middle of each other's work."""

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
        """Store a policy, valid or not."""
        self.world.put(rules)

    @rule(tokens=any_.TOKENS)
    def turn_the_toggle(self, tokens: str) -> None:
        """Set the toggle to required or optional."""
        self.world.turn(str(tokens))

    @rule(number=any_.NUMBERS)
    def hold(self, number: int) -> None:
        """Hold an instance: the enforcer must leave it alone from now on."""
        self.world.hold(number)

    @rule(number=any_.NUMBERS)
    def set_back(self, number: int) -> None:
        """Hold an instance and give it IMDSv1 back."""
        self.world.revert(number)

    @rule(number=any_.NUMBERS)
    def release(self, number: int) -> None:
        """Release an instance, whether it was held or not."""
        self.world.release(number)

    # Other people and programs.

    @precondition(lambda self: self.world.launched < any_.FLEET)
    @rule(instance=any_.INSTANCES)
    def launch(self, instance: Instance) -> None:
        """Launch an instance; its event may come at any time."""
        self.world.launch(instance)

    @rule(number=any_.NUMBERS, options=any_.OTHER_OPTIONS)
    def change_options(self, number: int, options: Mapping[str, Any]) -> None:
        """Cause drift."""
        self.world.change(number, options)

    @rule(number=any_.NUMBERS)
    def switch_off(self, number: int) -> None:
        """Switch the metadata service off, which the enforcer must leave alone."""
        self.world.change(number, {"http_endpoint": Switch.DISABLED})

    @rule(number=any_.NUMBERS, state=any_.STATES)
    def start_stop_or_terminate(self, number: int, state: InstanceState) -> None:
        """Change the state, in any order that EC2 allows, and in some that it does not."""
        self.world.bring(number, state)

    @rule(number=any_.NUMBERS, tags=any_.TAGS)
    def tag(self, number: int, tags: Mapping[str, str]) -> None:
        """Tag an instance, which may exempt it."""
        self.world.tag(number, tags)

    @rule(number=any_.NUMBERS)
    def forget(self, number: int) -> None:
        """EC2 stops listing an instance an hour after its termination."""
        self.world.forget(number)

    @rule(happenings=any_.happenings(any_.POLICIES))
    def plan(self, happenings: list[Happening]) -> None:
        """Plan actions for the middle of something else."""
        for happening in happenings:
            self.world.after(happening.seconds, happening)

    # AWS.

    @rule(weather=any_.WEATHERS)
    def change_the_weather(self, weather: Weather) -> None:
        """Change EC2's faults and delays."""
        self.world.change_weather(weather)

    @rule()
    def lose_parameter_store(self) -> None:
        """Make Parameter Store unavailable for a while."""
        self.world.cut_off()

    @rule()
    def find_parameter_store(self) -> None:
        """Make Parameter Store available again, if it was lost."""
        self.world.reconnect()

    @rule(refuses=st.sampled_from(any_.TABLES))
    def lose_the_table(self, refuses: Table) -> None:
        """Make the table refuse requests, or accept them again."""
        self.world.lose_table(refuses)

    @rule(seconds=st.sampled_from([1, 9, 11, 60, 900, 43_200]))
    def wait(self, seconds: float) -> None:
        """Let time pass: exemptions expire, and planned actions happen."""
        self.world.clock.advance(seconds)

    @rule(letters=st.lists(any_.LETTERS, min_size=1, max_size=3), copies=st.integers(1, 2))
    def post(self, letters: list[Letter], copies: int) -> None:
        """Post events: each comes at least once, every copy as a message of its own."""
        for letter in letters * copies:
            self.posted += 1
            self.queue.append(letter.named(f"m-{self.posted}"))

    # The enforcer.

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Deliver any of the messages, in any order, sooner or later."""
        batch = data.draw(st.lists(st.sampled_from(self.queue), min_size=1, max_size=10, unique_by=id))
        self.queue = [letter for letter in self.queue if letter not in batch]
        again = self.world.deliver(batch)
        # A message that has come back too often goes to the dead-letter queue.
        self.queue += [
            replace(letter, message=replace(letter.message, receives=letter.message.receives + 1))
            for letter in again
            if letter.message.receives < MAX_RECEIVES
        ]

    @rule(event=st.sampled_from(SWEEPS))
    def sweep(self, event: Mapping[str, Any]) -> None:
        """Sweep by schedule, by hand, after a policy change, or for the inventory."""
        self.world.sweep(event)

    @rule()
    def calm_down(self) -> None:
        """End all faults: one sweep then fixes what a valid policy names, and the next writes nothing."""
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
