"""Spot Fleets with the templates that they name; here they launch nothing."""

import time
import uuid

from ministack.core.responses import AccountRegionScopedDict

from infra.local.server import shapes
from infra.local.server.ec2 import filters
from infra.local.server.ec2.protocol import Parameters, Response, add_actions, flat, listed, reply
from infra.local.server.errors import AwsError, dry_run

REQUEST, DESCRIBE = "RequestSpotFleet", "DescribeSpotFleetRequests"
PAGE_SIZES = range(1, 1001)

_spot_fleets = AccountRegionScopedDict()
"""The requests by id, as EC2 shows them."""


def request(parameters: Parameters) -> Response:
    """RequestSpotFleet."""
    asked = shapes.request("ec2", REQUEST, flat(parameters))
    config = asked.get("SpotFleetRequestConfig", {})
    if not config.get("LaunchTemplateConfigs") and not config.get("LaunchSpecifications"):
        raise AwsError("InvalidSpotFleetRequestConfig", "Launch specifications or a launch template are required.")
    if asked.get("DryRun"):
        raise dry_run()
    fleet_id = f"sfr-{uuid.uuid4()}"
    _spot_fleets[fleet_id] = {
        "SpotFleetRequestId": fleet_id,
        "SpotFleetRequestState": "active",
        "CreateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "SpotFleetRequestConfig": config,
    }
    return reply(REQUEST, shapes.answer("ec2", REQUEST, {"SpotFleetRequestId": fleet_id}))


def describe(parameters: Parameters) -> Response:
    """DescribeSpotFleetRequests: those with these ids, or all."""
    p = flat(parameters)
    ids = listed(p, "SpotFleetRequestId")
    if unknown := [each for each in ids if each not in _spot_fleets]:
        raise AwsError("InvalidSpotFleetRequestId.NotFound", f"The spot fleet request ID '{unknown[0]}' does not exist")
    if p.get("DryRun") == "true":
        raise dry_run()
    page, token = filters.page([_spot_fleets[each] for each in ids or _spot_fleets], p, PAGE_SIZES)
    output = {"SpotFleetRequestConfigs": page, **({"NextToken": token} if token else {})}
    return reply(DESCRIBE, shapes.answer("ec2", DESCRIBE, output))


def install() -> None:
    """Add them to EC2."""
    add_actions({REQUEST: request, DESCRIBE: describe})
