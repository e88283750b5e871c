"""`make demo-lifecycle`: what operators set by hand outlives every deployment, and its removal.

The demo deploys the enforcer as a strict account requires, changes settings by hand, deploys again, destroys, and
deploys once more: toggle, holds, exemptions and history are still there. Then it does the same in a second account,
from plain CloudFormation. Anything that is not as it should be ends the demo with exit code 1.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from infra.demo import plain, strict
from infra.demo.acts import act, console, ended_well, expect
from infra.demo.kept import Kept, stacks, stored
from infra.demo.strict import TOOLKIT
from infra.local.deployment import HTTP_TOKENS, POLICY, STACK, STATE, command, deploy

if TYPE_CHECKING:
    from infra.local.client import LocalAws

SECOND_ACCOUNT = "123456789012"
QUALIFIER = "strict"
OTHER_TAGS = {"team": "security"}


def main() -> int:
    """Play every act; returns 0 only if each ended as it should."""
    return ended_well(play_both)


def play_both(aws: LocalAws) -> None:
    """Each half in an account of its own."""
    play(aws)
    plain.play(aws.in_account(SECOND_ACCOUNT))
    console.print("\n[bold green]Everything is as it should be.[/]")


def play(aws: LocalAws) -> None:
    """The story, act by act."""
    with act("Deploy with the account's own bootstrap, tags, boundary and role name, and with http_tokens=optional"):
        strict.prepare(aws)
        enforcer = deploy(aws, *strict.context(qualifier=QUALIFIER, http_tokens="optional"))
        strict.expect_heeded(aws)
        expect((stacks(aws), stored(aws)), ({TOOLKIT, STACK, STATE}, {HTTP_TOKENS: "optional", POLICY: "{}"}))

    with act("By hand: add an exemption and a hold, then set the toggle to required"):
        kept = Kept.set_by_hand(aws, enforcer)

    with act("Deploy again, with -c mode=audit: refused, as it would have no effect"):
        refusal = command(aws, "deploy", *strict.context(qualifier=QUALIFIER, mode="audit"))
        console.print(f"  {refusal.stderr.strip()}", markup=False)
        expect(refusal.returncode, 1)

    with act("Deploy again, with other tags: what was set by hand stays, and so do the tags of its stack"):
        deploy(aws, *strict.context(qualifier=QUALIFIER, tags=OTHER_TAGS))
        strict.expect_heeded(aws, home=OTHER_TAGS)
        kept.expect_values()

    with act("make destroy: the enforcer is gone, its state is not"):
        done = command(aws, "destroy", *strict.context(qualifier=QUALIFIER))
        console.print(f"  {done.stdout.splitlines()[-1]}", markup=False)
        expect((done.returncode, stacks(aws)), (0, {TOOLKIT, STATE}))
        kept.revert_without_enforcer()

    with act("Deploy once more: toggle, holds, exemptions and history are still there"):
        kept.expect_all(deploy(aws, *strict.context(qualifier=QUALIFIER)))

    with act("make destroy, make destroy-state CONFIRM=ImdsEnforcerState: nothing is left"):
        same = strict.context(qualifier=QUALIFIER)
        expect(command(aws, "destroy", *same).returncode, 0)
        expect(command(aws, "destroy-state", *same).returncode, 1)
        done = command(aws, "destroy-state", *same, confirm=STATE)
        console.print(f"  {done.stdout.strip()}", markup=False)
        expect((done.returncode, stacks(aws), stored(aws)), (0, {TOOLKIT}, {}))


if __name__ == "__main__":
    sys.exit(main())
