"""The new version of a launch template, which requires tokens: the request, and the check of what EC2 created."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imds_enforcer_cli.launches.inventory import Version

Data = Mapping[str, Any]
"""The content of a version, under EC2's own names."""

OPTIONS = "MetadataOptions"
TOKENS, HOP_LIMIT = "HttpTokens", "HttpPutResponseHopLimit"
_ENDPOINT, _ENABLED = "HttpEndpoint", "enabled"
_DEVICES = "BlockDeviceMappings"
_STATE = "State"

_MARK = re.compile(r"imds-enforcer launches fix: (copy|fix) of version (\d+), run (\S+)")


@dataclass(frozen=True, slots=True)
class Mark:
    """The description of a version that a fix created: the number of its source, and the run.

    It stands in for tags, which versions do not have. A `copy` only serves to learn which warnings EC2 has about the
    source, and is deleted at once.
    """

    source: str
    run_id: str
    copy: bool = False

    def __str__(self) -> str:
        return (
            f"imds-enforcer launches fix: {'copy' if self.copy else 'fix'} of version {self.source}, run {self.run_id}"
        )


def mark_of(version: Version) -> Mark | None:
    """The version's mark; None if no fix created the version."""
    found = _MARK.fullmatch(version.description)
    return Mark(found[2], found[3], copy=found[1] == "copy") if found else None


def options_of(data: Data) -> dict[str, Any]:
    """A version's metadata options, without State, which EC2 does not accept in a request."""
    return {name: value for name, value in data.get(OPTIONS, {}).items() if name != _STATE}


def wanted_options(data: Data, hop_limit: int | None) -> dict[str, Any]:
    """Every option of the source, with tokens required, and with this hop limit unless it is None.

    All options are sent, because AWS does not document whether EC2 merges them with the source's options or replaces
    the source's options by them.
    """
    hops = {} if hop_limit is None else {HOP_LIMIT: hop_limit}
    return {**options_of(data), TOKENS: "required", **hops}


def sent_data(data: Data, options: Mapping[str, Any]) -> dict[str, Any]:
    """The data to send for a new version: all that it does not inherit from its source.

    Snapshots are not inherited: "Snapshots applied to the block device mapping are ignored when creating a new version
    unless they are explicitly included" (EC2 API Reference, "CreateLaunchTemplateVersion"). So if any device has a
    snapshot, all mappings are sent.
    """
    devices = data.get(_DEVICES, ())
    has_snapshot = any("SnapshotId" in each.get("Ebs", {}) for each in devices)
    return {OPTIONS: dict(options), **({_DEVICES: devices} if has_snapshot else {})}


def copied_data(data: Data) -> dict[str, Any]:
    """The data to send for an unchanged copy of the source; EC2 does not accept an empty one."""
    sent = sent_data(data, options_of(data))
    if not sent[OPTIONS]:
        del sent[OPTIONS]
    return sent or {name: data[name] for name in ("ImageId", "InstanceType") if name in data}


def version_request(source: Version, data: Mapping[str, Any], mark: Mark) -> dict[str, Any]:
    """The request for a new version with this data, and with everything else from its source.

    The client token makes EC2 create a single version, however often a run sends the request.
    """
    return {
        "LaunchTemplateId": source.template.id,
        "SourceVersion": source.template.version,
        "VersionDescription": str(mark),
        "LaunchTemplateData": dict(data),
        "ClientToken": f"{mark.run_id}-{source.template.id}-{source.template.version}{'-copy' if mark.copy else ''}",
    }


def changed_fields(source: Data, made: Data) -> list[str]:
    """The fields, other than the metadata options, in which two versions differ."""
    fields = sorted({*source, *made} - {OPTIONS})
    return [name for name in fields if source.get(name) != made.get(name)]


def differences(source: Data, made: Data, options: Mapping[str, Any]) -> list[str]:
    """The fields in which a version differs from its source with these metadata options; empty if it is correct.

    EC2 may show the endpoint as enabled although only other options were sent (acceptance tests of Terraform's AWS
    provider, "metadataOptionsNoHTTPEndpoint"). That is no change: a version whose endpoint is off is never fixed.
    """
    shown = options_of(made)
    if shown.get(_ENDPOINT) == _ENABLED:
        options = {_ENDPOINT: _ENABLED, **options}
    wrong = [name for name in sorted({*options, *shown}) if options.get(name) != shown.get(name)]
    return [*changed_fields(source, made), *(f"{OPTIONS}.{name}" for name in wrong)]
