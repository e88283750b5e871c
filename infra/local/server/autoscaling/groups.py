"""Auto Scaling groups: create, update, scale, describe and delete them (Auto Scaling API Reference)."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from ministack.core.responses import get_region, now_iso
from ministack.services import autoscaling

from infra.local.server.autoscaling import launch_source, scaling
from infra.local.server.autoscaling.launch_source import SOURCES, Group
from infra.local.server.autoscaling.protocol import Request, add_actions, page, refused
from infra.local.server.ec2 import filters
from infra.local.server.errors import AwsError

SIZES = ("MinSize", "MaxSize", "DesiredCapacity")


def known_group(name: str) -> Group:
    """The group of this name."""
    found: Group | None = autoscaling._asgs.get(name)
    if found is None:
        raise refused(f"AutoScalingGroup name not found - AutoScalingGroup {name} not found")
    return found


def create(request: Request) -> dict[str, Any]:
    """CreateAutoScalingGroup, which launches its instances at once."""
    name = request["AutoScalingGroupName"]
    if name in autoscaling._asgs:
        raise AwsError(
            "AlreadyExists", f"AutoScalingGroup by this name already exists - A group with the name {name} exists"
        )
    source = launch_source.checked(request, required=True)
    tags = [
        {"ResourceId": name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False, **tag}
        for tag in request.get("Tags", ())
    ]
    group: Group = {
        "DesiredCapacity": request["MinSize"],
        "DefaultCooldown": 300,
        "AvailabilityZones": [f"{get_region()}a"],
        "HealthCheckType": "EC2",
        "HealthCheckGracePeriod": 0,
        "VPCZoneIdentifier": "",
        "TerminationPolicies": ["Default"],
        "NewInstancesProtectedFromScaleIn": False,
        **request,
        **source,
        "AutoScalingGroupARN": autoscaling._asg_arn(name),
        "CreatedTime": now_iso(),
        "Instances": [],
        "Tags": tags,
    }
    _check_sizes(group)
    if "LaunchConfigurationName" not in source:
        scaling.check_by_dry_run(group)
    autoscaling._asgs[name] = group
    autoscaling._tags[name] = tags
    scaling.reconcile(group)
    return {}


def update(request: Request) -> dict[str, Any]:
    """UpdateAutoScalingGroup: fields not named stay, and so do the instances; a new source replaces the old one."""
    group = known_group(request["AutoScalingGroupName"])
    source = launch_source.checked(request, required=False)
    kept = {name: value for name, value in group.items() if not source or name not in SOURCES}
    changed = {**kept, **request, **source}
    if "DesiredCapacity" not in request:
        changed["DesiredCapacity"] = min(max(group["DesiredCapacity"], changed["MinSize"]), changed["MaxSize"])
    _check_sizes(changed)
    if source and "LaunchConfigurationName" not in source:
        scaling.check_by_dry_run(changed)
    group.clear()
    group.update(changed)
    scaling.reconcile(group)
    return {}


def set_desired_capacity(request: Request) -> dict[str, Any]:
    """SetDesiredCapacity, within the group's sizes; setting the same number again retries failed launches."""
    group = known_group(request["AutoScalingGroupName"])
    desired = request["DesiredCapacity"]
    if not group["MinSize"] <= desired <= group["MaxSize"]:
        below = desired < group["MinSize"]
        wrong = f"below min value {group['MinSize']}" if below else f"above max value {group['MaxSize']}"
        raise refused(f"New SetDesiredCapacity value {desired} is {wrong} for the AutoScalingGroup.")
    group["DesiredCapacity"] = desired
    scaling.reconcile(group)
    return {}


def describe(request: Request) -> dict[str, Any]:
    """DescribeAutoScalingGroups: by names and by tags, in pages."""
    names, conditions = request.get("AutoScalingGroupNames"), request.get("Filters", ())
    fits = [_filter(each["Name"], each.get("Values", [])) for each in conditions]
    found = [
        _shown(group)
        for name, group in autoscaling._asgs.items()
        if (names is None or name in names) and all(fit(group) for fit in fits)
    ]
    return page("AutoScalingGroups", found, request)


def describe_instances(request: Request) -> dict[str, Any]:
    """DescribeAutoScalingInstances."""
    ids = request.get("InstanceIds")
    found = [
        {**each, "AutoScalingGroupName": name}
        for name, group in autoscaling._asgs.items()
        for each in group["Instances"]
        if ids is None or each["InstanceId"] in ids
    ]
    return page("AutoScalingInstances", found, request)


def delete(request: Request) -> dict[str, Any]:
    """DeleteAutoScalingGroup: with ForceDelete, its instances too; otherwise only if it has none."""
    name = request["AutoScalingGroupName"]
    group = known_group(name)
    if group["Instances"] and not request.get("ForceDelete"):
        raise AwsError(
            "ResourceInUse",
            "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still "
            "in the group.",
        )
    group["DesiredCapacity"] = 0
    scaling.reconcile(group)
    autoscaling._delete_asg({"AutoScalingGroupName": name})
    return {}


def install() -> None:
    """Replace ministack's groups."""
    add_actions(
        {
            "CreateAutoScalingGroup": create,
            "UpdateAutoScalingGroup": update,
            "SetDesiredCapacity": set_desired_capacity,
            "DescribeAutoScalingGroups": describe,
            "DescribeAutoScalingInstances": describe_instances,
            "DeleteAutoScalingGroup": delete,
        }
    )


def _check_sizes(group: Mapping[str, Any]) -> None:
    least, most, desired = (group[name] for name in SIZES)
    if not least <= desired <= most:
        raise refused(f"Desired capacity:{desired} must be between the specified min size:{least} and max size:{most}")


def _shown(group: Group) -> dict[str, Any]:
    """A group as Auto Scaling shows it, without empty fields."""
    shown = {name: value for name, value in group.items() if value not in ("", {})}
    if "MixedInstancesPolicy" in shown:
        policy = copy.deepcopy(shown["MixedInstancesPolicy"])
        policy["InstancesDistribution"] = {
            "OnDemandAllocationStrategy": "prioritized",
            "OnDemandBaseCapacity": 0,
            "OnDemandPercentageAboveBaseCapacity": 100,
            "SpotAllocationStrategy": "lowest-price",
            **policy.get("InstancesDistribution", {}),
        }
        policy["LaunchTemplate"].setdefault("Overrides", [])
        shown["MixedInstancesPolicy"] = policy
    return shown


def _filter(name: str, values: list[str]) -> Callable[[Group], bool]:
    if name == "tag-value":
        return lambda group: any(filters.matches(tag.get("Value", ""), values) for tag in group["Tags"])
    if not filters.is_on_tags(name):
        raise refused(f"Invalid filter name '{name}'")
    return lambda group: filters.fit_tags(name, group["Tags"], values)
