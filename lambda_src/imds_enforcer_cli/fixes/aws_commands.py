"""Commands of the AWS CLI for what the fix leaves to a person."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from imds_enforcer.model import LaunchTemplate
from imds_enforcer_cli.launches.inventory import Group, NodeGroup, Version

NEW_NUMBER = "NEW_NUMBER"
"""Stands for the number of a version that is not made yet: the command that makes it answers it."""

FIXED_NUMBER = "FIXED_NUMBER"
"""Stands for the number of the version that the fix itself makes."""

_MEANINGS = {
    NEW_NUMBER: "what the command before it answers; that version is $Latest then",
    FIXED_NUMBER: "the version that the fix makes",
}


def legend(commands: Sequence[str]) -> str:
    """What the placeholders in these commands stand for; empty if there are none."""
    return "; ".join(
        f"{name}: {meaning}" for name, meaning in _MEANINGS.items() if any(name in each for each in commands)
    )


def create_version(region: str, source: Version, data: Mapping[str, Any]) -> str:
    """Make a version from another."""
    named = ("--launch-template-id", source.template.id, "--source-version", source.template.version)
    return _aws("ec2", "create-launch-template-version", region, *named, "--launch-template-data", _json(data))


def set_default(region: str, template_id: str) -> str:
    """Make a version the default."""
    named = ("--launch-template-id", template_id, "--default-version", NEW_NUMBER)
    return _aws("ec2", "modify-launch-template", region, *named)


def move_group(region: str, group: Group, pinned: LaunchTemplate, version: str) -> str:
    """Let a group launch with another number in place of the one it names.

    Of a mixed instances policy the whole is sent: what an omitted part of it would become is not documented.
    """
    named = ("--auto-scaling-group-name", group.name)
    if group.mixed is None:
        wanted = ("--launch-template", f"LaunchTemplateId={pinned.id},Version={version}")
    else:
        wanted = ("--mixed-instances-policy", _json(_moved(group.mixed, pinned, version)))
    return _aws("autoscaling", "update-auto-scaling-group", region, *named, *wanted)


def move_node_group(region: str, group: NodeGroup, pinned: LaunchTemplate, version: str) -> str:
    """Let a node group take another number, which replaces its nodes."""
    named = ("--cluster-name", group.cluster, "--nodegroup-name", group.name)
    wanted = ("--launch-template", f"id={pinned.id},version={version}")
    return _aws("eks", "update-nodegroup-version", region, *named, *wanted)


def set_imds_support(region: str, image_id: str) -> str:
    """Let an image require tokens."""
    return _aws("ec2", "modify-image-attribute", region, "--image-id", image_id, "--imds-support", "v2.0")


def _moved(policy: Any, pinned: LaunchTemplate, version: str) -> Any:
    """The policy with another version of the template wherever it names the pinned one.

    Auto Scaling answers id and name of a template, and takes one of them.
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
