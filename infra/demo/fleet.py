"""The demo's fleet: instances of every kind, their options now and before, and the table that shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.local.client import LocalAws
    from infra.local.deployment import Deployment

HOME, OTHER = "eu-west-1", "us-east-1"
IMDSV1 = {
    "HttpTokens": "optional",
    "HttpEndpoint": "enabled",
    "HttpPutResponseHopLimit": 1,
    "HttpProtocolIpv6": "disabled",
    "InstanceMetadataTags": "disabled",
}


@dataclass
class Member:
    """One instance of the fleet, with its options at launch, before the current act, and now."""

    name: str
    region: str
    instance_id: str
    launched: Mapping[str, Any]
    follows: bool
    before: Mapping[str, Any]
    now: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    def is_right(self, tokens: str) -> bool:
        """Whether it has the options it was launched with, except for the tokens if it follows the policy."""
        wanted = {**self.launched, "State": "applied"} | ({"HttpTokens": tokens} if self.follows else {})
        return self.now == wanted


def launch(aws: LocalAws) -> list[Member]:
    """Launch instances that must change, that must keep an option, and that must not be touched."""
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


def allow_imdsv1(aws: LocalAws, *members: Member) -> None:
    """Allow IMDSv1 again, as an operator in the console would."""
    for member in members:
        member.now = {**member.now, "HttpTokens": "optional"}
        aws.client("ec2", member.region).modify_instance_metadata_options(
            InstanceId=member.instance_id, HttpTokens="optional", HttpEndpoint="enabled"
        )


def look(enforcer: Deployment, fleet: list[Member]) -> None:
    """Read every member's options, one request a region."""
    for region in {member.region for member in fleet}:
        members = {member.instance_id: member for member in fleet if member.region == region}
        for instance_id, options in enforcer.options(members, region).items():
            members[instance_id].now = options


def table(fleet: list[Member]) -> Table:
    """The fleet as it was before the act and as it is now."""
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
    """HttpTokens, coloured by how safe it is; `off` if the metadata service is off."""
    if options.get("HttpEndpoint") == "disabled":
        return "off"
    tokens = options.get("HttpTokens", "?")
    return f"[{'green' if tokens == 'required' else 'yellow'}]{tokens}[/]"
