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
def test_tags_names_and_answers_say_whose_it_is(marks: Marks, name: str, owner: Owner, text: str) -> None:
    """The service before the stack that it made, and the creator last."""
    found = owner_of(marks, name)
    assert found == owner
    assert str(found) == text


@pytest.mark.parametrize("tags", [{}, {"karpenter.sh/discovery": "shop"}, {"eks:cluster-name": "shop"}, {"Name": "x"}])
def test_other_tags_say_nothing(tags: dict[str, str]) -> None:
    """Those with which people tell Karpenter what it may use, for one."""
    assert owner_of(Marks(tags)) is None


def test_only_a_creator_does_not_undo_what_is_changed_by_hand() -> None:
    """All others keep the launcher as they have it."""
    assert [each for each in OwnerKind if not Owner(each).manages] == [OwnerKind.CREATOR]
