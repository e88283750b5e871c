"""The second half of `make demo-lifecycle`: the same from the files of `make template`, without the CDK CLI."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from infra.demo import strict
from infra.demo.acts import DemoError, act, console, expect
from infra.demo.fleet import OTHER
from infra.demo.kept import Kept, stacks, stored
from infra.demo.strict import TAGS
from infra.local.deployment import HTTP_TOKENS, POLICY, STACK, STATE
from infra.local.templates import FORWARDER, Templates

if TYPE_CHECKING:
    from infra.local.client import LocalAws

CHANGE = "ec2:ModifyInstanceMetadataOptions"


def play(aws: LocalAws) -> None:
    """The story, act by act."""
    with tempfile.TemporaryDirectory() as folder:
        _play(aws, Templates(aws, Path(folder)))


def _play(aws: LocalAws, templates: Templates) -> None:
    with act(f"In the account {aws.account}: make template with the same context, and create the stacks"):
        strict.prepare(aws)
        templates.write(*strict.context(http_tokens="optional"))
        templates.deploy_state(tags=TAGS)
        enforcer = templates.deploy_home(tags=TAGS)
        templates.deploy_forwarder(OTHER)
        strict.expect_heeded(aws)
        expect((stacks(aws), stored(aws)), ({STACK, STATE}, {HTTP_TOKENS: "optional", POLICY: "{}"}))

    with act("By hand: add an exemption and a hold, then set the toggle to required"):
        kept = Kept.set_by_hand(aws, enforcer)
        expect(enforcer.calls()[CHANGE], 2)

    with act("Update home, with another schedule and another tag: what was set by hand stays"):
        templates.write(*strict.context(schedule="rate(1 hour)"))
        templates.deploy_state()
        templates.deploy_home(tags={"team": "security"})
        strict.expect_heeded(aws, home={"team": "security"})
        schedule = aws.client("scheduler").get_schedule(Name="imds-enforcer-sweep")["ScheduleExpression"]
        console.print(f"  the sweep's schedule = {schedule}")
        expect(schedule, "rate(60 minutes)")
        kept.expect_values()

    with act("Give the state stack another tag, and no parameters: refused"):
        try:
            aws.client("cloudformation").update_stack(
                StackName=STATE, UsePreviousTemplate=True, Tags=[{"Key": "team", "Value": "security"}]
            )
        except ClientError as error:
            console.print(f"  {error}", markup=False)
        else:
            raise DemoError(f"{STATE} was updated without parameters")
        kept.expect_values()

    with act("Delete home and forwarder: the enforcer is gone, its state is not"):
        templates.delete(f"{FORWARDER}-{OTHER}", OTHER)
        templates.delete(STACK)
        expect(stacks(aws), {STATE})
        kept.revert_without_enforcer()

    with act("Create home again: toggle, holds, exemptions and history are still there"):
        kept.expect_all(templates.deploy_home(tags=TAGS))
