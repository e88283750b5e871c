"""EC2 of one region: read instances, change their metadata options."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from imds_enforcer.aws.boto import CLIENT_CONFIG, LISTING_CONFIG, WRITE_CONFIG, aws_errors, batched, expected
from imds_enforcer.aws.listing import Listing, Page, following_pages
from imds_enforcer.model import AwsError, Failure, Instance, InstanceState, MetadataOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from botocore.config import Config
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import (
        DescribeInstancesRequestTypeDef,
        DescribeInstancesResultTypeDef,
        InstanceTypeDef,
        ModifyInstanceMetadataOptionsRequestTypeDef,
    )

    from imds_enforcer.decision.drift_filters import Filters
    from imds_enforcer.limits.pacing import RequestBucket
    from imds_enforcer.model import Change, Clock, Deadline

PAGE_SIZE = 1000
"""Instances a page: the most that DescribeInstances returns (EC2 API Reference)."""

_LISTED_AT_ONCE = 500
"""Instances a page of a listing: regions are listed at the same time, and a page takes ten times its size in memory."""

FILTER_VALUES = 200
"""Values that one filter may have (EC2 API Reference, "Filter")."""

READ_OF_INSTANCES: Mapping[str, tuple[str, ...]] = {
    "Reservation": ("Instances",),
    "Instance": ("InstanceId", "ImageId", "State", "MetadataOptions", "Tags", "Operator", "NetworkInterfaces"),
    "InstanceNetworkInterface": ("Attachment",),
    "InstanceNetworkInterfaceAttachment": ("AttachTime", "DeviceIndex"),
}
"""The fields of a description that `_instance` reads, by shape of EC2's model."""

LIVE_STATES = tuple(state for state in InstanceState if not state.ended)


class Ec2Region:
    """The instances of one region. Every method raises `AwsError`, and nothing else, for a failed call.

    `client` returns the client for a configuration: one for reads, one for listings, and one for changes, which must
    not retry by itself. Each is made with the first call that needs it. `changes` estimates how many changes EC2
    accepts right now: ask it before each call of `modify`.
    """

    def __init__(self, name: str, clock: Clock, client: Callable[[Config], EC2Client], changes: RequestBucket) -> None:
        self.name = name
        self._clock = clock
        self._client = client
        self._listing = Listing(clock, _LISTED_AT_ONCE)
        self._shows_managed = True
        self.changes = changes

    def find(self, filters: Filters, until: Deadline | None = None) -> Iterator[list[Instance]]:
        """Instances that match the filters and have not ended, page by page. A page may be empty.

        Without filters, these are all instances, including those that AWS services manage. With filters, they are only
        instances that the account can change: EC2 then hides managed ones. EC2 has a minute for each page. A failed
        page is retried unless `until` has passed.
        """
        live = {**filters, "instance-state-name": list(map(str, LIVE_STATES))}
        describe = partial(self._described, LISTING_CONFIG, managed=not filters)
        for page in self._listing.pages(_request_for(live), describe, until):
            yield self._instances(page)

    def read(self, instance_ids: Iterable[str]) -> dict[str, Instance]:
        """The instances that EC2 knows among these ids, by id, managed ones too.

        The request uses the filter `instance-id`, because one unknown id in the parameter
        InstanceIds would fail the whole call.
        """
        return {
            instance.instance_id: instance
            for ids in batched(instance_ids, FILTER_VALUES)
            for page in following_pages(_request_for({"instance-id": ids}), self._read_page)
            for instance in self._instances(page)
        }

    def prepare_to_read(self) -> None:
        """Make the client for reads, which takes a moment."""
        self._reader()

    def prepare_to_modify(self) -> None:
        """Make the client for changes, which takes a moment, before the age of an observation is checked."""
        self._client(WRITE_CONFIG)

    def modify(self, instance_id: str, change: Change) -> dict[str, Any]:
        """Ask EC2 for the change and return its answer, which does not mean that the change is applied."""
        with aws_errors():
            answer = self._client(WRITE_CONFIG).modify_instance_metadata_options(**_request(instance_id, change))
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    def rehearse(self, instance_id: str, change: Change) -> None:
        """Ask EC2 whether it would let the caller make the change, without making it."""
        request = _request(instance_id, change)
        request["DryRun"] = True
        try:
            with aws_errors():
                self._reader().modify_instance_metadata_options(**request)
        except AwsError as error:
            # EC2 has no other way to say yes.
            if error.failure.code != "DryRunOperation":
                raise

    def tokens_enforced(self) -> str | None:
        """Why the account's defaults in this region forbid optional tokens; None if they allow them.

        Only HttpTokensEnforced forbids them: with it, EC2 refuses to make any instance's tokens optional (EC2 User
        Guide, "Configure instance metadata options for new instances"). A declarative policy that manages the defaults
        also has no other way to forbid them.
        """
        with aws_errors():
            defaults = self._reader().get_instance_metadata_defaults().get("AccountLevel", {})
        if defaults.get("HttpTokensEnforced") != "enabled":
            return None
        managed = ", which a declarative policy manages," if defaults.get("ManagedBy") == "declarative-policy" else ""
        why = f"the metadata defaults of the region{managed} enforce tokens (HttpTokensEnforced)"
        message = defaults.get("ManagedExceptionMessage")
        return f"{why}: {message}" if message else why

    def enabled_regions(self) -> tuple[str, ...]:
        """Every region that is enabled in the account."""
        with aws_errors():
            answer = self._reader().describe_regions()
        return tuple(sorted(region["RegionName"] for region in expected(answer, "Regions")))

    def _reader(self) -> EC2Client:
        return self._client(CLIENT_CONFIG)

    def _read_page(self, request: DescribeInstancesRequestTypeDef) -> Page:
        asked_at = self._clock.monotonic()
        request["MaxResults"] = PAGE_SIZE
        return Page(asked_at, self._described(CLIENT_CONFIG, request, managed=True))

    def _described(
        self, config: Config, request: DescribeInstancesRequestTypeDef, *, managed: bool
    ) -> DescribeInstancesResultTypeDef:
        """One page, including managed instances if they are wanted and the endpoint accepts the parameter for them.

        EC2 leaves managed instances out unless IncludeManagedResources is sent (EC2 API Reference,
        "DescribeInstances"). An endpoint that refuses the parameter is asked without it from then on.
        """
        asks = managed and self._shows_managed
        if asks:
            try:
                return self._ask(config, {**request, "IncludeManagedResources": True})
            except AwsError as error:
                if not _may_mean_a_parameter(error.failure):
                    raise
        page = self._ask(config, request)
        if asks:
            # Only now: a request that fails without the parameter too fails for another reason.
            self._shows_managed = False
        return page

    def _ask(self, config: Config, request: DescribeInstancesRequestTypeDef) -> DescribeInstancesResultTypeDef:
        with aws_errors():
            return self._client(config).describe_instances(**request)

    def _instances(self, page: Page) -> list[Instance]:
        """The page's instances. The age of an observation counts from the request, as the answer may be slow."""
        return [
            _instance(item, self.name, page.asked_at)
            for reservation in expected(page.answer, "Reservations")
            for item in reservation["Instances"]
        ]


def _may_mean_a_parameter(failure: Failure) -> bool:
    """True if EC2 may have refused a request because it does not know a parameter.

    EC2's code for this is UnknownParameter (EC2 API Reference, "Error codes"); the code of an endpoint of another
    version or partition is not documented.
    """
    return failure.code in {"UnknownParameter", "UnsupportedOperation"} or failure.code.startswith("InvalidParameter")


def _request_for(filters: Mapping[str, list[str]]) -> DescribeInstancesRequestTypeDef:
    return {"Filters": [{"Name": name, "Values": values} for name, values in filters.items()]}


def _request(instance_id: str, change: Change) -> ModifyInstanceMetadataOptionsRequestTypeDef:
    """The request for a change.

    It has HttpEndpoint because EC2 requires it to be enabled when tokens, hop limit or IPv6 are set
    (EC2 User Guide, "Modify instance metadata options"). Options that do not change are left out
    and keep their value.
    """
    request: ModifyInstanceMetadataOptionsRequestTypeDef = {
        "InstanceId": instance_id,
        "HttpTokens": change.http_tokens.value,
        "HttpEndpoint": "enabled",
    }
    if change.http_put_response_hop_limit is not None:
        request["HttpPutResponseHopLimit"] = change.http_put_response_hop_limit
    if change.http_protocol_ipv6 is not None:
        request["HttpProtocolIpv6"] = change.http_protocol_ipv6.value
    if change.instance_metadata_tags is not None:
        request["InstanceMetadataTags"] = change.instance_metadata_tags.value
    return request


def _instance(item: InstanceTypeDef, region: str, observed_at: float) -> Instance:
    operator = item.get("Operator", {})
    try:
        state, options = InstanceState(item["State"]["Name"]), MetadataOptions.described(item["MetadataOptions"])
    except (KeyError, ValueError):
        # An unrecognized state or option must stop this instance only.
        state, options = _known_state(item), None
    return Instance(
        instance_id=item["InstanceId"],
        region=region,
        state=state,
        options=options,
        observed_at=observed_at,
        image_id=item.get("ImageId", ""),
        tags={tag["Key"]: tag["Value"] for tag in item.get("Tags", ())},
        managed_by=operator.get("Principal", "an AWS service") if operator.get("Managed") else None,
        attached_at=_attached_at(item),
    )


def _attached_at(item: InstanceTypeDef) -> datetime | None:
    """When the primary network interface, device 0, was attached; None if EC2 does not show it."""
    attachments = (interface.get("Attachment", {}) for interface in item.get("NetworkInterfaces", ()))
    return next((each.get("AttachTime") for each in attachments if each.get("DeviceIndex") == 0), None)


def _known_state(item: InstanceTypeDef) -> InstanceState:
    """The state, or `running` if it is unrecognized: the instance may well exist."""
    name = item.get("State", {}).get("Name", "")
    return InstanceState(name) if name in tuple(InstanceState) else InstanceState.RUNNING
