"""Says what to change so that a launcher's next instances require tokens: the exact field, in its owner's terms."""

from dataclasses import dataclass

from imds_enforcer_cli.launches.inventory import DEFAULT, NodeGroup
from imds_enforcer_cli.launches.launcher import LauncherKind
from imds_enforcer_cli.launches.owners import Owner, OwnerKind

FIELD = "MetadataOptions.HttpTokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything on which the advice depends.

    `used_as` are the aliases and users of a template's version. `launches_with` names what a group launches with.
    `node_group` is the node group to which the launcher belongs, if EKS described it.
    """

    kind: LauncherKind
    region: str
    subject: str
    version: str = ""
    used_as: tuple[str, ...] = ()
    launches_with: str = ""
    node_group: NodeGroup | None = None
    managed: bool = False


def advice(situation: Situation, owner: Owner | None) -> str:
    """What to change, in the terms of the launcher's owner.

    For images and a region's defaults the owner does not matter: only EC2 has these settings.
    """
    match situation.kind:
        case LauncherKind.IMAGE:
            return (
                f"aws ec2 modify-image-attribute --region {situation.region} --image-id {situation.subject} "
                "--imds-support v2.0 (this cannot be undone)"
            )
        case LauncherKind.DEFAULTS if situation.managed:
            return "http_tokens of the organization's declarative policy: required"
        case LauncherKind.DEFAULTS:
            return (
                f"aws ec2 modify-instance-metadata-defaults --region {situation.region} --http-tokens required "
                "--http-put-response-hop-limit 2"
            )
        case _:
            return _of_owner(situation, owner) or _own(situation)


_IN_SERVICE = {
    OwnerKind.OPERATOR: "nothing: only {name} can change it",
    OwnerKind.EKS: f"{FIELD} of the launch template of node group {{part}} of cluster {{name}}: required, if it has "
    "its own template; EKS did not say whether it does",
    OwnerKind.BEANSTALK: "DisableIMDSv1: true, in the namespace aws:autoscaling:launchconfiguration of environment "
    "{name} (its instances may be replaced)",
    OwnerKind.KARPENTER: "spec.metadataOptions.httpTokens of EC2NodeClass {name}: required",
    OwnerKind.BATCH: f"{FIELD} of the launch template that the compute environment names: required, in a new version, "
    "and that version as computeResources.launchTemplate.version (UpdateComputeEnvironment)",
    OwnerKind.IMAGE_BUILDER: "instanceMetadataOptions.httpTokens of the infrastructure configuration: required",
}
"""The field of each service, by its guide: Elastic Beanstalk Developer Guide, "General options for all environments";
AWS Batch User Guide, "Update a compute environment"; EC2 Image Builder API Reference, "InstanceMetadataOptions"; the
documentation of Karpenter, "NodeClasses"."""

_WITH_TEMPLATE = (
    f"{FIELD} of {{template}}: required, in a new version, and that version as launchTemplate.version of node group "
    "{part} of cluster {name} (UpdateNodegroupVersion, which replaces its nodes)"
)
_WITHOUT_TEMPLATE = (
    f"replace node group {{part}} of cluster {{name}} with one whose launch template has {FIELD}: required; EKS itself "
    "created the current template"
)
"""The advice for node groups (Amazon EKS User Guide, "Customize managed nodes with launch templates")."""


def _of_owner(situation: Situation, owner: Owner | None) -> str | None:
    """The field in the owner's tool; None if the launcher itself should be changed."""
    if owner is None or not owner.manages:
        return None
    if owner.kind is OwnerKind.CLOUDFORMATION:
        return _in_stack(situation, owner.name, owner.part)
    if owner.kind is OwnerKind.EKS and (group := situation.node_group):
        text, template = (_WITH_TEMPLATE, group.template.id) if group.template else (_WITHOUT_TEMPLATE, "")
        return text.format(template=template, name=owner.name, part=owner.part)
    return _IN_SERVICE[owner.kind].format(name=owner.name or "(unnamed)", part=owner.part)


def _in_stack(situation: Situation, stack: str, resource: str) -> str:
    match situation.kind:
        case LauncherKind.TEMPLATE:
            return f"LaunchTemplateData.{FIELD} of {resource} in stack {stack}: required{_moved(situation)}"
        case LauncherKind.CONFIGURATION:
            return f"{FIELD} of {situation.subject} in stack {stack}: required"
        case _:
            return f"{FIELD} of {situation.launches_with}, which {resource} in stack {stack} launches with: required"


def _own(situation: Situation) -> str:
    match situation.kind:
        case LauncherKind.TEMPLATE:
            return f"{FIELD}: required, in a new version made from {situation.version}{_moved(situation)}"
        case LauncherKind.CONFIGURATION:
            return (
                f"replace it with a launch template that has {FIELD}: required; "
                "a launch configuration cannot be changed"
            )
        case _:
            return f"{FIELD} of {situation.launches_with}: required"


def _moved(situation: Situation) -> str:
    """The steps that make users name the new version; `$Latest` needs none."""
    users = [each for each in situation.used_as if not each.startswith("$")]
    steps = ["then make it the default version"] if DEFAULT in situation.used_as else []
    steps += [f"name it in {', '.join(users)}"] if users else []
    return "".join(f"; {each}" for each in steps)
