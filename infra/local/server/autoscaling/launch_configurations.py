"""Launch configurations, with every field that the API has (Auto Scaling User Guide, "Launch configurations")."""

from typing import Any

from ministack.core.responses import get_account_id, get_region, new_uuid, now_iso
from ministack.services import autoscaling

from infra.local.server.autoscaling.protocol import Request, add_actions, page, refused
from infra.local.server.ec2 import metadata_options
from infra.local.server.errors import AwsError

Configuration = dict[str, Any]


def known_configuration(name: str) -> Configuration:
    """The launch configuration of this name."""
    found: Configuration | None = autoscaling._launch_configs.get(name)
    if found is None:
        raise refused(f"Launch configuration name not found - Launch configuration {name} not found")
    return found


def create(request: Request) -> dict[str, Any]:
    """CreateLaunchConfiguration."""
    name = request["LaunchConfigurationName"]
    if name in autoscaling._launch_configs:
        raise AwsError(
            "AlreadyExists", f"Launch Configuration by this name already exists - A launch configuration {name} exists"
        )
    try:
        metadata_options.parse({key: str(value) for key, value in request.get("MetadataOptions", {}).items()})
    except AwsError as error:
        raise refused(error.message) from None
    place = f"{get_region()}:{get_account_id()}"
    autoscaling._launch_configs[name] = {
        **request,
        "LaunchConfigurationARN": (
            f"arn:aws:autoscaling:{place}:launchConfiguration:{new_uuid()}:launchConfigurationName/{name}"
        ),
        "CreatedTime": now_iso(),
    }
    return {}


def describe(request: Request) -> dict[str, Any]:
    """DescribeLaunchConfigurations: fields that were not set are empty, as Auto Scaling shows them."""
    names = request.get("LaunchConfigurationNames")
    empty: Configuration = dict.fromkeys(("KernelId", "RamdiskId", "KeyName", "UserData"), "")
    empty |= {"SecurityGroups": [], "BlockDeviceMappings": []}
    found = [{**empty, **each} for name, each in autoscaling._launch_configs.items() if names is None or name in names]
    return page("LaunchConfigurations", found, request)


def delete(request: Request) -> dict[str, Any]:
    """DeleteLaunchConfiguration, refused while a group launches with it."""
    name = request["LaunchConfigurationName"]
    known_configuration(name)
    for group in autoscaling._asgs.values():
        if group.get("LaunchConfigurationName") == name:
            raise AwsError(
                "ResourceInUse",
                f"Cannot delete launch configuration {name} because it is attached to AutoScalingGroup "
                f"{group['AutoScalingGroupName']}",
            )
    autoscaling._launch_configs.pop(name)
    return {}


def install() -> None:
    """Replace ministack's actions, which drop most fields."""
    add_actions(
        {
            "CreateLaunchConfiguration": create,
            "DescribeLaunchConfigurations": describe,
            "DeleteLaunchConfiguration": delete,
        }
    )
