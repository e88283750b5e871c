from __future__ import annotations

import pytest

from imds_enforcer_cli.launches.inventory import Marks
from imds_enforcer_cli.launches.owners import Owner, OwnerKind, owner_of

STACK = {"aws:cloudformation:stack-name": "web", "aws:cloudformation:logical-id": "Template"}
ANN = "arn:aws:iam::111122223333:user/ann"
BUILT = "arn:aws:imagebuilder:eu-west-1:111122223333:image/golden/1.0.0/1"


@pytest.mark.parametrize(
    ("marks", "name", "owner", "text"),
    [
        (
            Marks(operator="eks.amazonaws.com"),
            "",
            Owner(OwnerKind.OPERATOR, "eks.amazonaws.com"),
            "eks.amazonaws.com, which manages it",
        ),
        (
            Marks({"eks:cluster-name": "shop", "eks:nodegroup-name": "blue"}),
            "",
            Owner(OwnerKind.EKS, "shop", "blue"),
            "EKS cluster shop, node group blue",
        ),
        (
            Marks({"elasticbeanstalk:environment-name": "shop-env", **STACK}),
            "",
            Owner(OwnerKind.BEANSTALK, "shop-env"),
            "Elastic Beanstalk environment shop-env",
        ),
        (
            Marks({"karpenter.k8s.aws/cluster": "shop", "karpenter.k8s.aws/ec2nodeclass": "default"}),
            "",
            Owner(OwnerKind.KARPENTER, "default"),
            "Karpenter, EC2NodeClass default",
        ),
        (
            Marks(),
            "karpenter.k8s.aws/1234567890",
            Owner(OwnerKind.KARPENTER),
            "Karpenter, EC2NodeClass (unnamed)",
        ),
        (Marks({"AWSBatchServiceTag": "batch"}), "", Owner(OwnerKind.BATCH), "AWS Batch"),
        (
            Marks({"CreatedBy": "EC2 Image Builder", "Ec2ImageBuilderArn": BUILT}),
            "",
            Owner(OwnerKind.IMAGE_BUILDER, BUILT),
            "EC2 Image Builder",
        ),
        (
            Marks(STACK, created_by=ANN),
            "web",
            Owner(OwnerKind.CLOUDFORMATION, "web", "Template"),
            "CloudFormation stack web, resource Template",
        ),
        (Marks({"CreatedBy": "ann"}, created_by=ANN), "", Owner(OwnerKind.CREATOR, ANN), f"created by {ANN}"),
    ],
)
def test_the_owner_by_tags_name_operator_and_creator(marks: Marks, name: str, owner: Owner, text: str) -> None:
    """A service comes before the stack that it created; the creator comes last."""
    found = owner_of(marks, name)
    assert found == owner
    assert str(found) == text


@pytest.mark.parametrize("tags", [{}, {"karpenter.sh/discovery": "shop"}, {"eks:cluster-name": "shop"}, {"Name": "x"}])
def test_other_tags_reveal_no_owner(tags: dict[str, str]) -> None:
    """For example `karpenter.sh/discovery`, which people set on what Karpenter may use."""
    assert owner_of(Marks(tags)) is None


def test_every_owner_but_a_creator_manages_the_launcher() -> None:
    """And may undo changes made by hand."""
    assert [each for each in OwnerKind if not Owner(each).manages] == [OwnerKind.CREATOR]
