"""Lists an account's launchers, all regions in parallel and independent of each other."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from imds_enforcer.aws.ec2 import Ec2Region
from imds_enforcer.model import AwsError, Instance, Kind
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.launches.inventory import Inventory
from imds_enforcer_cli.launches.launcher import Launcher
from imds_enforcer_cli.launches.launchers import launchers
from imds_enforcer_cli.launches.reader import LaunchReader

_AT_ONCE = 8
"""Regions read at the same time."""

_SERVICES = {"groups": "Auto Scaling", "configurations": "Auto Scaling", "node_groups": "EKS"}
_EC2 = "EC2"
_KINDS = {
    "instances": "instances",
    "defaults": "defaults",
    "groups": "groups",
    "configurations": "launch configurations",
    "node_groups": "node groups",
    "templates": "launch templates",
    "versions": "versions of launch templates",
    "images": "images",
}
"""The names of what could not be read, in the order of a message."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A kind of launcher that could not be read in a region, and why."""

    region: str
    kind: str
    error: AwsError

    @property
    def service(self) -> str:
        """The AWS service that failed to list it."""
        return _SERVICES.get(self.kind, _EC2)


@dataclass(slots=True)
class RegionLaunchers:
    """A region's launchers, its instances, and what could not be read; `listed` if at least something could."""

    region: str
    inventory: Inventory = field(default_factory=Inventory)
    instances: list[Instance] = field(default_factory=list)
    launchers: list[Launcher] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    listed: bool = False

    @property
    def failed(self) -> bool:
        """True if something could not be read. An organization's denial does not count: it is intended."""
        return any(not each.error.failure.denied_by_organization for each in self.unread)


def reader(reached: Connection, region: str) -> LaunchReader:
    """The reader of a region. Call this before starting threads: only one thread may create a session's clients."""
    return LaunchReader(*(reached.client(service, region) for service in ("ec2", "autoscaling", "eks")))


def list_launchers(reached: Connection, regions: Sequence[str]) -> list[RegionLaunchers]:
    """List every region, in the order given; a region that cannot be read does not stop the others.

    Raises:
        AwsError: if AWS does not accept the credentials.
    """
    readers = {region: reader(reached, region) for region in regions}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="region") as pool:
        try:
            return list(pool.map(lambda each: region_launchers(reached.clients.ec2(each), readers[each]), regions))
        finally:
            # After an interruption, or if AWS rejects the credentials, do not wait for the other regions.
            pool.shutdown(wait=False, cancel_futures=True)


def unread_in(region: str, inventory: Inventory) -> list[Unread]:
    """What could not be read for an inventory."""
    return [Unread(region, kind, inventory.failures[kind]) for kind in _KINDS if kind in inventory.failures]


def said(unread: Iterable[Unread]) -> list[str]:
    """One line for each service and error code, over all regions: a denied service is usually denied everywhere."""
    alike: dict[tuple[str, str], list[Unread]] = defaultdict(list)
    for each in unread:
        alike[each.service, each.error.failure.code].append(each)
    return [_line(service, some) for (service, _), some in alike.items()]


def _line(service: str, alike: Sequence[Unread]) -> str:
    what = ", ".join(name for kind, name in _KINDS.items() if any(each.kind == kind for each in alike))
    regions = ", ".join(dict.fromkeys(each.region for each in alike))
    return f"{service} did not list {what} in {regions}: {alike[0].error}"


def region_launchers(ec2: Ec2Region, reads: LaunchReader) -> RegionLaunchers:
    """List one region.

    Raises:
        AwsError: if AWS does not accept the credentials.
    """
    found = RegionLaunchers(ec2.name)
    try:
        for page in ec2.find({}):
            found.instances += page
    except AwsError as error:
        if error.failure.kind is Kind.CREDENTIALS:
            raise
        found.unread.append(Unread(ec2.name, "instances", error))
        if error.failure.of_credentials:
            return found  # a region that rejects the credentials rejects them in every service
    found.inventory = reads.read(images={each.image_id for each in found.instances})
    launched = ((each.instance_id, each.source) for each in found.instances)
    found.launchers = launchers(ec2.name, found.inventory, launched)
    found.unread += unread_in(ec2.name, found.inventory)
    found.listed = bool(_KINDS.keys() - {each.kind for each in found.unread} - {"images"})
    return found
