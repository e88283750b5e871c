"""A local AWS with nothing but a fleet, new and the same for every measured system."""

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
"""DynamoDB answers faster than other services: single-digit milliseconds, plus the network."""

THROTTLED = ("RequestLimitExceeded", "ThrottlingException")
LAUNCH_SIZE = 1000
AGE_SECONDS = 24 * 3600.0
"""The age of an existing instance: the gate does not apply to instances launched within the hour."""

SAFEGUARDS: Mapping[str, Any] = {"legacy_calls": {}}
"""The policy with every safeguard: watch and ledger are on by default."""

NO_SAFEGUARDS: Mapping[str, Any] = {"watch": None}
TAGS = {"Name": "bench"}
"""Tags like those of real fleets; c7n makes another request for instances without tags."""


@dataclass(frozen=True)
class LocalFleet:
    """A running local AWS with instances in some regions."""

    aws: LocalAws
    regions: Sequence[str]
    buckets: Mapping[str, object]

    def set_policy(self, safeguards: Mapping[str, Any]) -> None:
        """Store a policy for these regions alone, with these safeguards."""
        document = {"regions": {"include": list(self.regions)}, **safeguards}
        self.aws.client("ssm").put_parameter(Name=POLICY, Type="String", Value=json.dumps(document), Overwrite=True)

    def launch(self, count: int, tokens: str = "optional", age_seconds: float = 0) -> list[str]:
        """Launch this many instances of this age in each region, without events; returns their ids."""
        self.aws.reset()
        self.aws.knobs(cloudtrail_events=False, state_change_events=False, attached_seconds=age_seconds)
        return [
            each
            for region in self.regions
            for first in range(0, count, LAUNCH_SIZE)
            for each in self.aws.launch(region, min(LAUNCH_SIZE, count - first), tags=TAGS, HttpTokens=tokens)
        ]

    def begin(self) -> None:
        """From here on, calls are counted and have their latency; every bucket starts full."""
        self.aws.reset()
        self.aws.knobs(
            cloudtrail_events=False,
            state_change_events=False,
            latency_seconds=LATENCY_SECONDS,
            table_latency_seconds=TABLE_LATENCY_SECONDS,
            request_buckets=self.buckets,
        )

    def calls(self) -> dict[str, Any]:
        """The calls since then, as fields of `Run`; without the calls that read the fleet for the result."""
        return counted(self.aws.call_rows())

    def state(self) -> dict[str, Any]:
        """The number of instances, and of those that follow the policy, as fields of `Run`."""
        self.aws.knobs(latency_seconds=0, request_buckets="off")
        options = [each for region in self.regions for each in described(self.aws, region)]
        return {"required": sum(map(is_required, options)), "instances": len(options)}


@contextmanager
def local_fleet(*regions: str, buckets: Mapping[str, object] | None = None) -> Iterator[LocalFleet]:
    """A new local AWS whose policy covers these regions alone, requires tokens, and has every safeguard.

    Args:
        regions: the regions of the fleet.
        buckets: request buckets that replace those that AWS publishes.
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
    """The requests by action, and the number of throttled ones."""
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
    """Whether tokens are required and applied."""
    return bool(options["HttpTokens"] == "required" and options["State"] == "applied")
