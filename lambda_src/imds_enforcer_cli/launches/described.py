"""Converts the answers of EC2, Auto Scaling and EKS into inventory objects."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imds_enforcer.model import LaunchTemplate
from imds_enforcer_cli.launches.inventory import (
    DEFAULT,
    Configuration,
    Group,
    Image,
    Marks,
    NodeGroup,
    Template,
    TemplateLaunch,
    Version,
)
from imds_enforcer_cli.launches.precedence import Recipe, RegionDefaults

Described = Mapping[str, Any]


def template(item: Described) -> Template:
    """A launch template."""
    marks = Marks(_tags(item), item.get("CreatedBy", ""), _operator(item))
    return Template(item["LaunchTemplateId"], item.get("LaunchTemplateName", ""), marks)


def version(item: Described) -> Version:
    """A version of a launch template."""
    named = LaunchTemplate(item["LaunchTemplateId"], str(item["VersionNumber"]))
    data = item["LaunchTemplateData"]
    given = (each for each in data.get("TagSpecifications", ()) if each.get("ResourceType") == "instance")
    tags = {key: value for each in given for key, value in _tags(each).items()}
    recipe = _recipe(f"launch template {named}", data, tags)
    return Version(
        named,
        item.get("LaunchTemplateName", ""),
        recipe,
        item.get("CreatedBy", ""),
        data,
        item.get("VersionDescription", ""),
        is_default=bool(item.get("DefaultVersion")),
    )


def group(item: Described) -> Group:
    """An Auto Scaling group."""
    tags = item.get("Tags", ())
    return Group(
        name=item["AutoScalingGroupName"],
        arn=item.get("AutoScalingGroupARN", ""),
        configuration=item.get("LaunchConfigurationName") or None,
        launches=tuple(_launches(item)),
        instance_tags=_tags({"Tags": [each for each in tags if each.get("PropagateAtLaunch")]}),
        marks=Marks(_tags(item), operator=_operator(item)),
        mixed=item.get("MixedInstancesPolicy"),
    )


def configuration(item: Described) -> Configuration:
    """A launch configuration."""
    name = item["LaunchConfigurationName"]
    recipe = _recipe(f"launch configuration {name}", item, {}, is_configuration=True)
    return Configuration(name, item.get("LaunchConfigurationARN", ""), recipe)


def node_group(item: Described) -> NodeGroup:
    """A managed node group."""
    own = item.get("launchTemplate") or {}
    named = LaunchTemplate(own["id"], str(own.get("version") or DEFAULT)) if own.get("id") else None
    return NodeGroup(item["clusterName"], item["nodegroupName"], named)


def image(item: Described, *, own: bool) -> Image:
    """An image."""
    requires = item.get("ImdsSupport") == "v2.0"
    return Image(item["ImageId"], requires, own, item.get("Name", ""), Marks(_tags(item)))


def defaults(level: Described) -> RegionDefaults:
    """The account's metadata defaults in a region."""
    return RegionDefaults(
        _preferred(level.get("HttpTokens")),
        _preferred(level.get("HttpEndpoint")),
        enforced=level.get("HttpTokensEnforced") == "enabled",
        managed=level.get("ManagedBy") == "declarative-policy",
        hop_limit=hops if (hops := level.get("HttpPutResponseHopLimit", -1)) > 0 else None,
    )


def _launches(group: Described) -> Iterator[TemplateLaunch]:
    """The template versions that a group launches with: its own, and those of overrides by instance type."""
    mixed = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    base = group.get("LaunchTemplate") or mixed.get("LaunchTemplateSpecification") or {}
    specifications = [
        ({}, base),
        *((each, each.get("LaunchTemplateSpecification") or {}) for each in _overrides(mixed)),
    ]
    found = {
        TemplateLaunch(
            LaunchTemplate(used["LaunchTemplateId"], used.get("Version") or DEFAULT),
            _image_id(override.get("ImageId", "")),
        )
        for override, specification in specifications
        if (used := specification or base).get("LaunchTemplateId")
    }
    yield from sorted(found, key=lambda each: (each.template, each.image_id))


def _overrides(mixed: Described) -> Iterable[Described]:
    """The overrides that name their own template or image; the others launch with the group's."""
    overrides: Iterable[Described] = mixed.get("Overrides", ())
    return [each for each in overrides if each.get("LaunchTemplateSpecification") or each.get("ImageId")]


def _recipe(named: str, data: Described, tags: Mapping[str, str], *, is_configuration: bool = False) -> Recipe:
    options = data.get("MetadataOptions", {})
    return Recipe(
        named,
        options.get("HttpTokens"),
        options.get("HttpEndpoint"),
        _image_id(data.get("ImageId", "")),
        tags,
        is_configuration=is_configuration,
    )


def _image_id(named: str) -> str:
    """The image id; empty if a parameter in Parameter Store names the image, since this does not read parameters."""
    return named if named.startswith("ami-") else ""


def _tags(item: Described) -> dict[str, str]:
    return {each["Key"]: each.get("Value", "") for each in item.get("Tags", ())}


def _operator(item: Described) -> str:
    """The service that manages it. Auto Scaling returns only the principal, without a flag."""
    operator = item.get("Operator", {})
    return str(operator.get("Principal") or ("an AWS service" if operator.get("Managed") else ""))


def _preferred(value: str | None) -> str | None:
    return None if value == "no-preference" else value
