"""`make demo`: watch the deployed enforcer do its main job on a small fleet in two regions.

Every act changes something, waits until each instance is as it should be, and shows the fleet. If an instance
does not get there in time, the demo ends with exit code 1.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.live import Live

from infra.demo.acts import DemoError, act, console, ended_well, put_in_force
from infra.demo.fleet import HOME, OTHER, Member, allow_imdsv1, launch, look, table
from infra.local.deployment import deploy
from infra.local.waiting import until

if TYPE_CHECKING:
    from infra.local.client import LocalAws
    from infra.local.deployment import Deployment

PATIENCE_SECONDS = 60
EXEMPTION = {
    "match": {"tag": {"key": "imds", "value": "v1"}},
    "reason": "vendor appliance calls IMDSv1",
    "owner": "network team",
}
WRITE = "ec2:ModifyInstanceMetadataOptions"


def main() -> int:
    """Play every act; returns 0 only if each ended as it should."""
    return ended_well(play)


def play(aws: LocalAws) -> None:
    """The story, act by act."""
    with act(f"Deploy the real stacks with the CDK CLI: home in {HOME}, a forwarder in {OTHER}"):
        enforcer = deploy(aws, "-c", f"regions={OTHER}")
        put_in_force(enforcer, {"exemptions": [EXEMPTION]})

    with act("Launch a fleet that allows IMDSv1") as started:
        fleet = launch(aws)
        watch(enforcer, fleet, "required", started)

    with act("An operator allows IMDSv1 again by hand, on two instances") as started:
        allow_imdsv1(aws, fleet[0], fleet[-1])
        watch(enforcer, fleet, "required", started)

    for tokens in ("optional", "required"):
        with act(f"Set the toggle: /imds-enforcer/http-tokens = {tokens}") as started:
            version = enforcer.set_http_tokens(tokens)
            watch(enforcer, fleet, tokens, started)
            # Both sweeps of a change end before the next act, so that each act has one cause.
            enforcer.settle(http_tokens=version)

    with act("Audit mode: the enforcer reports drift and changes nothing"):
        put_in_force(enforcer, {"mode": "audit", "exemptions": [EXEMPTION]})
        writes = enforcer.calls()[WRITE]
        allow_imdsv1(aws, fleet[0])
        line = enforcer.wait_for_outcome(fleet[0].instance_id, "WOULD_REMEDIATE")
        console.print(f"  {line['message']}: {line['reason']}")
        report = enforcer.invoke({})
        console.print(f"  a sweep: {report['outcomes']}; write calls: {enforcer.calls()[WRITE] - writes}")
        if enforcer.calls()[WRITE] != writes:
            raise DemoError("audit mode made a write call")

    with act("Enforce again: the new policy starts a sweep, which corrects the drift") as started:
        enforcer.set_policy({"exemptions": [EXEMPTION]})
        watch(enforcer, fleet, "required", started)

    summarize(enforcer)


def watch(enforcer: Deployment, fleet: list[Member], tokens: str, started: float) -> None:
    """Show the fleet until every member is as it should be; the seconds count from `started`."""
    for member in fleet:
        member.before, member.seconds = member.now or member.before, None
    with Live(console=console, refresh_per_second=10, transient=True) as live:

        def wrong() -> list[str]:
            look(enforcer, fleet)
            for member in fleet:
                if member.seconds is None and member.is_right(tokens):
                    member.seconds = time.monotonic() - started
            live.update(table(fleet))
            return [f"{m.instance_id} ({m.name}) has {dict(m.now)}" for m in fleet if not m.is_right(tokens)]

        until(wrong, lambda found: not found, seconds=PATIENCE_SECONDS)
    console.print(table(fleet))
    enforcer.drain()


def summarize(enforcer: Deployment) -> None:
    """Print every outcome and every call; each change must have been read back."""
    outcomes = until(
        lambda: Counter(line["outcome"] for line in enforcer.log_lines() if "outcome" in line),
        lambda counted: counted["FAILED"] > 0 or counted["REMEDIATED"] == enforcer.calls()[WRITE],
        seconds=PATIENCE_SECONDS,
        every=0.5,
    )
    calls = enforcer.calls()
    console.print("\n[bold]What the enforcer logged[/]")
    console.print("  " + ", ".join(f"{count} {name}" for name, count in outcomes.most_common()))
    console.print("[bold]What it called[/]")
    for name, count in calls.most_common():
        console.print(f"  {count:>4} {name}")
    if outcomes["FAILED"]:
        raise DemoError("; ".join(line["reason"] for line in enforcer.log_lines(outcome="FAILED")))
    console.print("[bold green]Every instance is as it should be.[/]")


if __name__ == "__main__":
    sys.exit(main())
