"""DescribeInstances and DescribeRegions: filters, pages, and an instance's XML."""

import base64
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ministack.core.responses import get_account_id
from ministack.services import ec2

from infra.local.server.ec2 import filters, instance_options, instances
from infra.local.server.ec2.instances import Instance
from infra.local.server.ec2.protocol import Parameters, Response, add_actions, flat, listed, reply
from infra.local.server.errors import AwsError
from infra.local.server.knobs import KNOBS

PAGE_SIZES = range(5, 1001)
Filter = Callable[[Instance], bool]

_FIELDS: dict[str, Callable[[Instance], Any]] = {
    "instance-id": lambda i: i["InstanceId"],
    "image-id": lambda i: i["ImageId"],
    "instance-type": lambda i: i["InstanceType"],
    "instance-state-name": lambda i: i["State"]["Name"],
    "instance-state-code": lambda i: i["State"]["Code"],
    "availability-zone": lambda i: i["Placement"]["AvailabilityZone"],
    "subnet-id": lambda i: i["SubnetId"],
    "vpc-id": lambda i: i["VpcId"],
    "private-ip-address": lambda i: i["PrivateIpAddress"],
    "operator.managed": lambda i: str(i["Operator"]["managed"]).lower(),
    "operator.principal": lambda i: i["Operator"].get("principal", ""),
    "metadata-options.state": instance_options.options_state,
    "metadata-options.http-tokens": lambda i: i["MetadataOptions"]["HttpTokens"],
    "metadata-options.http-endpoint": lambda i: i["MetadataOptions"]["HttpEndpoint"],
    "metadata-options.http-put-response-hop-limit": lambda i: i["MetadataOptions"]["HttpPutResponseHopLimit"],
    "metadata-options.http-protocol-ipv6": lambda i: i["MetadataOptions"]["HttpProtocolIpv6"],
    "metadata-options.instance-metadata-tags": lambda i: i["MetadataOptions"]["InstanceMetadataTags"],
}


def describe_instances(parameters: Parameters) -> Response:
    """DescribeInstances: by ids, or by filters and pages; these leave out managed instances unless requested."""
    p = flat(parameters)
    ids = listed(p, "InstanceId")
    wanted = [_filter(name, values) for name, values in filters.asked(p)]
    if ids and "MaxResults" in p:
        raise AwsError(
            "InvalidParameterCombination",
            "The parameter instancesSet cannot be used with the parameter maxResults",
        )
    ec2._cleanup_terminated()
    every = p.get("IncludeManagedResources") == "true"
    found: Iterable[Instance] = [instances.known_instance(each) for each in ids] or (
        each for each in ec2._instances.values() if instances.visible(each) and (every or not instances.hidden(each))
    )
    matching = [each for each in found if all(fits(each) for fits in wanted)]
    page, token = _page(matching, p, filtered=bool(wanted))
    reservations = "".join(_reservation_xml(list(group)) for _, group in itertools.groupby(page, _reservation))
    inner = f"<reservationSet>{reservations}</reservationSet>{token and f'<nextToken>{token}</nextToken>'}"
    return reply("DescribeInstances", inner)


def describe_regions(parameters: Parameters) -> Response:
    """DescribeRegions: the account's enabled regions; with AllRegions, the others too."""
    p = flat(parameters)
    wanted = listed(p, "RegionName")
    conditions = dict(filters.asked(p))
    items = []
    for name, status in region_statuses():
        if (status == "not-opted-in" and p.get("AllRegions") != "true") or (wanted and name not in wanted):
            continue
        shown = {"region-name": name, "opt-in-status": status, "endpoint": f"ec2.{name}.amazonaws.com"}
        if unknown := conditions.keys() - shown.keys():
            raise filters.invalid(unknown.pop())
        if all(filters.matches(shown[field], values) for field, values in conditions.items()):
            items.append(
                f"<item><regionName>{name}</regionName><regionEndpoint>{shown['endpoint']}</regionEndpoint>"
                f"<optInStatus>{status}</optInStatus></item>"
            )
    inner = f"<regionInfo>{''.join(items)}</regionInfo>"
    return reply("DescribeRegions", inner)


def region_statuses() -> Iterator[tuple[str, str]]:
    """Every region, and whether this account may use it."""
    for name, status in ec2._AWS_REGIONS:
        if status == "opt-in-not-required":
            yield name, status
        else:
            yield name, "opted-in" if name in KNOBS.opted_in_regions else "not-opted-in"


def instance_xml(original: Callable[[Instance], str]) -> Callable[[Instance], str]:
    """An instance as EC2 shows it, with what ministack leaves out."""

    def show(instance: Instance) -> str:
        operator = "".join(f"<{name}>{str(value).lower()}</{name}>" for name, value in instance["Operator"].items())
        return (
            original(instance).removesuffix("</item>")
            + instance_options.options_xml("metadataOptions", instance)
            + _network_interface_xml(instance)
            + f"<operator>{operator}</operator></item>"
        )

    return show


def install() -> None:
    """Replace the two listings, and complete an instance's XML."""
    ec2._instance_xml = instance_xml(ec2._instance_xml)
    add_actions({"DescribeInstances": describe_instances, "DescribeRegions": describe_regions})


def _filter(name: str, values: list[str]) -> Filter:
    if filters.is_on_tags(name):
        return lambda i: filters.fit_tags(name, _tags(i), values)
    if name not in _FIELDS:
        raise filters.invalid(name)
    field = _FIELDS[name]
    return lambda i: filters.matches(str(field(i)), values)


def _tags(instance: Instance) -> list[dict[str, str]]:
    tags: list[dict[str, str]] = ec2._tags.get(instance["InstanceId"], [])
    return tags


def _page(matching: list[Instance], p: dict[str, str], *, filtered: bool) -> tuple[list[Instance], str]:
    """The requested page and the token of the next. A token holds the position of the last instance listed."""
    size = p.get("MaxResults")
    if size is not None and (not size.isdigit() or int(size) not in PAGE_SIZES):
        raise AwsError("InvalidParameterValue", f"Value ( {size} ) for parameter maxResults is invalid.")
    if size is None:
        return matching, ""
    if token := p.get("NextToken"):
        last = int(base64.urlsafe_b64decode(token))
    elif KNOBS.sparse_pages and filtered and matching:
        return [], filters.token(0)
    else:
        last = 0
    rest = [each for each in matching if each["Position"] > last]
    page = rest[: int(size)]
    return page, filters.token(page[-1]["Position"]) if len(rest) > len(page) else ""


def _reservation(instance: Instance) -> str:
    return str(instance["Reservation"])


def _reservation_xml(group: list[Instance]) -> str:
    return (
        f"<item><reservationId>{_reservation(group[0])}</reservationId><ownerId>{get_account_id()}</ownerId>"
        f"<groupSet/><instancesSet>{''.join(map(ec2._instance_xml, group))}</instancesSet></item>"
    )


def _network_interface_xml(instance: Instance) -> str:
    suffix = instance["InstanceId"].removeprefix("i-")
    return (
        f"<networkInterfaceSet><item><networkInterfaceId>eni-{suffix}</networkInterfaceId><status>in-use</status>"
        f"<attachment><attachmentId>eni-attach-{suffix}</attachmentId><deviceIndex>0</deviceIndex>"
        f"<status>attached</status><attachTime>{instance['AttachTime']}</attachTime>"
        "<deleteOnTermination>true</deleteOnTermination></attachment></item></networkInterfaceSet>"
    )
