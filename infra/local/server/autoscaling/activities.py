"""What a group did to reach its desired capacity: DescribeScalingActivities."""

from typing import Any

from ministack.core.responses import AccountRegionScopedDict, new_uuid, now_iso

from infra.local.server.autoscaling.protocol import Request, add_actions, page

_activities = AccountRegionScopedDict()
"""The activities of each group, by its name, newest first."""


def succeeded(group: dict[str, Any], did: str, instance_id: str) -> None:
    """Record that an instance was launched or terminated."""
    _add(group, {"Description": f"{did} EC2 instance: {instance_id}", "StatusCode": "Successful"})


def failed(group: dict[str, Any], reason: str) -> None:
    """Record that EC2 refused a launch."""
    status = {"StatusCode": "Failed", "StatusMessage": f"{reason} Launching EC2 instance failed."}
    _add(group, {"Description": f"Launching a new EC2 instance.  Status Reason: {status['StatusMessage']}", **status})


def describe(request: Request) -> dict[str, Any]:
    """DescribeScalingActivities, of one group or all, the newest first."""
    name, ids = request.get("AutoScalingGroupName"), request.get("ActivityIds")
    found = [
        activity
        for group, activities in _activities.items()
        for activity in activities
        if name in (None, group) and (ids is None or activity["ActivityId"] in ids)
    ]
    return page("Activities", found, request)


def install() -> None:
    """Replace ministack's action, which returns no activities."""
    add_actions({"DescribeScalingActivities": describe})


def _add(group: dict[str, Any], activity: dict[str, Any]) -> None:
    now, name = now_iso(), group["AutoScalingGroupName"]
    complete = {
        "ActivityId": new_uuid(),
        "AutoScalingGroupName": name,
        "AutoScalingGroupARN": group["AutoScalingGroupARN"],
        "Cause": f"At {now} a difference between desired and actual capacity was seen: {len(group['Instances'])} of "
        f"{group['DesiredCapacity']}.",
        "StartTime": now,
        "EndTime": now,
        "Progress": 100,
        "Details": "{}",
        **activity,
    }
    _activities[name] = [complete, *_activities.get(name, [])]
