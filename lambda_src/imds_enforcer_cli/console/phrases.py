"""Options and results, in the words and columns that commands have in common."""

from collections.abc import Sequence

from imds_enforcer.model import MetadataOptions, Result
from imds_enforcer.model.region_defaults import RegionDefaults
from imds_enforcer_cli.console.output import Cell

RESULT_HEADINGS = ("INSTANCE", "OUTCOME", "REASON")

SETTINGS = ("HttpTokens", "HttpEndpoint", "HttpPutResponseHopLimit", "HttpProtocolIpv6", "InstanceMetadataTags")

_STATE = "State"
"""Whether the options are applied yet: beside them, and not one of them."""


def options_columns(of: str) -> list[str]:
    """The columns of some options, as those `before`."""
    return [f"{of}.{name}" for name in (*SETTINGS, _STATE)]


def changes(
    now: MetadataOptions | RegionDefaults, then: MetadataOptions | RegionDefaults
) -> dict[str, tuple[str | int, str | int]]:
    """The options, or the defaults, that differ, under EC2's own names, each with its value now and then."""
    old, new = now.as_log(), then.as_log()
    return {name: (old[name], new[name]) for name in old if name != _STATE and old[name] != new[name]}


def arrows(differing: dict[str, tuple[str | int, str | int]]) -> list[str]:
    """Options that differ, as a person reads them."""
    return [f"{name}: {old} → {new}" for name, (old, new) in differing.items()]


def result_row(result: Result) -> Sequence[Cell]:
    """What became of one instance."""
    return (result.instance_id, result.region), (str(result.outcome),), (result.reason,)
