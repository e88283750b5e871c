"""EC2 Fleets, which launch from templates (EC2 User Guide, "EC2 Fleet and Spot Fleet")."""

from collections.abc import Callable, Mapping
from typing import Any

from ministack.core.responses import new_uuid, now_iso
from ministack.services import ec2

from infra.local.server import shapes
from infra.local.server.ec2 import filters, launch_templates
from infra.local.server.ec2.protocol import Parameters, Response, add_actions, flat, reply
from infra.local.server.errors import AwsError, dry_run
from infra.local.server.service_calls import run_one, service_caller

Slot = dict[str, Any]
"""A template, and its override if it has one."""

CREATE, DESCRIBE = "CreateFleet", "DescribeFleets"
PAGE_SIZES = range(1, 1001)
SERVICE = ("ec2fleet.amazonaws.com", "AWSServiceRoleForEC2Fleet")
FIELDS = {"type": "Type", "fleet-state": "FleetState", "activity-status": "ActivityStatus"}
OVERRIDES = ("InstanceType", "ImageId", "SubnetId")


def create(parameters: Parameters) -> Response:
    """CreateFleet, which launches the capacity at once, slot by slot; EC2 would choose by price and capacity.

    EC2 resolves `$Default` and `$Latest` at each launch. Only a fleet of type `instant` returns the instances and the
    errors.
    """
    request = shapes.request("ec2", CREATE, flat(parameters))
    slots = [slot for config in request["LaunchTemplateConfigs"] for slot in _slots(config)]
    if request.get("DryRun"):
        raise dry_run()
    fleet_id = f"fleet-{new_uuid()}"
    target = request["TargetCapacitySpecification"]
    lifecycle = target.get("DefaultTargetCapacityType", "on-demand")
    instances, errors = [], []
    for number in range(target["TotalTargetCapacity"]):
        slot = slots[number % len(slots)]
        instance_id, answer = run_one(_parameters(slot, fleet_id, request), service_caller(*SERVICE))
        common = {"LaunchTemplateAndOverrides": slot, "Lifecycle": lifecycle}
        if instance_id:
            kind = ec2._instances[instance_id]["InstanceType"]
            instances.append({**common, "InstanceIds": [instance_id], "InstanceType": kind})
        else:
            errors.append({**common, "ErrorCode": answer.error, "ErrorMessage": answer.message})
    answered = {"Instances": instances, "Errors": errors} if request.get("Type") == "instant" else {}
    ec2._parse_tag_specs(parameters, "fleet", fleet_id)
    ec2._fleets[fleet_id] = {
        "Type": "maintain",
        **request,
        "LaunchTemplateConfigs": request["LaunchTemplateConfigs"],
        "FleetId": fleet_id,
        "FleetState": "active",
        "ActivityStatus": "error" if errors else "fulfilled",
        "CreateTime": now_iso(),
        "FulfilledCapacity": float(len(instances)),
        **answered,
    }
    return reply(CREATE, shapes.answer("ec2", CREATE, {"FleetId": fleet_id, **answered}))


def describe(parameters: Parameters) -> Response:
    """DescribeFleets: by ids, or all except the instant ones, with the templates that they launch from.

    API Reference: "If a fleet is of type instant, you must specify the fleet ID in the request".
    """
    p = flat(parameters)
    request = shapes.request("ec2", DESCRIBE, p)
    if unknown := [each for each in request.get("FleetIds", ()) if each not in ec2._fleets]:
        raise AwsError("InvalidFleetId.NotFound", f"The fleet ID '{unknown[0]}' does not exist")
    fits = [_fitting(name, values) for name, values in filters.asked(p)]
    lasting = [key for key, each in ec2._fleets.items() if each["Type"] != "instant"]
    found = [ec2._fleets[each] for each in request.get("FleetIds", lasting)]
    found = [each for each in found if all(fit(each) for fit in fits)]
    page, token = filters.page(found, p, PAGE_SIZES)
    shown = [{**each, "Tags": ec2._tags.get(each["FleetId"], [])} for each in page]
    output = {"Fleets": shown, **({"NextToken": token} if token else {})}
    return reply(DESCRIBE, shapes.answer("ec2", DESCRIBE, output))


def install() -> None:
    """Replace ministack's actions, which launch without a template's options and do not show the template."""
    add_actions({CREATE: create, DESCRIBE: describe})


def _fitting(name: str, values: list[str]) -> Callable[[Mapping[str, Any]], bool]:
    if name not in FIELDS:
        raise filters.invalid(name)
    return lambda fleet: filters.matches(fleet[FIELDS[name]], values)


def _slots(config: dict[str, Any]) -> list[Slot]:
    """The slots of a configuration; its template gets both id and name."""
    specification = config["LaunchTemplateSpecification"]
    launch_templates.resolved(specification)
    template = launch_templates.known_template(specification)
    named = {name: template[name] for name in ("LaunchTemplateId", "LaunchTemplateName")}
    config["LaunchTemplateSpecification"] = {**specification, **named}
    overrides = config.get("Overrides") or [{}]
    return [
        {"LaunchTemplateSpecification": config["LaunchTemplateSpecification"], "Overrides": each} for each in overrides
    ]


def _parameters(slot: Slot, fleet_id: str, request: Mapping[str, Any]) -> dict[str, str]:
    """A slot as parameters of RunInstances; overrides replace the template's values, metadata options included."""
    template, override = slot["LaunchTemplateSpecification"], slot["Overrides"]
    said = {name: override[name] for name in OVERRIDES if name in override}
    said |= {f"MetadataOptions.{name}": str(value) for name, value in override.get("MetadataOptions", {}).items()}
    tags = {"aws:ec2:fleet-id": fleet_id}
    for each in request.get("TagSpecifications", ()):
        if each["ResourceType"] == "instance":
            tags |= {tag["Key"]: tag.get("Value", "") for tag in each.get("Tags", ())}
    said["TagSpecification.1.ResourceType"] = "instance"
    for number, (key, value) in enumerate(tags.items(), 1):
        said |= {f"TagSpecification.1.Tag.{number}.Key": key, f"TagSpecification.1.Tag.{number}.Value": value}
    return {
        "LaunchTemplate.LaunchTemplateId": template["LaunchTemplateId"],
        "LaunchTemplate.Version": template.get("Version", "$Default"),
        **said,
    }
