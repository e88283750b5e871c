"""How a group reaches its desired capacity: it launches and terminates instances in this process's EC2."""

from typing import Any

from ministack.services import autoscaling, ec2

from infra.local.server import identity
from infra.local.server.autoscaling import activities, launch_source
from infra.local.server.autoscaling.launch_source import Group
from infra.local.server.autoscaling.protocol import refused
from infra.local.server.ec2.protocol import Action, Parameters, Response
from infra.local.server.errors import AwsError
from infra.local.server.identity import Caller
from infra.local.server.service_calls import call_ec2, run_one, service_caller

INVOKED_BY = "autoscaling.amazonaws.com"
ROLE = "AWSServiceRoleForAutoScaling"


def reconcile(group: Group) -> None:
    """Launch or terminate until the group has its desired capacity, or EC2 refuses.

    Auto Scaling keeps retrying what EC2 refuses; here the next change of the group retries it.
    """
    group["Instances"] = [each for each in group["Instances"] if _state(each["InstanceId"]) != "terminated"]
    while len(group["Instances"]) < group["DesiredCapacity"]:
        if not _launch(group):
            return
    surplus = group["Instances"][group["DesiredCapacity"] :]
    del group["Instances"][group["DesiredCapacity"] :]
    for each in surplus:
        call_ec2("TerminateInstances", {"InstanceId.1": each["InstanceId"]}, _service())
        activities.succeeded(group, "Terminating", each["InstanceId"])


def check_by_dry_run(group: Group) -> None:
    """Check a group's launch by RunInstances with DryRun, as the caller.

    Auto Scaling makes a dry run at each change of the template (Auto Scaling User Guide, "Control Amazon EC2 launch
    template usage"), and refuses the change if the launch is invalid; a trail records the dry run as the caller's.
    """
    caller = identity.current()
    by_service = Caller(caller.name, {**caller.user_identity, "invokedBy": INVOKED_BY})
    _, answer = run_one({**launch_source.next_launch(group), "DryRun": "true"}, by_service)
    if answer.error != "DryRunOperation":
        raise refused(f"You must use a valid fully-formed launch template. {answer.message}")


def replacing(original: Action) -> Action:
    """TerminateInstances, after which groups replace their terminated instances."""

    def terminate(parameters: Parameters) -> Response:
        response = original(parameters)
        for group in [*autoscaling._asgs.values()]:
            if any(_state(each["InstanceId"]) == "terminated" for each in group["Instances"]):
                reconcile(group)
        return response

    return terminate


def install() -> None:
    """Make groups keep their capacity; ministack's groups have no instances."""
    ec2._ACTION_MAP["TerminateInstances"] = replacing(ec2._ACTION_MAP["TerminateInstances"])
    autoscaling._reconcile_instances = reconcile


def _service() -> Caller:
    return service_caller(INVOKED_BY, ROLE)


def _launch(group: Group) -> bool:
    try:
        parameters = launch_source.next_launch(group)
    except AwsError as error:  # its launch configuration is gone
        activities.failed(group, error.message)
        return False
    group["Launches"] = group.get("Launches", 0) + 1
    instance_id, answer = run_one(parameters, _service())
    if not instance_id:
        activities.failed(group, answer.message)
        return False
    group["Instances"].append(_member(group, instance_id))
    activities.succeeded(group, "Launching a new", instance_id)
    return True


def _state(instance_id: str) -> str:
    instance = ec2._instances.get(instance_id)
    return instance["State"]["Name"] if instance else "terminated"


def _member(group: Group, instance_id: str) -> dict[str, Any]:
    """An instance as its group shows it, with the number of its launch template's version."""
    instance = ec2._instances[instance_id]
    tags = {tag["Key"]: tag["Value"] for tag in ec2._tags.get(instance_id, ())}
    member = {
        "InstanceId": instance_id,
        "InstanceType": instance["InstanceType"],
        "AvailabilityZone": instance["Placement"]["AvailabilityZone"],
        "LifecycleState": "InService",
        "HealthStatus": "Healthy",
        "ProtectedFromScaleIn": group.get("NewInstancesProtectedFromScaleIn", False),
    }
    if name := group.get("LaunchConfigurationName"):
        return {**member, "LaunchConfigurationName": name}
    template = ec2._launch_templates[tags["aws:ec2launchtemplate:id"]]
    names = {key: template[key] for key in ("LaunchTemplateId", "LaunchTemplateName")}
    return {**member, "LaunchTemplate": {**names, "Version": tags["aws:ec2launchtemplate:version"]}}
