"""`make demo`: the deployed enforcer does its main job on a small fleet in two regions, before your eyes.

Every act changes something, waits until each instance is as it should be, and shows it. An instance that
does not get there in time ends the demo with exit code 1.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from infra.local.client import LocalAws
from infra.local.deployment import Deployment, deploy
from infra.local.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOME, OTHER = "eu-west-1", "us-east-1"
PATIENCE_SECONDS = 60
EXEMPTION = {
    "match": {"tag": {"key": "imds", "value": "v1"}},
    "reason": "vendor appliance calls IMDSv1",
    "owner": "network team",
}
IMDSV1 = {
    "HttpTokens": "optional",
    "HttpEndpoint": "enabled",
    "HttpPutResponseHopLimit": 1,
    "HttpProtocolIpv6": "disabled",
    "InstanceMetadataTags": "disabled",
}
WRITE = "ec2:ModifyInstanceMetadataOptions"

console = Console()
if not console.is_terminal:
    console = Console(width=100)


class DemoError(Exception):
    """Something is not as it should be."""


@dataclass
class Member:
    """One instance of the fleet: as it was launched, before the act that is on, and now."""

    name: str
    region: str
    instance_id: str
    launched: Mapping[str, Any]
    follows: bool
    before: Mapping[str, Any]
    now: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    def is_right(self, tokens: str) -> bool:
        """True if its options are those it was launched with, but for the tokens if it follows the policy."""
        wanted = {**self.launched, "State": "applied"} | ({"HttpTokens": tokens} if self.follows else {})
        return self.now == wanted


def main() -> int:
    """Play every act; 0 only if each ended as it should."""
    try:
        with LocalAws(HOME) as aws:
            play(aws)
    except (DemoError, TimeoutError, RuntimeError) as error:
        console.print(f"[bold red]Not as it should be:[/] {escape(str(error))}")
        return 1
    return 0


def play(aws: LocalAws) -> None:
    """The story, act by act."""
    with act(f"Deploy the real stacks with the CDK CLI: home in {HOME}, a forwarder in {OTHER}"):
        enforcer = deploy(aws, "-c", f"regions={OTHER}")
        put_in_force(enforcer, {"exemptions": [EXEMPTION]})

    with act("Launch a fleet that allows IMDSv1") as started:
        fleet = launch(aws)
        watch(enforcer, fleet, "required", started)

    with act("Somebody allows IMDSv1 again by hand, on two instances") as started:
        set_back(aws, fleet[0], fleet[-1])
        watch(enforcer, fleet, "required", started)

    for tokens in ("optional", "required"):
        with act(f"Turn the toggle: /imds-enforcer/http-tokens = {tokens}") as started:
            version = enforcer.set_http_tokens(tokens)
            watch(enforcer, fleet, tokens, started)
            # Both sweeps of a change end before the next act, so that each act has one cause.
            enforcer.settle(http_tokens=version)

    with act("Audit mode: drift is reported, and left as it is"):
        put_in_force(enforcer, {"mode": "audit", "exemptions": [EXEMPTION]})
        writes = enforcer.calls()[WRITE]
        set_back(aws, fleet[0])
        line = enforcer.wait_for_outcome(fleet[0].instance_id, "WOULD_REMEDIATE")
        console.print(f"  {line['message']}: {line['reason']}")
        report = enforcer.invoke({})
        console.print(f"  a sweep: {report['outcomes']}; write calls: {enforcer.calls()[WRITE] - writes}")
        if enforcer.calls()[WRITE] != writes:
            raise DemoError("audit mode made a write call")

    with act("Enforce again: the sweep that this change starts brings it back") as started:
        enforcer.set_policy({"exemptions": [EXEMPTION]})
        watch(enforcer, fleet, "required", started)

    summarize(enforcer)


def put_in_force(enforcer: Deployment, policy: Mapping[str, Any]) -> None:
    """Store a policy, and wait until nothing is decided any more by the one before: that is what settling means."""
    enforcer.settle(policy=enforcer.set_policy(policy))
    console.print(f"  policy {json.dumps(policy)}")


@contextmanager
def act(title: str) -> Iterator[float]:
    """A headline, and how long what it announces took; gives the moment it began."""
    console.print(f"\n[bold]{title}[/]")
    started = time.monotonic()
    yield started
    console.print(f"  [dim]done after {time.monotonic() - started:.1f} s[/]")


def launch(aws: LocalAws) -> list[Member]:
    """A fleet with one of everything: what must change, what must keep an option, what must not be touched."""
    fleet: list[Member] = []

    def add(name: str, region: str = HOME, *, count: int = 1, follows: bool = True, **launch: Any) -> None:
        asked = IMDSV1 | launch.pop("options", {})
        ids = aws.launch(region, count, **launch, **asked)
        fleet.extend(Member(name, region, instance_id, asked, follows, before=asked) for instance_id in ids)

    add("allows IMDSv1", count=3)
    add("allows IMDSv1, 3 hops", options={"HttpPutResponseHopLimit": 3})
    add("exempt by tag imds=v1", tags={"imds": "v1"}, follows=False)
    add("metadata service off", options={"HttpEndpoint": "disabled"}, follows=False)
    add("allows IMDSv1", OTHER, count=2)
    return fleet


def set_back(aws: LocalAws, *members: Member) -> None:
    """Allow IMDSv1 again, as somebody with the console open would."""
    for member in members:
        member.now = {**member.now, "HttpTokens": "optional"}
        aws.client("ec2", member.region).modify_instance_metadata_options(
            InstanceId=member.instance_id, HttpTokens="optional", HttpEndpoint="enabled"
        )


def watch(enforcer: Deployment, fleet: list[Member], tokens: str, started: float) -> None:
    """Show the fleet until every member is right; the seconds count from `started`."""
    for member in fleet:
        member.before, member.seconds = member.now or member.before, None
    with Live(console=console, refresh_per_second=10, transient=True) as live:
        while True:
            look(enforcer, fleet)
            elapsed = time.monotonic() - started
            for member in fleet:
                if member.seconds is None and member.is_right(tokens):
                    member.seconds = elapsed
            live.update(table(fleet))
            wrong = [member for member in fleet if not member.is_right(tokens)]
            if not wrong:
                break
            if elapsed > PATIENCE_SECONDS:
                raise DemoError("; ".join(f"{m.instance_id} ({m.name}) has {dict(m.now)}" for m in wrong))
            time.sleep(0.05)  # between two looks at the condition, so as not to keep a core busy
    console.print(table(fleet))
    enforcer.drain()


def look(enforcer: Deployment, fleet: list[Member]) -> None:
    """Read every member's options, one request a region."""
    for region in {member.region for member in fleet}:
        members = {member.instance_id: member for member in fleet if member.region == region}
        for instance_id, options in enforcer.options(members, region).items():
            members[instance_id].now = options


def table(fleet: list[Member]) -> Table:
    """The fleet as it was and as it is."""
    table = Table("instance", "region", "what it is", "before → after", "hops", "applied after", box=None)
    for member in fleet:
        if member.seconds is None:
            done = "…"
        elif shown(member.now) == shown(member.before):
            done = "[dim]left alone[/]"
        else:
            done = f"[green]{member.seconds:.1f} s[/]"
        table.add_row(
            member.instance_id,
            member.region,
            member.name,
            f"{shown(member.before)} → {shown(member.now)}",
            str(member.now.get("HttpPutResponseHopLimit", "")),
            done,
        )
    return table


def shown(options: Mapping[str, Any]) -> str:
    """HttpTokens, coloured as to how safe it is; `off` where there is no metadata service."""
    if options.get("HttpEndpoint") == "disabled":
        return "off"
    tokens = options.get("HttpTokens", "?")
    return f"[{'green' if tokens == 'required' else 'yellow'}]{tokens}[/]"


def summarize(enforcer: Deployment) -> None:
    """Every outcome, and every call that it took; each change must have been read back."""
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
