"""The boto3 clients of one process, made when they are first needed and kept for as long as it lives."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING

import boto3

from imds_enforcer.aws.account_defaults import DefaultsApi
from imds_enforcer.aws.boto import BULK_CONFIG, CLIENT_CONFIG
from imds_enforcer.aws.cloudwatch import CallMetrics
from imds_enforcer.aws.dynamodb import NoTable, Table
from imds_enforcer.aws.ec2 import Ec2Region
from imds_enforcer.aws.ledger_table import LedgerTable
from imds_enforcer.aws.parameter_store import PolicyStore
from imds_enforcer.aws.session import fleet_session
from imds_enforcer.aws.sns import Notifications
from imds_enforcer.aws.sqs import EventQueue
from imds_enforcer.limits.pacing import CHANGES, Limit, RequestBucket
from imds_enforcer.model import AwsError

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ec2 import EC2Client

    from imds_enforcer.model import Clock, Failure
    from imds_enforcer.policy import RegionSelection
    from imds_enforcer.settings import Settings


class Clients:
    """One adapter for each service, and one of EC2 for each region, with `change_limit` as its limit for changes."""

    def __init__(
        self, settings: Settings, clock: Clock, session: boto3.Session | None = None, change_limit: Limit = CHANGES
    ) -> None:
        self._settings = settings
        self._change_limit = change_limit
        self._clock = clock
        self._session = session or boto3.Session(botocore_session=fleet_session())
        self._ec2: dict[str, Ec2Region] = {}
        self._ec2_clients: dict[tuple[str, Config], EC2Client] = {}
        self._call_metrics: dict[str, CallMetrics] = {}
        self._dynamodb_client: DynamoDBClient | None = None
        self.known_regions = frozenset({self.home_region})
        self.unlisted: Failure | None = None
        # Several threads must not make clients from a session at once; they may use clients.
        self._lock = threading.Lock()

    @property
    def home_region(self) -> str:
        """The region that the function runs in."""
        return str(self._session.region_name)

    def ec2(self, region: str) -> Ec2Region:
        """EC2 of one region."""
        with self._lock:
            if region not in self._ec2:
                changes = RequestBucket(self._change_limit, self._clock)
                self._ec2[region] = Ec2Region(
                    region, self._clock, lambda config: self._ec2_client(region, config), changes
                )
            return self._ec2[region]

    def account_defaults(self, region: str) -> DefaultsApi:
        """The account defaults of one region."""
        return DefaultsApi(lambda config: self._ec2_client(region, config), self._clock)

    def _ec2_client(self, region: str, config: Config) -> EC2Client:
        with self._lock:
            if (region, config) not in self._ec2_clients:
                client = self._session.client("ec2", region_name=region, config=config)
                self._ec2_clients[region, config] = client
            return self._ec2_clients[region, config]

    def prepare_for_changes(self) -> None:
        """Make the clients for changes in the home region, which takes CPU time that other calls leave idle."""
        self._dynamodb()
        self.ec2(self.home_region).prepare_to_modify()

    def learn_regions(self) -> None:
        """Ask EC2 which regions are enabled in the account, and keep the answer in `known_regions`.

        If the caller has no permission, as under some service control policies, `unlisted` has EC2's refusal.

        Raises:
            AwsError: if EC2 could not be asked.
        """
        try:
            enabled = self.ec2(self.home_region).enabled_regions()
        except AwsError as error:
            if not error.failure.denied:
                raise
            self.unlisted = error.failure
        else:
            self.known_regions, self.unlisted = frozenset({self.home_region, *enabled}), None

    def regions(self, selection: RegionSelection) -> tuple[str, ...]:
        """The account's regions.

        If EC2 denies the list, these are the regions that the policy includes, or else the home region.
        """
        if self.unlisted:
            return tuple(dict.fromkeys(selection.include)) or (self.home_region,)
        return tuple(sorted(self.known_regions))

    @cached_property
    def policies(self) -> PolicyStore:
        """Parameter Store."""
        with self._lock:
            client = self._session.client("ssm", config=CLIENT_CONFIG)
        settings = self._settings
        return PolicyStore(client, self._clock, settings.http_tokens_parameter, settings.policy_parameter)

    def call_metrics(self, region: str) -> CallMetrics:
        """CloudWatch of one region."""
        with self._lock:
            if region not in self._call_metrics:
                client = self._session.client("cloudwatch", region_name=region, config=BULK_CONFIG)
                self._call_metrics[region] = CallMetrics(client)
            return self._call_metrics[region]

    @cached_property
    def ledger_table(self) -> LedgerTable:
        """The table of ledger and holds. If the settings name no table, it is empty and keeps nothing."""
        name = self._settings.ledger_table
        return LedgerTable(Table(self._dynamodb, name, self._clock) if name else NoTable(), self._clock)

    def _dynamodb(self) -> DynamoDBClient:
        with self._lock:
            if self._dynamodb_client is None:
                self._dynamodb_client = self._session.client("dynamodb", config=BULK_CONFIG)
            return self._dynamodb_client

    @cached_property
    def queue(self) -> EventQueue:
        """The event queue."""
        with self._lock:
            client = self._session.client("sqs", config=CLIENT_CONFIG)
        return EventQueue(client, self._settings.event_queue_url)

    @cached_property
    def notifications(self) -> Notifications:
        """The notification topic."""
        with self._lock:
            client = self._session.client("sns", config=CLIENT_CONFIG)
        return Notifications(client, self._settings.notification_topic_arn)
