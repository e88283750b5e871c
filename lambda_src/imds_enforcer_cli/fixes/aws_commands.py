"""AWS CLI commands for the steps that a fix leaves to a person."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from imds_enforcer.model import LaunchTemplate
from imds_enforcer_cli.launches.inventory import Group, NodeGroup, Version

NEW_NUMBER = "NEW_NUMBER"
"""Placeholder for the number of a version that a command creates: EC2 returns it."""

FIXED_NUMBER = "FIXED_NUMBER"
"""Placeholder for the number of the version that the fix itself creates."""

_MEANINGS = {
    NEW_NUMBER: "the version number that the preceding command returns; that version becomes $Latest",
    FIXED_NUMBER: "the version that the fix creates",
}


def legend(commands: Sequence[str]) -> str:
    """Explain the placeholders in these commands; empty if they have no placeholders."""
    return "; ".join(
        f"{name}: {meaning}" for name, meaning in _MEANINGS.items() if any(name in each for each in commands)
    )


def create_version(region: str, source: Version, data: Mapping[str, Any]) -> str:
    """Create a version from another."""
    named = ("--launch-template-id", source.template.id, "--source-version", source.template.version)
    return _aws("ec2", "create-launch-template-version", region, *named, "--launch-template-data", _json(data))


def set_default(region: str, template_id: str) -> str:
    """Make the new version the default."""
    named = ("--launch-template-id", template_id, "--default-version", NEW_NUMBER)
    return _aws("ec2", "modify-launch-template", region, *named)


def move_group(region: str, group: Group, pinned: LaunchTemplate, version: str) -> str:
    """Move a group from the version it names to another.

    A mixed instances policy is sent whole: AWS does not document what becomes of omitted parts.
    """
    named = ("--auto-scaling-group-name", group.name)
    if group.mixed is None:
        wanted = ("--launch-template", f"LaunchTemplateId={pinned.id},Version={version}")
    else:
        wanted = ("--mixed-instances-policy", _json(_moved(group.mixed, pinned, version)))
    return _aws("autoscaling", "update-auto-scaling-group", region, *named, *wanted)


def move_node_group(region: str, group: NodeGroup, pinned: LaunchTemplate, version: str) -> str:
    """Move a node group to another version, which replaces its nodes."""
    named = ("--cluster-name", group.cluster, "--nodegroup-name", group.name)
    wanted = ("--launch-template", f"id={pinned.id},version={version}")
    return _aws("eks", "update-nodegroup-version", region, *named, *wanted)


def set_imds_support(region: str, image_id: str) -> str:
    """Make an image require tokens."""
    return _aws("ec2", "modify-image-attribute", region, "--image-id", image_id, "--imds-support", "v2.0")


def _moved(policy: Any, pinned: LaunchTemplate, version: str) -> Any:
    """Replace the pinned version throughout the policy.

    Auto Scaling returns a template's id and its name, but accepts only one of them.
    """
    if isinstance(policy, list):
        return [_moved(each, pinned, version) for each in policy]
    if not isinstance(policy, Mapping):
        return policy
    moved = {name: _moved(value, pinned, version) for name, value in policy.items()}
    if "LaunchTemplateId" in moved:
        moved.pop("LaunchTemplateName", None)
        if (moved["LaunchTemplateId"], moved.get("Version")) == tuple(pinned):
            moved["Version"] = version
    return moved


def _aws(service: str, command: str, region: str, *arguments: str) -> str:
    return shlex.join(["aws", service, command, "--region", region, *arguments])


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
