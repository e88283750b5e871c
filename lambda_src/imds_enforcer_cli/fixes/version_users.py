"""Finds what names a version of a launch template by its number: groups, node groups and fleets."""

from collections.abc import Iterator, Mapping
from typing import Any

from imds_enforcer.model import LaunchTemplate
from imds_enforcer_cli.launches.pages import listed
from imds_enforcer_cli.launches.reader import LaunchReader

_ENDED = frozenset({"deleted", "failed", "deleted_terminating", "cancelled", "cancelled_terminating"})
"""States of fleets that no longer launch anything (EC2 API Reference, "FleetData", "SpotFleetRequestConfig")."""


class VersionUsers:
    """The users of one region, read once for all templates."""

    def __init__(self, ec2: Any, reads: LaunchReader) -> None:
        self._ec2 = ec2
        self._reads = reads
        self._found: list[tuple[LaunchTemplate, str]] | None = None

    def of(self, template_id: str, name: str, version: str) -> list[str]:
        """What names this version; fleets name a template by its id or by its name.

        Raises:
            AwsError: if any of them could not be read: a version is deleted only if nothing is known to use it.
        """
        if self._found is None:
            self._found = [*self._groups(), *self._fleets(), *self._spot_fleets()]
        named = {LaunchTemplate(each, version) for each in (template_id, name) if each}
        return list(dict.fromkeys(user for template, user in self._found if template in named))

    def _groups(self) -> Iterator[tuple[LaunchTemplate, str]]:
        found = self._reads.read_users()
        for error in found.failures.values():
            raise error
        for group in found.groups.values():
            for launch in group.launches:
                yield launch.template, f"Auto Scaling group {group.name}"
        for node_group in found.node_groups:
            if node_group.template:
                yield node_group.template, f"node group {node_group}"

    def _fleets(self) -> Iterator[tuple[LaunchTemplate, str]]:
        for fleet in listed(self._ec2.describe_fleets, "Fleets"):
            if fleet.get("FleetState") not in _ENDED:
                yield from _named(fleet, f"fleet {fleet.get('FleetId')}")

    def _spot_fleets(self) -> Iterator[tuple[LaunchTemplate, str]]:
        for fleet in listed(self._ec2.describe_spot_fleet_requests, "SpotFleetRequestConfigs"):
            if fleet.get("SpotFleetRequestState") not in _ENDED:
                yield from _named(fleet.get("SpotFleetRequestConfig", {}), f"Spot Fleet {fleet['SpotFleetRequestId']}")


def _named(config: Mapping[str, Any], user: str) -> Iterator[tuple[LaunchTemplate, str]]:
    for each in config.get("LaunchTemplateConfigs", ()):
        used = each.get("LaunchTemplateSpecification", {})
        for field in ("LaunchTemplateId", "LaunchTemplateName"):
            if used.get(field):
                yield LaunchTemplate(used[field], str(used.get("Version", ""))), user
