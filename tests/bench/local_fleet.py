"""A local AWS with nothing but a fleet: the same, and as new, for every system that is measured."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from infra.local.client import LocalAws
from infra.local.deployment import HTTP_TOKENS, POLICY
from infra.local.ledger_table import create_ledger_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REGION = "eu-west-1"
LEDGER = "ledger"
LATENCY_SECONDS = 0.05
TABLE_LATENCY_SECONDS = float(os.environ.get("TABLE_MS") or 10) / 1000
"""DynamoDB answers sooner than the others: within single-digit milliseconds, and the way there."""

THROTTLED = ("RequestLimitExceeded", "ThrottlingException")
LAUNCH_SIZE = 1000
AGE_SECONDS = 24 * 3600.0
"""Of an existing instance: what was launched within the hour is enforced without the gate being asked."""

SAFEGUARDS: Mapping[str, Any] = {"legacy_calls": {}}
"""The policy with every safeguard: the watch and the ledger are there unless it says otherwise."""

NO_SAFEGUARDS: Mapping[str, Any] = {"watch": None}
TAGS = {"Name": "bench"}
"""As fleets have them; c7n looks for tags once more where there are none."""


@dataclass(frozen=True)
class LocalFleet:
    """A running local AWS with instances in some regions."""

    aws: LocalAws
    regions: Sequence[str]
    buckets: Mapping[str, object]

    def set_policy(self, safeguards: Mapping[str, Any]) -> None:
        """Store the policy for these regions alone, with what it says about going carefully."""
        document = {"regions": {"include": list(self.regions)}, **safeguards}
        self.aws.client("ssm").put_parameter(Name=POLICY, Type="String", Value=json.dumps(document), Overwrite=True)

    def launch(self, count: int, tokens: str = "optional", age_seconds: float = 0) -> list[str]:
        """Launch so many in each region, as if so long ago, and answer their ids; no event tells of them."""
        self.aws.reset()
        self.aws.knobs(cloudtrail_events=False, state_change_events=False, attached_seconds=age_seconds)
        return [
            each
            for region in self.regions
            for first in range(0, count, LAUNCH_SIZE)
            for each in self.aws.launch(region, min(LAUNCH_SIZE, count - first), tags=TAGS, HttpTokens=tokens)
        ]

    def begin(self) -> None:
        """From here on calls are counted, take their time, and find every bucket full."""
        self.aws.reset()
        self.aws.knobs(
            cloudtrail_events=False,
            state_change_events=False,
            latency_seconds=LATENCY_SECONDS,
            table_latency_seconds=TABLE_LATENCY_SECONDS,
            request_buckets=self.buckets,
        )

    def calls(self) -> dict[str, Any]:
        """The calls since then, as `Run` wants them; not yet those that look at the fleet."""
        return counted(self.aws.call_rows())

    def state(self) -> dict[str, Any]:
        """How many instances there are, and how many are as they should be, as `Run` wants it."""
        self.aws.knobs(latency_seconds=0, request_buckets="off")
        options = [each for region in self.regions for each in described(self.aws, region)]
        return {"required": sum(map(is_required, options)), "instances": len(options)}


@contextmanager
def local_fleet(*regions: str, buckets: Mapping[str, object] | None = None) -> Iterator[LocalFleet]:
    """A new local AWS whose policy covers these regions alone, requires tokens, and has every safeguard.

    Args:
        regions: where the fleet is.
        buckets: request buckets that differ from those that AWS publishes.
    """
    with LocalAws(REGION) as aws:
        published = aws.knobs(request_buckets="published")["request_buckets"]
        aws.reset()
        aws.client("ssm").put_parameter(Name=HTTP_TOKENS, Type="String", Value="required")
        create_ledger_table(aws, LEDGER)
        fleet = LocalFleet(aws, regions, {**published, **(buckets or {})})
        fleet.set_policy(SAFEGUARDS)
        yield fleet


def counted(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Requests by action, and how many were throttled."""
    requests: Counter[str] = Counter()
    for row in rows:
        requests[row["action"]] += row["count"]
    return {"requests": dict(requests), "throttled": sum(r["count"] for r in rows if r["error"] in THROTTLED)}


def running(aws: LocalAws, region: str = REGION) -> list[Mapping[str, Any]]:
    """Every running instance."""
    states = [{"Name": "instance-state-name", "Values": ["running"]}]
    pages = (
        aws.client("ec2", region)
        .get_paginator("describe_instances")
        .paginate(Filters=states, PaginationConfig={"PageSize": LAUNCH_SIZE})
    )
    reservations = itertools.chain.from_iterable(page["Reservations"] for page in pages)
    return [instance for each in reservations for instance in each["Instances"]]


def described(aws: LocalAws, region: str = REGION) -> list[Mapping[str, Any]]:
    """The metadata options of every running instance."""
    return [instance["MetadataOptions"] for instance in running(aws, region)]


def is_required(options: Mapping[str, Any]) -> bool:
    """Whether the policy is met, and in force."""
    return bool(options["HttpTokens"] == "required" and options["State"] == "applied")
