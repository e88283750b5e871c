"""A group's next launch, as parameters of RunInstances."""

from collections.abc import Iterator, Mapping
from typing import Any

from infra.local.server.autoscaling.launch_configurations import known_configuration
from infra.local.server.autoscaling.protocol import refused
from infra.local.server.ec2 import launch_templates
from infra.local.server.errors import AwsError
from infra.local.server.knobs import KNOBS

Group = dict[str, Any]
SOURCES = ("LaunchConfigurationName", "LaunchTemplate", "MixedInstancesPolicy")


def checked(request: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    """The one source that a request names; its templates get both id and name."""
    named = {source: request[source] for source in SOURCES if source in request}
    if len(named) > 1 or (required and not named):
        raise refused(
            "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or "
            "MixedInstancesPolicy parameter."
        )
    if "LaunchConfigurationName" in named:
        known_configuration(named["LaunchConfigurationName"])
    for specification in _specifications(named):
        specification.update(_completed(specification))
    return named


def next_launch(group: Group) -> dict[str, str]:
    """The parameters of the group's next launch.

    EC2 resolves versions at each launch. Overrides take turns; Auto Scaling would choose by price and capacity.
    """
    if name := group.get("LaunchConfigurationName"):
        return _of_configuration(known_configuration(name)) | _of_group(group)
    mixed = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    overrides = mixed.get("Overrides") or [{}]
    override = overrides[group.get("Launches", 0) % len(overrides)]
    template = (
        override.get("LaunchTemplateSpecification")
        or mixed.get("LaunchTemplateSpecification")
        or group["LaunchTemplate"]
    )
    changed = {name: override[name] for name in ("InstanceType", "ImageId") if name in override}
    return {
        "LaunchTemplate.LaunchTemplateId": template["LaunchTemplateId"],
        "LaunchTemplate.Version": template.get("Version", "$Default"),
        **changed,
        **_of_group(group),
    }


def _specifications(source: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    mixed = source.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    for holder in (mixed, *mixed.get("Overrides", ())):
        if "LaunchTemplateSpecification" in holder:
            yield holder["LaunchTemplateSpecification"]
    if "LaunchTemplate" in source:
        yield source["LaunchTemplate"]


def _completed(specification: Mapping[str, str]) -> dict[str, str]:
    """The template's id and name; a request gives one of them, Describe shows both."""
    try:
        launch_templates.resolved(specification)
        template = launch_templates.known_template(specification)
    except AwsError as error:
        raise refused(f"You must use a valid fully-formed launch template. {error.message}") from None
    names = {name: template[name] for name in ("LaunchTemplateId", "LaunchTemplateName")}
    return {**names, "Version": specification.get("Version", "$Default")}


def _of_configuration(configuration: Mapping[str, Any]) -> dict[str, str]:
    """A launch configuration, as parameters of a request.

    "If you don't specify a value, the default is to support both" (Auto Scaling User Guide, "Configure instance
    metadata options"). Whether an account default overrides this is not documented: the knob
    `configurations_allow_imdsv1` decides.
    """
    names = ("ImageId", "InstanceType", "KeyName", "UserData")
    said = {name: configuration[name] for name in names if configuration.get(name)}
    if profile := configuration.get("IamInstanceProfile"):
        said[f"IamInstanceProfile.{'Arn' if profile.startswith('arn:') else 'Name'}"] = profile
    options = configuration.get("MetadataOptions", {})
    if KNOBS.configurations_allow_imdsv1:
        options = {"HttpTokens": "optional", **options}
    return said | {f"MetadataOptions.{name}": str(value) for name, value in options.items()}


def _of_group(group: Group) -> dict[str, str]:
    """The tags that a group gives to its instances, and its first subnet."""
    tags = {"aws:autoscaling:groupName": group["AutoScalingGroupName"]}
    tags |= {tag["Key"]: tag.get("Value", "") for tag in group.get("Tags", ()) if tag.get("PropagateAtLaunch")}
    parameters = {"TagSpecification.1.ResourceType": "instance"}
    for number, (key, value) in enumerate(tags.items(), 1):
        parameters[f"TagSpecification.1.Tag.{number}.Key"] = key
        parameters[f"TagSpecification.1.Tag.{number}.Value"] = value
    if subnets := group.get("VPCZoneIdentifier"):
        parameters["SubnetId"] = subnets.split(",")[0]
    return parameters
