"""The version of a launch template that requires tokens: what is asked of EC2, and whether that is what EC2 made."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imds_enforcer_cli.launches.inventory import Version

Data = Mapping[str, Any]
"""What a version consists of, under EC2's own names."""

OPTIONS = "MetadataOptions"
TOKENS, HOP_LIMIT = "HttpTokens", "HttpPutResponseHopLimit"
_ENDPOINT, _ENABLED = "HttpEndpoint", "enabled"
_DEVICES = "BlockDeviceMappings"
_STATE = "State"

_MARK = re.compile(r"imds-enforcer launches fix: (copy|fix) of version (\d+), run (\S+)")


@dataclass(frozen=True, slots=True)
class Mark:
    """What the description of a version that a fix made says: the number of the version it was made from, and the run.

    Versions have no tags. A `copy` was made to learn which warnings the source has, and is deleted at once.
    """

    source: str
    run_id: str
    copy: bool = False

    def __str__(self) -> str:
        return (
            f"imds-enforcer launches fix: {'copy' if self.copy else 'fix'} of version {self.source}, run {self.run_id}"
        )


def mark_of(version: Version) -> Mark | None:
    """The mark; None on a version that no fix made."""
    found = _MARK.fullmatch(version.description)
    return Mark(found[2], found[3], copy=found[1] == "copy") if found else None


def options_of(data: Data) -> dict[str, Any]:
    """The metadata options of a version, without their State, which a request does not take."""
    return {name: value for name, value in data.get(OPTIONS, {}).items() if name != _STATE}


def wanted_options(data: Data, hop_limit: int | None) -> dict[str, Any]:
    """Every option of the source, with tokens required, and with this hop limit unless it is None.

    All of them: whether EC2 adds the options that are sent to the source's, or puts them in their place, is not
    documented.
    """
    hops = {} if hop_limit is None else {HOP_LIMIT: hop_limit}
    return {**options_of(data), TOKENS: "required", **hops}


def sent_data(data: Data, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a new version takes beside what it inherits from its source.

    A snapshot is not inherited: "Snapshots applied to the block device mapping are ignored when creating a new version
    unless they are explicitly included" (EC2 API Reference, "CreateLaunchTemplateVersion"). So where there is one, the
    mappings are sent whole.
    """
    devices = data.get(_DEVICES, ())
    has_snapshot = any("SnapshotId" in each.get("Ebs", {}) for each in devices)
    return {OPTIONS: dict(options), **({_DEVICES: devices} if has_snapshot else {})}


def copied_data(data: Data) -> dict[str, Any]:
    """What makes an unchanged copy of the source: empty if there is nothing to send, which EC2 does not take."""
    sent = sent_data(data, options_of(data))
    if not sent[OPTIONS]:
        del sent[OPTIONS]
    return sent or {name: data[name] for name in ("ImageId", "InstanceType") if name in data}


def version_request(source: Version, data: Mapping[str, Any], mark: Mark) -> dict[str, Any]:
    """The request for a new version with this data, beside all else that its source has.

    By its token EC2 makes one version, however often a run sends the request.
    """
    return {
        "LaunchTemplateId": source.template.id,
        "SourceVersion": source.template.version,
        "VersionDescription": str(mark),
        "LaunchTemplateData": dict(data),
        "ClientToken": f"{mark.run_id}-{source.template.id}-{source.template.version}{'-copy' if mark.copy else ''}",
    }


def changed_fields(source: Data, made: Data) -> list[str]:
    """The fields beside the metadata options in which two versions differ."""
    fields = sorted({*source, *made} - {OPTIONS})
    return [name for name in fields if source.get(name) != made.get(name)]


def differences(source: Data, made: Data, options: Mapping[str, Any]) -> list[str]:
    """The fields in which a version is not its source with these metadata options; empty if it is as it was to be.

    EC2 may show the endpoint as enabled where only other options were sent (so the acceptance tests of Terraform's AWS
    provider, "metadataOptionsNoHTTPEndpoint"). That is no change: a launch whose endpoint is off is not fixed.
    """
    shown = options_of(made)
    if shown.get(_ENDPOINT) == _ENABLED:
        options = {_ENDPOINT: _ENABLED, **options}
    wrong = [name for name in sorted({*options, *shown}) if options.get(name) != shown.get(name)]
    return [*changed_fields(source, made), *(f"{OPTIONS}.{name}" for name in wrong)]
