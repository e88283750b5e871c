"""Launch templates that change: versions made, deleted and made the default, as EC2 documents it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

LaunchData = dict[str, Any]


def refusal(code: str) -> ClientError:
    """The error that boto3 raises when AWS refuses a call."""
    return ClientError({"Error": {"Code": code, "Message": "AWS said so"}}, "call")


class FakeTemplateChanges:
    """`templates` has the versions of each template by its id, from 1 on; None is a deleted version.

    `described_as` has the descriptions of versions by template and number, `warn` the codes of EC2's warnings about a
    version's data, and `lost` the fields that a new version does not take from its source; `shown_options` are
    metadata options that EC2 shows in a new version although they were not sent. `fleets` and `spot_fleets` are as EC2
    describes them. `before` runs before each call, `after` after each change; both may change things, or fail.
    """

    def __init__(self) -> None:
        self.templates: dict[str, list[LaunchData | None]] = {}
        self.default_versions: dict[str, int] = {}
        self.described_as: dict[tuple[str, int], str] = {}
        self.warn: Callable[[LaunchData], list[str]] = lambda _: []
        self.lost: tuple[str, ...] = ()
        self.merges_options = False
        self.shown_options: LaunchData = {}
        self.fleets: list[LaunchData] = []
        self.spot_fleets: list[LaunchData] = []
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None
        self._answered: dict[str, tuple[LaunchData, LaunchData]] = {}

    def _called(self, call: str, request: dict[str, Any]) -> None:
        raise NotImplementedError

    def default(self, template: str) -> int:
        """The number of its default version."""
        return self.default_versions.get(template, 1)

    def live(self, template: str) -> dict[int, LaunchData]:
        """The existing versions, by number."""
        return {number: data for number, data in enumerate(self.templates[template], 1) if data is not None}

    def state(self, template: str) -> tuple[int, dict[int, LaunchData]]:
        """The default of a template, and its versions."""
        return self.default(template), copy.deepcopy(self.live(template))

    def create_launch_template_version(self, **request: Any) -> Any:
        """Make a version from another, once for each client token."""
        self._called("create_launch_template_version", request)
        template, sent, token = request["LaunchTemplateId"], request["LaunchTemplateData"], request["ClientToken"]
        if token in self._answered:
            before, answer = self._answered[token]
            assert before == request
            return answer
        source = copy.deepcopy(self._known(template, int(request["SourceVersion"])))
        for mapping in source.get("BlockDeviceMappings", ()):
            mapping.get("Ebs", {}).pop("SnapshotId", None)
        source = {name: value for name, value in source.items() if name not in self.lost}
        merged = {**source.get("MetadataOptions", {}), **sent.get("MetadataOptions", {})}
        options = {"MetadataOptions": merged} if self.merges_options and merged else {}
        data = copy.deepcopy({**source, **sent, **options})
        if "MetadataOptions" in data:
            data["MetadataOptions"] = {**self.shown_options, **data["MetadataOptions"]}
        self.templates[template].append(data)
        number = len(self.templates[template])
        self.described_as[template, number] = request["VersionDescription"]
        errors = [{"Code": code, "Message": "EC2 says so"} for code in self.warn(data)]
        answer = {"LaunchTemplateVersion": {"VersionNumber": number}, "Warning": {"Errors": errors}}
        self._answered[token] = (request, answer)
        self.after("create_launch_template_version")
        return answer

    def modify_launch_template(self, **request: Any) -> Any:
        """Set the default."""
        self._called("modify_launch_template", request)
        self._known(request["LaunchTemplateId"], int(request["DefaultVersion"]))
        self.default_versions[request["LaunchTemplateId"]] = int(request["DefaultVersion"])
        self.after("modify_launch_template")
        return {}

    def delete_launch_template_versions(self, **request: Any) -> Any:
        """Delete versions; the default and missing versions are reported one by one."""
        self._called("delete_launch_template_versions", request)
        template, numbers = request["LaunchTemplateId"], [*map(int, request["Versions"])]
        if self.default(template) in numbers:
            raise refusal("InvalidParameterValue")
        gone = [each for each in numbers if each not in self.live(template)]
        for each in numbers:
            if each not in gone:
                self.templates[template][each - 1] = None
        error = {"Code": "launchTemplateVersionDoesNotExist", "Message": "AWS said so"}
        self.after("delete_launch_template_versions")
        return {
            "UnsuccessfullyDeletedLaunchTemplateVersions": [
                {"VersionNumber": each, "ResponseError": error} for each in gone
            ]
        }

    def describe_fleets(self, **request: Any) -> Any:
        """All of them."""
        self._called("describe_fleets", request)
        return {"Fleets": self.fleets}

    def describe_spot_fleet_requests(self, **request: Any) -> Any:
        """All of them."""
        self._called("describe_spot_fleet_requests", request)
        return {"SpotFleetRequestConfigs": self.spot_fleets}

    def _known(self, template: str, number: int) -> LaunchData:
        if template not in self.templates:
            raise refusal("InvalidLaunchTemplateId.NotFound")
        if number not in self.live(template):
            raise refusal("InvalidLaunchTemplateId.VersionNotFound")
        return self.live(template)[number]
