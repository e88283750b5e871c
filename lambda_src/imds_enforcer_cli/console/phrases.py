"""Metadata options and results, in the words and columns that commands share."""

from collections.abc import Sequence

from imds_enforcer.model import MetadataOptions, Result
from imds_enforcer.model.region_defaults import RegionDefaults
from imds_enforcer_cli.console.output import Cell

RESULT_HEADINGS = ("INSTANCE", "OUTCOME", "REASON")

SETTINGS = ("HttpTokens", "HttpEndpoint", "HttpPutResponseHopLimit", "HttpProtocolIpv6", "InstanceMetadataTags")

_STATE = "State"
"""Whether EC2 has applied the options; it is reported with them, but is not an option itself."""


def options_columns(of: str) -> list[str]:
    """The columns of one set of options, such as `before`."""
    return [f"{of}.{name}" for name in (*SETTINGS, _STATE)]


def changes(
    now: MetadataOptions | RegionDefaults, then: MetadataOptions | RegionDefaults
) -> dict[str, tuple[str | int, str | int]]:
    """The options or defaults that differ, by EC2's names, with their values in `now` and `then`."""
    old, new = now.as_log(), then.as_log()
    return {name: (old[name], new[name]) for name in old if name != _STATE and old[name] != new[name]}


def arrows(differing: dict[str, tuple[str | int, str | int]]) -> list[str]:
    """The options that differ, as text for people."""
    return [f"{name}: {old} → {new}" for name, (old, new) in differing.items()]


def result_row(result: Result) -> Sequence[Cell]:
    """One instance's outcome, as a row."""
    return (result.instance_id, result.region), (str(result.outcome),), (result.reason,)
