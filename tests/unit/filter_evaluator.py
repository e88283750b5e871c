"""DescribeInstances' filters, evaluated as EC2 does: values of one are OR-ed, filters are AND-ed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imds_enforcer.decision import Filters
    from imds_enforcer.model import Instance


def fits(instance: Instance, filters: Filters) -> bool:
    """True if EC2 would list the instance. A filter that is not known here is a KeyError."""
    options = instance.options
    values: dict[str, str] = {
        "instance-id": instance.instance_id,
        "instance-state-name": instance.state,
        "metadata-options.http-tokens": options.http_tokens,
        "metadata-options.http-endpoint": options.http_endpoint,
        "metadata-options.http-put-response-hop-limit": str(options.http_put_response_hop_limit),
        "metadata-options.http-protocol-ipv6": options.http_protocol_ipv6,
        "metadata-options.instance-metadata-tags": options.instance_metadata_tags,
    }
    return all(values[name] in allowed for name, allowed in filters.items())
