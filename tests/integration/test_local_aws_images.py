"""Images and EKS's node groups on the local AWS: two more sources of a launch's metadata options.

EC2 User Guide, "Configure the AMI"; API Reference, ModifyImageAttribute; EKS User Guide, "Customize managed nodes with
launch templates".
"""

from typing import Any

import pytest

from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.local_resources import outcome, refused

IMAGE, V2_IMAGE = "ami-0abcdef1234567890", "ami-0000000000000v200"
SUPPORT = {"ImdsSupport": {"Value": "v2.0"}}


def described(aws: LocalAws, **fields: Any) -> dict[str, Any]:
    """The images found, each with its ImdsSupport."""
    found = aws.client("ec2").describe_images(**fields)["Images"]
    return {each["ImageId"]: (each["OwnerId"], each.get("ImdsSupport")) for each in found}


@pytest.mark.parametrize("how", ["registered", "modified", "modified by name"])
def test_the_owner_sets_imds_support_and_launches_require_tokens(aws: LocalAws, how: str) -> None:
    """At registration or later; instances get required tokens and a hop limit of 2."""
    ec2 = aws.client("ec2")
    support = {"ImdsSupport": "v2.0"} if how == "registered" else {}
    image = ec2.register_image(Name="own", RootDeviceName="/dev/xvda", **support)["ImageId"]
    if how == "modified":
        ec2.modify_image_attribute(ImageId=image, **SUPPORT)
    elif how == "modified by name":
        ec2.modify_image_attribute(ImageId=image, Attribute="imdsSupport", Value="v2.0")
    assert described(aws, Owners=["self"]) == {image: (aws.account, "v2.0")}
    [instance] = aws.launch(image_id=image)
    options = aws.metadata_options(instance)
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 2)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"ImdsSupport": {"Value": "v1.0"}}, "InvalidParameterValue"),
        ({"Attribute": "imdsSupport", "Value": ""}, "InvalidParameterValue"),
        ({**SUPPORT, "DryRun": True}, "DryRunOperation"),
        ({**SUPPORT, "Description": {"Value": "new"}}, "InvalidParameterCombination"),
        ({**SUPPORT, "ImageId": IMAGE}, "AuthFailure"),
        ({**SUPPORT, "ImageId": "ami-00000000000000000"}, "InvalidAMIID.NotFound"),
    ],
)
def test_refusals(aws: LocalAws, fields: dict[str, Any], code: str) -> None:
    """Other values, further attributes, and images of other accounts."""
    ec2 = aws.client("ec2")
    image = ec2.register_image(Name="own", RootDeviceName="/dev/xvda")["ImageId"]
    assert refused(ec2.modify_image_attribute, **{"ImageId": image, **fields}) == code
    assert described(aws, Owners=["self"]) == {image: (aws.account, None)}


def test_imds_support_cannot_be_undone(aws: LocalAws) -> None:
    """User Guide: once set, it stays; other accounts cannot change it on a shared image either."""
    ec2 = aws.client("ec2")
    image = ec2.register_image(Name="own", RootDeviceName="/dev/xvda", ImdsSupport="v2.0")["ImageId"]
    for value in ("", "v1.0", "none"):
        assert outcome(ec2.modify_image_attribute, ImageId=image, Attribute="imdsSupport", Value=value)
    assert described(aws, ImageIds=[image]) == {image: (aws.account, "v2.0")}
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"Group": "all"}]})
    other = aws.in_account(f"9{aws.account[1:]}")
    assert described(other, ImageIds=[image]) == {image: (aws.account, "v2.0")}
    assert refused(other.client("ec2").modify_image_attribute, ImageId=image, **SUPPORT) == "AuthFailure"
    [instance] = other.launch(image_id=image)
    assert other.metadata_options(instance)["HttpTokens"] == "required"


def cluster(aws: LocalAws) -> Any:
    """EKS with a cluster."""
    eks = aws.client("eks")
    eks.create_cluster(name="main", roleArn="arn:aws:iam::1:role/eks", resourcesVpcConfig={})
    until(lambda: eks.describe_cluster(name="main")["cluster"]["status"] == "ACTIVE")
    return eks


def node_group(eks: Any, name: str, **fields: Any) -> dict[str, Any]:
    """A node group with one node."""
    sizes = {"minSize": 0, "maxSize": 3, "desiredSize": 1}
    role = "arn:aws:iam::1:role/node"
    made = eks.create_nodegroup(
        clusterName="main", nodegroupName=name, scalingConfig=sizes, subnets=[], nodeRole=role, **fields
    )
    return dict(made["nodegroup"])


def nodes(aws: LocalAws, name: str) -> list[dict[str, Any]]:
    """The running nodes of a node group."""
    wanted = {"tag:eks:nodegroup-name": name, "instance-state-name": "running"}
    filters = [{"Name": key, "Values": [value]} for key, value in wanted.items()]
    answer = aws.client("ec2").describe_instances(Filters=filters)
    return [each for group in answer["Reservations"] for each in group["Instances"]]


@pytest.mark.parametrize(("version", "number"), [("$Latest", "2"), ("$Default", "1"), ("2", "2"), (None, "1")])
def test_a_node_group_names_the_version_it_was_created_from(aws: LocalAws, version: str | None, number: str) -> None:
    """By number, as an alias is resolved at creation. Its nodes come from a copy that EKS makes and tags."""
    eks, ec2 = cluster(aws), aws.client("ec2")
    first, second = ({"ImageId": IMAGE, "MetadataOptions": {"HttpTokens": each}} for each in ("optional", "required"))
    own = ec2.create_launch_template(LaunchTemplateName="own", LaunchTemplateData=first)["LaunchTemplate"]
    template_id = own["LaunchTemplateId"]
    ec2.create_launch_template_version(LaunchTemplateId=template_id, LaunchTemplateData=second)
    node_group(eks, "web", launchTemplate={"id": template_id, **({"version": version} if version else {})})
    assert eks.list_nodegroups(clusterName="main")["nodegroups"] == ["web"]
    described = eks.describe_nodegroup(clusterName="main", nodegroupName="web")["nodegroup"]
    assert described["launchTemplate"] == {"id": template_id, "name": "own", "version": number}
    [node] = nodes(aws, "web")
    assert node["MetadataOptions"]["HttpTokens"] == {"1": "optional", "2": "required"}[number]
    tags = {tag["Key"]: tag["Value"] for tag in node["Tags"]}
    assert tags["aws:autoscaling:groupName"] == described["resources"]["autoScalingGroups"][0]["name"]
    [copy] = ec2.describe_launch_templates(LaunchTemplateIds=[tags["aws:ec2launchtemplate:id"]])["LaunchTemplates"]
    assert copy["LaunchTemplateName"].startswith("eks-")
    assert copy["CreatedBy"].endswith(":assumed-role/AWSServiceRoleForAmazonEKSNodegroup/EKS")
    assert {tag["Key"] for tag in copy["Tags"]} == {"eks:cluster-name", "eks:nodegroup-name"}
    eks.delete_nodegroup(clusterName="main", nodegroupName="web")
    assert nodes(aws, "web") == []
    assert [each["LaunchTemplateName"] for each in ec2.describe_launch_templates()["LaunchTemplates"]] == ["own"]


def test_a_node_group_without_a_template(aws: LocalAws) -> None:
    """EKS makes one: Amazon Linux 2023 requires tokens, Amazon Linux 2 does not. Unknown names are refused."""
    eks = cluster(aws)
    assert "launchTemplate" not in node_group(eks, "new", amiType="AL2023_x86_64_STANDARD")
    node_group(eks, "old", amiType="AL2_x86_64")
    tokens = [nodes(aws, name)[0]["MetadataOptions"]["HttpTokens"] for name in ("new", "old")]
    assert tokens == ["required", "optional"]
    gone = {"launchTemplate": {"name": "gone"}}
    assert refused(node_group, eks=eks, name="gone", **gone) == "InvalidRequestException"
    pages = eks.get_paginator("list_nodegroups").paginate(clusterName="main", PaginationConfig={"PageSize": 1})
    assert [page["nodegroups"] for page in pages] == [["new"], ["old"]]
