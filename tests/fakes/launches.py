"""What the instances of one region are launched with, in memory: boto3's clients of EC2 and Auto Scaling in one."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

LaunchData = dict[str, Any]


class FakeLaunches:
    """`templates` have their versions by id, from 1 on; `default_versions` are 1 unless given.

    `refused` are the calls that fail, with the code. `requests` has every request by the call.
    """

    def __init__(self) -> None:
        self.groups: list[LaunchData] = []
        self.configurations: list[LaunchData] = []
        self.templates: dict[str, list[LaunchData]] = {}
        self.default_versions: dict[str, int] = {}
        self.images: dict[str, str | None] = {}
        self.defaults: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def describe_auto_scaling_groups(self, **request: Any) -> Any:
        """Those named, as far as they are there."""
        self._called("describe_auto_scaling_groups", request)
        names = request["AutoScalingGroupNames"]
        assert 0 < len(names) <= 50
        return {"AutoScalingGroups": [each for each in self.groups if each["AutoScalingGroupName"] in names]}

    def describe_launch_configurations(self, **request: Any) -> Any:
        """Those named, as far as they are there."""
        self._called("describe_launch_configurations", request)
        names = request["LaunchConfigurationNames"]
        assert 0 < len(names) <= 50
        return {
            "LaunchConfigurations": [each for each in self.configurations if each["LaunchConfigurationName"] in names]
        }

    def describe_launch_template_versions(self, **request: Any) -> Any:
        """Those named; one that is not there fails the call for all."""
        self._called("describe_launch_template_versions", request)
        template = request["LaunchTemplateId"]
        if template not in self.templates:
            raise refusal("InvalidLaunchTemplateId.NotFound")
        versions = self.templates[template]
        default = self.default_versions.get(template, 1)
        named = {"$Latest": len(versions), "$Default": default}
        numbers = {named[each] if each in named else int(each) for each in request["Versions"]}
        if max(numbers) > len(versions):
            raise refusal("InvalidLaunchTemplateId.VersionNotFound")
        return {
            "LaunchTemplateVersions": [
                {
                    "VersionNumber": number,
                    "DefaultVersion": number == default,
                    "LaunchTemplateData": versions[number - 1],
                }
                for number in sorted(numbers)
            ]
        }

    def describe_images(self, **request: Any) -> Any:
        """Those that a filter names, as far as they are there."""
        self._called("describe_images", request)
        (only,) = request["Filters"]
        assert only["Name"] == "image-id"
        assert 0 < len(only["Values"]) <= 200
        return {
            "Images": [
                {"ImageId": each, **({"ImdsSupport": support} if support else {})}
                for each, support in self.images.items()
                if each in only["Values"]
            ]
        }

    def get_instance_metadata_defaults(self, **request: Any) -> Any:
        """What is preferred in the region."""
        self._called("get_instance_metadata_defaults", request)
        return {"AccountLevel": self.defaults} if self.defaults else {}

    def _called(self, call: str, request: dict[str, Any]) -> None:
        self.requests.append((call, request))
        if call in self.refused:
            raise refusal(self.refused[call])


def refusal(code: str) -> ClientError:
    """What boto3 raises where AWS refuses a call."""
    return ClientError({"Error": {"Code": code, "Message": "AWS said so"}}, "call")
