"""What launches instances in one region, in memory: boto3's clients of EC2, Auto Scaling and EKS in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.template_changes import FakeTemplateChanges, LaunchData, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence


class FakeLaunches(FakeTemplateChanges):
    """`templates` has the versions of each template by its id, from 1 on; `default_versions` are 1 unless given.

    `descriptions` has what DescribeLaunchTemplates says of a template beside its id; `own` has the account's images,
    as DescribeImages describes them. `node_groups` has descriptions by cluster. A page of any listing has `page_size`
    items at most. Another account shares the `unlisted` templates; versions of `throttled` ones cannot be read by
    number; `created_by` made all versions. `refused` has the calls that fail, with their codes. `requests` has every
    request by its call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[LaunchData] = []
        self.configurations: list[LaunchData] = []
        self.descriptions: dict[str, LaunchData] = {}
        self.images: dict[str, str | None] = {}
        self.own: dict[str, LaunchData] = {}
        self.node_groups: dict[str, list[LaunchData]] = {}
        self.defaults: dict[str, str] = {}
        self.page_size = 1000
        self.unlisted: set[str] = set()
        self.throttled: set[str] = set()
        self.created_by = ""
        self.refused: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def describe_auto_scaling_groups(self, **request: Any) -> Any:
        """All of them."""
        self._called("describe_auto_scaling_groups", request)
        assert request["MaxRecords"] <= 100
        return self._page("AutoScalingGroups", self.groups, request)

    def describe_launch_configurations(self, **request: Any) -> Any:
        """All of them."""
        self._called("describe_launch_configurations", request)
        assert request["MaxRecords"] <= 100
        return self._page("LaunchConfigurations", self.configurations, request)

    def describe_launch_templates(self, **request: Any) -> Any:
        """All of them."""
        self._called("describe_launch_templates", request)
        assert request["MaxResults"] <= 200
        items = [{"LaunchTemplateId": each, **self.descriptions.get(each, {})} for each in self._listed()]
        return self._page("LaunchTemplates", items, request)

    def describe_launch_template_versions(self, **request: Any) -> Any:
        """The named versions of a template (a missing one fails the call), those since a version, or all aliases."""
        self._called("describe_launch_template_versions", request)
        if "LaunchTemplateId" not in request:
            assert request["Versions"] == ["$Default", "$Latest"]
            assert request["MaxResults"] <= 200
            items = [item for each in self._listed() for item in self._versions(each, request["Versions"])]
            return self._page("LaunchTemplateVersions", items, request)
        template = request["LaunchTemplateId"]
        if template in self.throttled:
            raise refusal("RequestLimitExceeded")
        if template not in self.templates:
            raise refusal("InvalidLaunchTemplateId.NotFound")
        if "MinVersion" in request:
            since = [each for each in self.live(template) if each >= int(request["MinVersion"])]
            return {"LaunchTemplateVersions": [self._version(template, each) for each in since]}
        return {"LaunchTemplateVersions": self._versions(template, request["Versions"])}

    def _listed(self) -> list[str]:
        return [each for each in self.templates if each not in self.unlisted]

    def _versions(self, template: str, wanted: Sequence[str]) -> list[LaunchData]:
        live, default = self.live(template), self.default(template)
        named = {"$Latest": max(live), "$Default": default}
        numbers = {named[each] if each in named else int(each) for each in wanted}
        if numbers - live.keys():
            raise refusal("InvalidLaunchTemplateId.VersionNotFound")
        return [self._version(template, number) for number in sorted(numbers)]

    def _version(self, template: str, number: int) -> LaunchData:
        name = self.descriptions.get(template, {}).get("LaunchTemplateName")
        description = self.described_as.get((template, number))
        return {
            "LaunchTemplateId": template,
            "VersionNumber": number,
            "DefaultVersion": number == self.default(template),
            "LaunchTemplateData": self.live(template)[number],
            **({"LaunchTemplateName": name} if name else {}),
            **({"VersionDescription": description} if description else {}),
            **({"CreatedBy": self.created_by} if self.created_by else {}),
        }

    def describe_images(self, **request: Any) -> Any:
        """The images that a filter names, if they exist and have the requested owner."""
        self._called("describe_images", request)
        (only,) = request["Filters"]
        assert only["Name"] == "image-id"
        assert 0 < len(only["Values"]) <= 200
        assert request.get("Owners", ["self"]) == ["self"]
        return {
            "Images": [
                {"ImageId": each, **({"ImdsSupport": support} if support else {}), **self.own.get(each, {})}
                for each, support in self.images.items()
                if each in only["Values"] and ("Owners" not in request or each in self.own)
            ]
        }

    def get_instance_metadata_defaults(self, **request: Any) -> Any:
        """The region's defaults."""
        self._called("get_instance_metadata_defaults", request)
        return {"AccountLevel": self.defaults} if self.defaults else {}

    def list_clusters(self, **request: Any) -> Any:
        """The clusters of EKS."""
        self._called("list_clusters", request)
        return self._page("clusters", list(self.node_groups), request, "nextToken")

    def list_nodegroups(self, **request: Any) -> Any:
        """The names of a cluster's node groups."""
        self._called("list_nodegroups", request)
        names = [each["nodegroupName"] for each in self.node_groups[request["clusterName"]]]
        return self._page("nodegroups", names, request, "nextToken")

    def describe_nodegroup(self, **request: Any) -> Any:
        """One node group, unless it was deleted after the listing."""
        self._called("describe_nodegroup", request)
        groups = self.node_groups[request["clusterName"]]
        [found] = [each for each in groups if each["nodegroupName"] == request["nodegroupName"]]
        if found.get("status") == "DELETED":
            raise refusal("ResourceNotFoundException")
        return {"nodegroup": {"clusterName": request["clusterName"], **found}}

    def _page(self, what: str, items: Sequence[Any], request: LaunchData, token: str = "NextToken") -> LaunchData:  # noqa: S107
        start = int(request.get(token, 0))
        end = start + self.page_size
        return {what: items[start:end], **({token: str(end)} if items[end:] else {})}

    def _called(self, call: str, request: dict[str, Any]) -> None:
        self.before(call)
        self.requests.append((call, dict(request)))
        if call in self.refused:
            raise refusal(self.refused[call])


AUTO_SCALING = "arn:aws:autoscaling:eu-west-1:111122223333"
ANN = "arn:aws:iam::111122223333:user/ann"


def one_of_each(region: FakeLaunches) -> None:
    """Fill a region with a launcher of each kind, and with each owner that templates and groups can have."""
    optional = {"MetadataOptions": {"HttpTokens": "optional"}}
    required = {"MetadataOptions": {"HttpTokens": "required"}}
    region.images = {"ami-old": None, "ami-new": "v2.0"}
    region.own = {"ami-old": {"Name": "golden"}}
    region.templates = {
        "lt-web": [optional, required, {"ImageId": "ami-old"}],
        "lt-new": [{"ImageId": "ami-new"}],
        "lt-off": [{"MetadataOptions": {"HttpEndpoint": "disabled"}}],
        "lt-eks": [optional],
        "lt-bare": [{"ImageId": "resolve:ssm:/golden"}],
    }
    region.default_versions = {"lt-web": 2}
    stack = [
        {"Key": "aws:cloudformation:stack-name", "Value": "shop"},
        {"Key": "aws:cloudformation:logical-id", "Value": "Template"},
    ]
    nodes = [{"Key": "eks:cluster-name", "Value": "shop"}, {"Key": "eks:nodegroup-name", "Value": "blue"}]
    region.descriptions = {
        "lt-web": {"LaunchTemplateName": "web", "Tags": stack, "CreatedBy": ANN},
        "lt-eks": {"LaunchTemplateName": "eks-0a1b", "Tags": nodes},
        "lt-bare": {"LaunchTemplateName": "bare", "CreatedBy": ANN},
    }
    region.groups = [
        {
            "AutoScalingGroupName": "web",
            "AutoScalingGroupARN": f"{AUTO_SCALING}:autoScalingGroup:1:autoScalingGroupName/web",
            "LaunchTemplate": {"LaunchTemplateId": "lt-web", "Version": "1"},
        },
        {
            "AutoScalingGroupName": "batch",
            "LaunchConfigurationName": "old",
            "Tags": [{"Key": "elasticbeanstalk:environment-name", "Value": "jobs", "PropagateAtLaunch": True}],
        },
        {"AutoScalingGroupName": "eks-blue", "LaunchTemplate": {"LaunchTemplateId": "lt-eks"}, "Tags": nodes},
    ]
    region.configurations = [{"LaunchConfigurationName": "old", "ImageId": "ami-old"}]
    region.node_groups = {"shop": [{"nodegroupName": "blue", "launchTemplate": {"id": "lt-new", "version": "1"}}]}
