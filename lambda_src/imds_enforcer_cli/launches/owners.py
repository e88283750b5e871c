"""Finds a launcher's owner by the marks that AWS services and tools leave on what they create."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from imds_enforcer_cli.launches.inventory import Marks


class OwnerKind(StrEnum):
    """The kinds of owners. The names are a contract: documents and options carry them."""

    OPERATOR = "operator"
    EKS = "eks"
    BEANSTALK = "beanstalk"
    KARPENTER = "karpenter"
    BATCH = "batch"
    IMAGE_BUILDER = "image-builder"
    CLOUDFORMATION = "cloudformation"
    CREATOR = "creator"


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner's name (a stack, a cluster, …), and the `part` of the owner that the launcher is, if it has parts.

    For `eks` these are cluster and node group, for `cloudformation` stack and logical id, for a `creator` only the ARN.
    """

    kind: OwnerKind
    name: str = ""
    part: str = ""

    @property
    def manages(self) -> bool:
        """True if the owner maintains the launcher and may undo changes made by hand."""
        return self.kind is not OwnerKind.CREATOR

    def __str__(self) -> str:
        return _TEXTS[self.kind].format(name=self.name or "(unnamed)", part=self.part or "(unnamed)")

    def as_json(self) -> dict[str, str | None]:
        """The owner as it appears in a document."""
        return {"kind": str(self.kind), "name": self.name or None, "part": self.part or None}


_TEXTS = {
    OwnerKind.OPERATOR: "{name}, which manages it",
    OwnerKind.EKS: "EKS cluster {name}, node group {part}",
    OwnerKind.BEANSTALK: "Elastic Beanstalk environment {name}",
    OwnerKind.KARPENTER: "Karpenter, EC2NodeClass {name}",
    OwnerKind.BATCH: "AWS Batch",
    OwnerKind.IMAGE_BUILDER: "EC2 Image Builder",
    OwnerKind.CLOUDFORMATION: "CloudFormation stack {name}, resource {part}",
    OwnerKind.CREATOR: "created by {name}",
}

_KARPENTER = "karpenter.k8s.aws/"
"""The prefix of Karpenter's template names and tags. People set `karpenter.sh/discovery` on their own resources."""

_NODE_CLASS = "karpenter.k8s.aws/ec2nodeclass"
_BUILT_IMAGE = "Ec2ImageBuilderArn"


def owner_of(marks: Marks, name: str = "") -> Owner | None:
    """The owner of the launcher with these marks and this name; None if they reveal no owner.

    A service that creates its resources by CloudFormation, such as Elastic Beanstalk, comes before the stack. The tags
    are those in the services' guides: Amazon EKS User Guide, "Tag your resources"; AWS Elastic Beanstalk Developer
    Guide, "Tagging"; EC2 Image Builder User Guide, "Tag output resources"; CloudFormation User Guide, "Resource tags".
    """
    tags = marks.tags
    if marks.operator:
        return Owner(OwnerKind.OPERATOR, marks.operator)
    return _service_of(tags, name) or _stack_of(tags) or _creator_of(marks)


def _service_of(tags: Mapping[str, str], name: str) -> Owner | None:
    if "eks:nodegroup-name" in tags:
        return Owner(OwnerKind.EKS, tags.get("eks:cluster-name", ""), tags["eks:nodegroup-name"])
    if "elasticbeanstalk:environment-name" in tags:
        return Owner(OwnerKind.BEANSTALK, tags["elasticbeanstalk:environment-name"])
    if name.startswith(_KARPENTER) or any(tag.startswith(_KARPENTER) for tag in tags):
        return Owner(OwnerKind.KARPENTER, tags.get(_NODE_CLASS, ""))
    if "AWSBatchServiceTag" in tags:
        return Owner(OwnerKind.BATCH)
    if _BUILT_IMAGE in tags or tags.get("CreatedBy") == "EC2 Image Builder":
        return Owner(OwnerKind.IMAGE_BUILDER, tags.get(_BUILT_IMAGE, ""))
    return None


def _stack_of(tags: Mapping[str, str]) -> Owner | None:
    stack = tags.get("aws:cloudformation:stack-name")
    return Owner(OwnerKind.CLOUDFORMATION, stack, tags.get("aws:cloudformation:logical-id", "")) if stack else None


def _creator_of(marks: Marks) -> Owner | None:
    return Owner(OwnerKind.CREATOR, marks.created_by) if marks.created_by else None
