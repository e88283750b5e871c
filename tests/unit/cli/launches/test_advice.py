from __future__ import annotations

from dataclasses import replace

import pytest

from imds_enforcer.model import LaunchTemplate
from imds_enforcer_cli.launches.advice import Situation, advice
from imds_enforcer_cli.launches.inventory import NodeGroup
from imds_enforcer_cli.launches.launcher import LauncherKind
from imds_enforcer_cli.launches.owners import Owner, OwnerKind

TEMPLATE = Situation(kind=LauncherKind.TEMPLATE, region="eu-west-1", subject="lt-1", version="3", used_as=("$Latest",))
GROUP = Situation(
    kind=LauncherKind.GROUP, region="eu-west-1", subject="web", launches_with="launch template lt-1 version $Default"
)
CONFIGURATION = Situation(kind=LauncherKind.CONFIGURATION, region="eu-west-1", subject="old")
IMAGE = Situation(kind=LauncherKind.IMAGE, region="eu-west-1", subject="ami-1")
DEFAULTS = Situation(kind=LauncherKind.DEFAULTS, region="eu-west-1", subject="eu-west-1")
STACK = Owner(OwnerKind.CLOUDFORMATION, "web", "Template")
TOKENS = "MetadataOptions.HttpTokens"
ANN = Owner(OwnerKind.CREATOR, "arn:aws:iam::111122223333:user/ann")


@pytest.mark.parametrize(
    ("situation", "owner", "words"),
    [
        (TEMPLATE, None, f"{TOKENS}: required, in a new version made from 3"),
        (TEMPLATE, ANN, f"{TOKENS}: required, in a new version made from 3"),
        (
            replace(TEMPLATE, used_as=("$Default", "group web", "node group shop/blue")),
            None,
            (
                f"{TOKENS}: required, in a new version made from 3; then make it the default version; name it "
                "in group web, node group shop/blue"
            ),
        ),
        (TEMPLATE, STACK, f"LaunchTemplateData.{TOKENS} of Template in stack web: required"),
        (GROUP, None, f"{TOKENS} of launch template lt-1 version $Default: required"),
        (
            GROUP,
            Owner(OwnerKind.CLOUDFORMATION, "web", "Group"),
            (f"{TOKENS} of launch template lt-1 version $Default, which Group in stack web launches with: required"),
        ),
        (
            CONFIGURATION,
            None,
            (
                f"replace it with a launch template that has {TOKENS}: required; "
                "a launch configuration cannot be changed"
            ),
        ),
        (CONFIGURATION, STACK, f"{TOKENS} of old in stack web: required"),
        (
            IMAGE,
            Owner(OwnerKind.IMAGE_BUILDER),
            (
                "aws ec2 modify-image-attribute --region eu-west-1 --image-id ami-1 "
                "--imds-support v2.0 (this cannot be undone)"
            ),
        ),
        (
            DEFAULTS,
            None,
            (
                "aws ec2 modify-instance-metadata-defaults --region eu-west-1 --http-tokens required "
                "--http-put-response-hop-limit 2"
            ),
        ),
        (replace(DEFAULTS, managed=True), None, "http_tokens of the organization's declarative policy: required"),
    ],
)
def test_the_advice_for_launchers_of_the_account_itself(situation: Situation, owner: Owner | None, words: str) -> None:
    """The property in CloudFormation, or the call of EC2."""
    assert advice(situation, owner) == words


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        (Owner(OwnerKind.OPERATOR, "eks.amazonaws.com"), "nothing: only eks.amazonaws.com can change it"),
        (
            Owner(OwnerKind.EKS, "shop", "blue"),
            (
                f"{TOKENS} of the launch template of node group blue of cluster shop: required, if it has its own "
                "template; EKS did not say whether it does"
            ),
        ),
        (
            Owner(OwnerKind.BEANSTALK, "shop-env"),
            (
                "DisableIMDSv1: true, in the namespace aws:autoscaling:launchconfiguration of environment shop-env "
                "(its instances may be replaced)"
            ),
        ),
        (Owner(OwnerKind.KARPENTER, "nodes"), "spec.metadataOptions.httpTokens of EC2NodeClass nodes: required"),
        (Owner(OwnerKind.KARPENTER), "spec.metadataOptions.httpTokens of EC2NodeClass (unnamed): required"),
        (
            Owner(OwnerKind.BATCH),
            (
                f"{TOKENS} of the launch template that the compute environment names: required, in a new "
                "version, and that version as computeResources.launchTemplate.version (UpdateComputeEnvironment)"
            ),
        ),
        (
            Owner(OwnerKind.IMAGE_BUILDER),
            "instanceMetadataOptions.httpTokens of the infrastructure configuration: required",
        ),
    ],
)
@pytest.mark.parametrize("situation", [TEMPLATE, GROUP, CONFIGURATION])
def test_the_advice_for_launchers_of_a_service(situation: Situation, owner: Owner, words: str) -> None:
    """The service's own setting, whatever the launcher is: it may undo changes to its templates."""
    assert advice(situation, owner) == words


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            LaunchTemplate("lt-9", "2"),
            (
                f"{TOKENS} of lt-9: required, in a new version, and that version as launchTemplate.version of node "
                "group blue of cluster shop (UpdateNodegroupVersion, which replaces its nodes)"
            ),
        ),
        (
            None,
            (
                f"replace node group blue of cluster shop with one whose launch template has {TOKENS}: required; "
                "EKS itself created the current template"
            ),
        ),
    ],
)
def test_the_advice_for_a_node_group_with_and_without_the_accounts_own_template(
    template: LaunchTemplate | None, words: str
) -> None:
    """EKS uses a new version only if the node group names it, and replaces changes to its own template."""
    situation = replace(GROUP, node_group=NodeGroup("shop", "blue", template))
    assert advice(situation, Owner(OwnerKind.EKS, "shop", "blue")) == words
