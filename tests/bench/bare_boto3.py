"""The same changes with boto3 alone, at the pace of EC2's bucket: `python -m tests.bench.bare_boto3`.

No enforcer can do with less: it lists nothing, reads nothing back and keeps nothing. Its standard input is JSON:
`instances`, the ids by region, and the bucket's `capacity` and `refill`. It imports no other module of the benchmark,
as their imports would count as its own time.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

THREADS = 16
"""Threads for each region, as many as the enforcer has."""


@dataclass(frozen=True)
class Bucket:
    """EC2's limit for the changes of one region."""

    capacity: int
    refill: float

    def due(self, number: int) -> float:
        """Seconds from the first answer until change `number`, counted from 0, finds a token."""
        return max(0, number - self.capacity + 1) / self.refill


def main() -> None:
    """Change all regions at the same time."""
    wish = json.load(sys.stdin)
    bucket, session = Bucket(wish["capacity"], wish["refill"]), boto3.Session()
    config = Config(max_pool_connections=THREADS)
    changes: list[Future[None]] = []
    for region, ids in wish["instances"].items():
        changes += _begin(session.client("ec2", region_name=region, config=config), ids, bucket)
    for change in changes:
        change.result()


def _begin(ec2: Any, ids: Sequence[str], bucket: Bucket) -> list[Future[None]]:
    """Start a region's threads on its changes."""
    answered: list[float] = []

    def change(number: int, instance_id: str) -> None:
        if wait := bucket.due(number):
            # Pacing is what is measured, and only time brings tokens back: there is no condition to wait for.
            time.sleep(max(0.0, answered[0] + wait - time.monotonic()))
        ec2.modify_instance_metadata_options(InstanceId=instance_id, HttpTokens="required", HttpEndpoint="enabled")
        answered.append(time.monotonic())

    pool = ThreadPoolExecutor(THREADS)
    return [pool.submit(change, number, instance_id) for number, instance_id in enumerate(ids)]


if __name__ == "__main__":
    main()
