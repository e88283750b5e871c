"""`make demo-rollout`: require tokens on a fleet with unknown IMDSv1 callers, without breaking anything unnoticed.

The enforcer gates and names the instances that still call IMDSv1, and watches those that it changed; `revert` undoes
each change exactly. Anything that is not as it should be ends the demo with exit code 1.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.table import Table

from infra.demo.acts import act, console, ended_well, expect, put_in_force
from infra.demo.fleet import HOME
from infra.demo.rollout_fleet import EXEMPTION, RolloutFleet, launch_rollout_fleet, put_calls
from infra.local import operator
from infra.local.deployment import Deployment, deploy
from infra.local.ledger_table import age_entries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.local.client import LocalAws

SHOWN = 3
"""How many instances are named; the others are only counted."""

ASK = "cloudwatch:GetMetricData"
GATED = {"exemptions": [EXEMPTION], "legacy_calls": {}}


def main() -> int:
    """Play every act; returns 0 only if each ended as it should."""
    return ended_well(play)


def play(aws: LocalAws) -> None:
    """The story, act by act."""
    with act("Deploy the real stack with http_tokens=optional: the fleet may still use IMDSv1"):
        enforcer = deploy(aws, "-c", "http_tokens=optional")
        put_in_force(enforcer, GATED)

    with act("A fleet of 60, of which 20 still call IMDSv1"):
        fleet = launch_rollout_fleet(aws, HOME)
        before = options(enforcer, fleet)
        show(fleet, before)

    with act("Set the toggle to required"):
        report = enforcer.settle(http_tokens=enforcer.set_http_tokens("required"))
        console.print(f"  {counts(report)}; requests to CloudWatch: {enforcer.calls()[ASK]}")
        for each in report["kept_back"][:SHOWN]:
            console.print(f"  {each['instance_id']} {each['outcome']}: {each['reason']}")
        console.print(f"  … and {len(report['kept_back']) - SHOWN} more")
        show(fleet, options(enforcer, fleet))
        expect(report["outcomes"], {"REMEDIATED": 30, "EXEMPT": 5, "HELD": 20})
        expect(enforcer.calls()[ASK], 1)

    with act("An hour later: two instances reject IMDSv1 calls, and the next sweep names them"):
        age_entries(aws, enforcer.outputs["LedgerTableName"], timedelta(hours=1))
        victims = dict.fromkeys(fleet.plain[:2], 7.0)
        put_calls(aws, HOME, "MetadataNoTokenRejected", victims, datetime.now(UTC))
        inbox = Inbox(aws, enforcer.outputs["NotificationTopicArn"])
        enforcer.invoke({})
        [mail] = inbox.mails()
        console.print(f"  mail: {mail['Subject']}")
        for line in mail["Message"].splitlines():
            console.print(f"    {line}")
        expect({each for each in fleet.all if each in mail["Message"]}, {*victims})

    with act("Revert that run: imds-enforcer revert --run … --yes"):
        reverted = operator.answer(aws, "revert", "--run", report["run_id"], "--yes", "--reason", "the shop is down")
        console.print(f"  {dict(Counter(each['outcome'] for each in reverted['instances']))}")
        show(fleet, options(enforcer, fleet))
        expect(options(enforcer, fleet), before)
        held = enforcer.invoke({})
        console.print(f"  the next sweep: {counts(held)}")
        expect(held["outcomes"], {"EXEMPT": 5, "HELD": 50})
        # The reverts' events must arrive while the instances are held; after the release they would count as drift.
        enforcer.drain()

    with act("Release them: imds-enforcer release …"):
        operator.answer(aws, "release", *fleet.changeable)
        released = enforcer.invoke({})
        console.print(f"  the next sweep: {counts(released)}")
        expect(released["outcomes"], {"REMEDIATED": 30, "EXEMPT": 5, "HELD": 20})

    with act("The day after the gate's last day: the 20 gated instances as well"):
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
        version = enforcer.set_policy({**GATED, "legacy_calls": {"enforce_after": yesterday}})
        last = enforcer.settle(policy=version)
        console.print(f"  {counts(last)}")
        show(fleet, options(enforcer, fleet))
        expect(last["outcomes"], {"REMEDIATED": 20, "EXEMPT": 5})
    console.print("\n[bold green]Every instance is as it should be.[/]")


class Inbox:
    """A subscriber to the notifications."""

    def __init__(self, aws: LocalAws, topic: str) -> None:
        self._sqs = aws.client("sqs")
        self._url = self._sqs.create_queue(QueueName="inbox")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        aws.client("sns").subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "false"}
        )

    def mails(self) -> list[dict[str, Any]]:
        """The notifications received so far."""
        messages = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]


def options(enforcer: Deployment, fleet: RolloutFleet) -> dict[str, dict[str, Any]]:
    """The options of the whole fleet, applied or not."""
    return {each: {**shown, "State": None} for each, shown in enforcer.options(fleet.all).items()}


def show(fleet: RolloutFleet, seen: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the fleet by kind of instance."""
    table = Table("what they are", "how many", "HttpTokens", "hops", box=None)
    for what, ids in (
        ("call IMDSv1", fleet.callers),
        ("container hosts", fleet.container_hosts),
        ("exempt by tag imds=v1", fleet.exempt),
        ("metadata service off", fleet.off),
        ("others", fleet.plain),
    ):
        tokens = {"off" if seen[each]["HttpEndpoint"] == "disabled" else seen[each]["HttpTokens"] for each in ids}
        hops = sorted({seen[each]["HttpPutResponseHopLimit"] for each in ids})
        table.add_row(what, str(len(ids)), ", ".join(sorted(tokens)), ", ".join(map(str, hops)))
    console.print(table)


def counts(report: Mapping[str, Any]) -> str:
    """The outcomes of a run."""
    return ", ".join(f"{count} {name}" for name, count in report["outcomes"].items())


if __name__ == "__main__":
    sys.exit(main())
