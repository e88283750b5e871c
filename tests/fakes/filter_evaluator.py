"""DescribeInstances' filters, evaluated as EC2 does: values of one are OR-ed, filters are AND-ed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imds_enforcer.decision.drift_filters import Filters
    from imds_enforcer.model import Instance, MetadataOptions


def fits(instance: Instance, filters: Filters) -> bool:
    """True if EC2 would list the instance. A filter that this module lacks is a KeyError."""
    values: dict[str, str] = {
        "instance-id": instance.instance_id,
        "instance-state-name": instance.state,
        **_option_values(instance.options),
    }
    return all(values[name] in allowed for name, allowed in filters.items())


def _option_values(options: MetadataOptions | None) -> dict[str, str]:
    """The values that filters on options compare; unrecognized options have a value that no filter names."""
    names = (
        "metadata-options.http-tokens",
        "metadata-options.http-endpoint",
        "metadata-options.http-put-response-hop-limit",
        "metadata-options.http-protocol-ipv6",
        "metadata-options.instance-metadata-tags",
    )
    if options is None:
        return dict.fromkeys(names, "unrecognized")
    values = (
        options.http_tokens,
        options.http_endpoint,
        str(options.http_put_response_hop_limit),
        options.http_protocol_ipv6,
        options.instance_metadata_tags,
    )
    return dict(zip(names, values, strict=True))
