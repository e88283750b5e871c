"""The function's code in the test's own process, calling the local AWS over real HTTP.

A new `Enforcer` stands for a new process of the function: it remembers nothing of an earlier one.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

from imds_enforcer.application import Application, Invocation
from imds_enforcer.aws.boto import LISTING_CONFIG
from imds_enforcer.aws.services import Clients
from imds_enforcer.aws.session import fleet_session
from imds_enforcer.limits.pacing import CHANGES
from imds_enforcer.model import SystemClock
from imds_enforcer.reporting import telemetry
from infra.local.client import SECRET
from tests.integration.guarded_fleet import settings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime, timedelta

    from imds_enforcer.limits.pacing import Limit
    from imds_enforcer.model import Clock
    from infra.local.client import LocalAws

SCHEDULE = {"trigger": "schedule"}
INVENTORY = {"inventory": True}

UNREACHABLE = "http://127.0.0.1:1"
"""An address that refuses connections."""

LAMBDA_SECONDS = 900.0

_SESSION: Any = boto3.Session(botocore_session=fleet_session())
"""Kept for all tests: reading EC2's model takes long."""


class ShortPauses(SystemClock):
    """The machine's clock, with sleeps a quarter as long, so that code that waits looks four times as often."""

    def sleep(self, seconds: float) -> None:
        """Wait a quarter of the time."""
        super().sleep(seconds / 4)


class WrongClock(ShortPauses):
    """The clock of a machine with a wrong date; it still measures durations correctly."""

    def __init__(self, off: timedelta) -> None:
        self._off = off

    def now(self) -> datetime:
        """A wrong moment."""
        return super().now() + self._off


class LocalSession:
    """Replaces boto3's session for the enforcer: its clients have the shipped configuration, but call the local AWS.

    Args:
        aws: the account.
        refused: services, or EC2's regions, whose connections are refused.
        read_timeout: seconds; replaces the shipped time-out.
        listing_timeout: the same, for listings only.
    """

    def __init__(
        self,
        aws: LocalAws,
        refused: Collection[str] = (),
        read_timeout: float | None = None,
        listing_timeout: float | None = None,
    ) -> None:
        self.region_name = aws.region
        self._aws = aws
        self._refused = refused
        self._read_timeout = read_timeout
        self._listing_timeout = listing_timeout

    def client(self, service: str, region_name: str = "", *, config: Config) -> Any:
        """A client of a service."""
        timeout = (config is LISTING_CONFIG and self._listing_timeout) or self._read_timeout
        if timeout:
            config = config.merge(Config(read_timeout=timeout))
        refused = service in self._refused or region_name in self._refused
        return _SESSION.client(
            service,
            region_name=region_name or self.region_name,
            endpoint_url=UNREACHABLE if refused else self._aws.endpoint_url,
            aws_access_key_id=self._aws.account,
            aws_secret_access_key=SECRET,
            config=config,
        )


@dataclass(frozen=True)
class Run:
    """The answer, log lines and metrics of one invocation."""

    answer: dict[str, Any]
    lines: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]

    @property
    def outcomes(self) -> dict[str, str]:
        """The logged outcome of each instance; fails if an instance was logged twice."""
        logged = [(line["instance_id"], line["outcome"]) for line in self.lines if "instance_id" in line]
        assert len(logged) == len(dict(logged)), logged
        return dict(logged)

    @property
    def remediated(self) -> set[str]:
        """The instances that were changed and read back as applied."""
        return {instance for instance, outcome in self.outcomes.items() if outcome == "REMEDIATED"}

    @property
    def codes(self) -> dict[str, str]:
        """The logged error code of each instance that has one."""
        return {line["instance_id"]: line["code"] for line in self.lines if {"instance_id", "code"} <= line.keys()}

    def coming_back(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The records of a batch that the queue delivers again, in the form of that delivery."""
        failed = {item["itemIdentifier"] for item in self.answer["batchItemFailures"]}
        return [_delivered_again(record) for record in records if record["messageId"] in failed]


class Enforcer:
    """One process of the function.

    Args:
        aws: the account it works in.
        session: replaces `LocalSession`.
        clock: replaces `ShortPauses`.
        change_limit: EC2's limit for changes, as the function assumes it.
        run_id: the run id of its invocations.
        seconds: settings that replace those of `guarded_fleet.settings`.
    """

    def __init__(
        self,
        aws: LocalAws,
        *,
        session: LocalSession | None = None,
        clock: Clock | None = None,
        change_limit: Limit = CHANGES,
        run_id: str = "run-1",
        **seconds: Any,
    ) -> None:
        shown, clock = replace(settings(aws), **seconds), clock or ShortPauses()
        clients = Clients(shown, clock, cast("boto3.Session", session or LocalSession(aws)), change_limit)
        # Reads EC2's model now, as in a warm process: some tests measure tenths of seconds.
        clients.ec2(aws.region).prepare_to_read()
        self._application = Application(shown, clients, clock)
        self._account = aws.account
        self._run_id = run_id

    def sweep(self, event: Mapping[str, Any] = SCHEDULE) -> Run:
        """Run a sweep; errors of the function are raised."""
        return self._invoke(event)

    def batch(self, records: Sequence[Mapping[str, Any]]) -> Run:
        """Deliver a batch of the event queue."""
        return self._invoke({"Records": list(records)})

    def _invoke(self, event: Mapping[str, Any]) -> Run:
        ends_at = time.monotonic() + LAMBDA_SECONDS
        invocation = Invocation(self._run_id, self._account, lambda: ends_at - time.monotonic())
        log, metrics = io.StringIO(), io.StringIO()
        handler = cast("Any", telemetry.logger.registered_handler)
        previous = handler.setStream(log)
        try:
            with contextlib.redirect_stdout(metrics):
                answer = self._application.invoke(event, invocation)
        finally:
            handler.setStream(previous)
            print(log.getvalue(), metrics.getvalue())  # noqa: T201  # pytest shows it beside a failure
        return Run(answer, _documents(log), _totals(_documents(metrics)))


def _documents(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _totals(documents: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metrics without a region: those of all regions together."""
    return {
        metric["Name"]: document[metric["Name"]][0]
        for document in documents
        if "Region" not in document
        for metric in document["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    }


def _delivered_again(record: Mapping[str, Any]) -> dict[str, Any]:
    receives = int(record["attributes"]["ApproximateReceiveCount"]) + 1
    return {**record, "attributes": {"ApproximateReceiveCount": str(receives)}}
