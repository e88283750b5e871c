"""CloudFormation's launchers: groups that launch, fields that ministack drops, and tags that name the stack."""

from collections.abc import Callable, Iterable
from typing import Any

from ministack.services import autoscaling, cloudformation, ec2
from ministack.services.cloudformation import provisioners

from infra.local.server.autoscaling import scaling

Properties = dict[str, Any]
Created = tuple[str, Properties]
Create = Callable[[str, Properties, str], Created]
Update = Callable[..., Created]
Complete = Callable[[str, Properties, list[dict[str, str]]], None]

GROUP = "AWS::AutoScaling::AutoScalingGroup"
CONFIGURATION = "AWS::AutoScaling::LaunchConfiguration"
TEMPLATE = "AWS::EC2::LaunchTemplate"


def completed(original: Create, complete: Complete) -> Create:
    """Create a resource, and complete it."""

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        created = original(logical_id, properties, stack)
        complete(created[0], properties, _stack_tags(stack, logical_id))
        return created

    return create


def updating_group(original: Update) -> Update:
    """Update a group, and complete it."""

    def update(name: str, old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
        updated = original(name, old, new, stack, logical_id)
        _complete_group(updated[0], new, _stack_tags(stack, logical_id))
        return updated

    return update


def updating_template(original: Update) -> Update:
    """Update a template: create a version with a number that was not used before."""

    def update(template_id: str, *rest: Any) -> Created:
        template = ec2._launch_templates[template_id]
        numbers = template["LatestVersionNumber"], template.get("HighestVersionNumber", 1)
        template["LatestVersionNumber"] = max(numbers)
        updated: Created = original(template_id, *rest)
        template["HighestVersionNumber"] = template["LatestVersionNumber"]
        return updated

    return update


def emptied(original: Callable[[str, Properties], None]) -> Callable[[str, Properties], None]:
    """Delete a group, after terminating its instances."""

    def delete(name: str, properties: Properties) -> None:
        if group := autoscaling._asgs.get(name):
            group["DesiredCapacity"] = 0
            scaling.reconcile(group)
        original(name, properties)

    return delete


def install() -> None:
    """Wrap ministack's handlers of the three types."""
    groups, configurations, templates = (
        provisioners._RESOURCE_HANDLERS[kind] for kind in (GROUP, CONFIGURATION, TEMPLATE)
    )
    groups["create"] = completed(groups["create"], _complete_group)
    groups["update"] = updating_group(groups["update"])
    groups["delete"] = emptied(groups["delete"])
    configurations["create"] = completed(configurations["create"], _complete_configuration)
    templates["create"] = completed(templates["create"], _complete_template)
    templates["update"] = updating_template(templates["update"])


def _complete_group(name: str, properties: Properties, tags: list[dict[str, str]]) -> None:
    group = autoscaling._asgs[name]
    group.pop("MixedInstancesPolicy", None)
    if "MixedInstancesPolicy" in properties:
        group["MixedInstancesPolicy"] = properties["MixedInstancesPolicy"]
    of_group = {"ResourceId": name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}
    group["Tags"] = [*_without(tags, group["Tags"]), *({**tag, **of_group} for tag in tags)]
    autoscaling._tags[name] = group["Tags"]
    scaling.reconcile(group)


def _complete_configuration(name: str, properties: Properties, _tags: list[dict[str, str]]) -> None:
    options = properties.get("MetadataOptions")
    autoscaling._launch_configs[name] |= {"MetadataOptions": options} if options else {}


def _complete_template(template_id: str, _properties: Properties, tags: list[dict[str, str]]) -> None:
    ec2._tags[template_id] = [*_without(tags, ec2._tags.get(template_id, [])), *tags]


def _without(tags: Iterable[dict[str, str]], others: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    keys = {tag["Key"] for tag in tags}
    return [each for each in others if each["Key"] not in keys]


def _stack_tags(stack: str, logical_id: str) -> list[dict[str, str]]:
    """The tags that CloudFormation gives its resources (CloudFormation User Guide, "Resource tag")."""
    values = {"stack-name": stack, "stack-id": cloudformation._stacks[stack]["StackId"], "logical-id": logical_id}
    return [{"Key": f"aws:cloudformation:{name}", "Value": value} for name, value in values.items()]
