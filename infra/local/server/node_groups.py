"""EKS's managed node groups: their launch template, and the Auto Scaling group that launches their nodes."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from ministack.core.responses import get_account_id, new_uuid
from ministack.services import autoscaling, ec2, eks

from infra.local.server.autoscaling import groups
from infra.local.server.ec2 import launch_templates
from infra.local.server.errors import AwsError

Response = tuple[int, dict[str, str], bytes]
Create = Callable[[str, dict[str, Any]], Response]
List = Callable[..., Response]

IMAGE = "ami-0abcdef1234567890"
LARGEST_PAGE = 100
ROLE = "AWSServiceRoleForAmazonEKSNodegroup"
REQUIRED = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


def create(original: Create) -> Create:
    """CreateNodegroup, which resolves the version of the given template, and launches.

    The nodes come from a template that EKS creates, with the tags `eks:*`: a copy of the given one. Without a given
    template, Amazon Linux 2023 requires tokens (EKS User Guide, "Customize managed nodes with launch templates").
    """

    def run(cluster: str, body: dict[str, Any]) -> Response:
        try:
            version = _version(body.get("launchTemplate", {}))
        except AwsError as error:
            refusal: Response = eks._error(400, "InvalidRequestException", error.message)
            return refusal
        response = original(cluster, body)
        record = eks._nodegroups.get(f"{cluster}/{body.get('nodegroupName', '')}")
        if response[0] >= 400 or not record:  # noqa: PLR2004  # HTTP's errors
            return response
        if version:
            record["launchTemplate"] = {
                "id": version["LaunchTemplateId"],
                "name": version["LaunchTemplateName"],
                "version": str(version["VersionNumber"]),
            }
        _launch(record, version)
        answer: Response = eks._json_resp(200, {"nodegroup": record})
        return answer

    return run


def delete(original: Callable[[str, str], Response]) -> Callable[[str, str], Response]:
    """DeleteNodegroup, which also deletes the group and the template that EKS created for it."""

    def run(cluster: str, name: str) -> Response:
        record = eks._nodegroups.get(f"{cluster}/{name}", {})
        for each in record.get("resources", {}).get("autoScalingGroups", ()):
            if group := autoscaling._asgs.get(each["name"]):
                template = group["LaunchTemplate"]["LaunchTemplateId"]
                groups.delete({"AutoScalingGroupName": each["name"], "ForceDelete": True})
                ec2._launch_templates.pop(template, None)
        return original(cluster, name)

    return run


def paged(original: List, name: str) -> List:
    """A listing in pages of 100 names, or fewer if requested."""

    def run(*arguments: Any) -> Response:
        *place, query = arguments
        size, begin = int(query.get("maxResults", LARGEST_PAGE)), int(query.get("nextToken", 0))
        status, headers, body = original(*place, {**query, "maxResults": 10**9})
        if name not in (listed := json.loads(body)):
            return status, headers, body
        found = listed[name]
        token = {"nextToken": str(begin + size)} if begin + size < len(found) else {}
        answer: Response = eks._json_resp(status, {name: found[begin : begin + size], **token})
        return answer

    return run


def install() -> None:
    """Complete ministack's node groups; clusters start no containers, whether there is docker or not."""
    eks._get_docker = lambda: None
    eks._create_nodegroup = create(eks._create_nodegroup)
    eks._delete_nodegroup = delete(eks._delete_nodegroup)
    eks._list_nodegroups = paged(eks._list_nodegroups, "nodegroups")
    eks._list_clusters = paged(eks._list_clusters, "clusters")


def _version(named: Mapping[str, str]) -> launch_templates.Version:
    keys = {"id": "LaunchTemplateId", "name": "LaunchTemplateName", "version": "Version"}
    return launch_templates.resolved({keys[name]: value for name, value in named.items()})


def _launch(record: dict[str, Any], version: Mapping[str, Any]) -> None:
    """Create what EKS creates for a node group: a template and an Auto Scaling group, both tagged."""
    own = {"ImageId": IMAGE, "InstanceType": record["instanceTypes"][0]}
    if not version and record["amiType"].startswith("AL2023"):
        own["MetadataOptions"] = REQUIRED
    tags = {"eks:cluster-name": record["clusterName"], "eks:nodegroup-name": record["nodegroupName"]}
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    data = {**own, **version.get("LaunchTemplateData", {})}
    template = launch_templates.added(f"eks-{new_uuid()}", {"LaunchTemplateData": data})
    template["CreatedBy"] = f"arn:aws:sts::{get_account_id()}:assumed-role/{ROLE}/EKS"
    ec2._tags[template["LaunchTemplateId"]] = pairs
    sizes = record["scalingConfig"]
    [group] = record["resources"]["autoScalingGroups"]
    groups.create(
        {
            "AutoScalingGroupName": group["name"],
            "MinSize": sizes["minSize"],
            "MaxSize": sizes["maxSize"],
            "DesiredCapacity": sizes["desiredSize"],
            "LaunchTemplate": {"LaunchTemplateId": template["LaunchTemplateId"], "Version": "1"},
            "Tags": [{**pair, "PropagateAtLaunch": True} for pair in pairs],
        }
    )
