"""What the instances of one region are launched with: groups, templates, configurations, images, defaults."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from imds_enforcer.aws.boto import aws_errors, batched
from imds_enforcer.model import AwsError, Kind, LaunchTemplate
from imds_enforcer_cli.audit.launch_defaults import Recipe, RegionDefaults

NAMES = 50
"""Groups or configurations that one request names (Auto Scaling API Reference: by default, at most 50 are answered)."""

FILTER_VALUES = 200
"""Values that one filter may have (EC2 API Reference, "Filter")."""

_GONE = ("InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.VersionNotFound")
"""How the codes begin by which EC2 says that a template, or one of several versions, is not there."""


@dataclass(frozen=True, slots=True)
class Group:
    """What an Auto Scaling group launches with now: a launch configuration, or versions of templates."""

    configuration: str | None = None
    templates: tuple[LaunchTemplate, ...] = ()


@dataclass(slots=True)
class Launches:
    """What was found out; `failures` says by the kind of thing why it could not be asked about."""

    groups: dict[str, Group] = field(default_factory=dict)
    configurations: dict[str, Recipe] = field(default_factory=dict)
    templates: dict[LaunchTemplate, Recipe] = field(default_factory=dict)
    images: dict[str, bool] = field(default_factory=dict)
    defaults: RegionDefaults = field(default_factory=RegionDefaults)
    failures: dict[str, str] = field(default_factory=dict)


class LaunchReader:
    """Reads them with boto3's clients of EC2 and Auto Scaling, a few requests for all of a kind."""

    def __init__(self, ec2: Any, autoscaling: Any) -> None:
        self._ec2 = ec2
        self._autoscaling = autoscaling

    def read(self, groups: Iterable[str], templates: Iterable[LaunchTemplate], images: Iterable[str]) -> Launches:
        """What these are now, and what the groups launch with; what is not there any more is not in the answer."""
        found = Launches()
        with _noted(found, "groups"):
            found.groups = self._groups(sorted(set(groups)))
        configurations = {each.configuration for each in found.groups.values() if each.configuration}
        with _noted(found, "configurations"):
            found.configurations = self._configurations(sorted(configurations))
        wanted = {*templates, *(each for group in found.groups.values() for each in group.templates)}
        with _noted(found, "templates"):
            self._read_templates(wanted, found.templates)
        recipes = (*found.configurations.values(), *found.templates.values())
        with _noted(found, "images"):
            found.images = self._images(sorted({*images, *(each.image_id for each in recipes)} - {""}))
        with _noted(found, "defaults"):
            found.defaults = self._defaults()
        return found

    def _groups(self, names: list[str]) -> dict[str, Group]:
        ask = self._autoscaling.describe_auto_scaling_groups
        return {
            each["AutoScalingGroupName"]: Group(each.get("LaunchConfigurationName") or None, tuple(_templates(each)))
            for some in batched(names, NAMES)
            for each in _asked(ask, AutoScalingGroupNames=some)["AutoScalingGroups"]
        }

    def _configurations(self, names: list[str]) -> dict[str, Recipe]:
        ask = self._autoscaling.describe_launch_configurations
        return {
            each["LaunchConfigurationName"]: _recipe(f"launch configuration {each['LaunchConfigurationName']}", each)
            for some in batched(names, NAMES)
            for each in _asked(ask, LaunchConfigurationNames=some)["LaunchConfigurations"]
        }

    def _read_templates(self, wanted: Iterable[LaunchTemplate], found: dict[LaunchTemplate, Recipe]) -> None:
        versions: dict[str, list[str]] = defaultdict(list)
        for template, version in sorted(wanted):
            versions[template].append(version)
        for template, numbers in versions.items():
            found.update(self._versions(template, numbers))

    def _versions(self, template: str, versions: list[str]) -> dict[LaunchTemplate, Recipe]:
        """These versions of a template: numbers, `$Latest` and `$Default`."""
        ask = self._ec2.describe_launch_template_versions
        try:
            answers = [
                _asked(ask, LaunchTemplateId=template, Versions=some) for some in batched(versions, FILTER_VALUES)
            ]
        except AwsError as error:
            if not error.failure.code.startswith(_GONE):
                raise
            if len(versions) == 1:
                return {}
            # One that is gone fails the call for all.
            return {key: each for version in versions for key, each in self._versions(template, [version]).items()}
        described = [each for answer in answers for each in answer["LaunchTemplateVersions"]]
        return {
            LaunchTemplate(template, version): _recipe(
                f"launch template {LaunchTemplate(template, each['VersionNumber'])}", data
            )
            for version in versions
            if (each := _of(described, version)) and (data := each["LaunchTemplateData"]) is not None
        }

    def _images(self, image_ids: list[str]) -> dict[str, bool]:
        """Whether each requires tokens. By a filter: the parameter ImageIds would fail the whole call for one gone."""
        return {
            each["ImageId"]: each.get("ImdsSupport") == "v2.0"
            for some in batched(image_ids, FILTER_VALUES)
            for each in _asked(
                self._ec2.describe_images,
                Filters=[{"Name": "image-id", "Values": some}],
                IncludeDeprecated=True,
                IncludeDisabled=True,
            )["Images"]
        }

    def _defaults(self) -> RegionDefaults:
        level = _asked(self._ec2.get_instance_metadata_defaults).get("AccountLevel", {})
        return RegionDefaults(
            _preferred(level.get("HttpTokens")),
            _preferred(level.get("HttpEndpoint")),
            enforced=level.get("HttpTokensEnforced") == "enabled",
        )


@contextmanager
def _noted(found: Launches, kind: str) -> Iterator[None]:
    """Note why a kind of thing could not be asked about: the others may still be known."""
    try:
        yield
    except AwsError as error:
        if error.failure.kind is Kind.CREDENTIALS:
            raise
        found.failures[kind] = str(error)


def _asked(ask: Callable[..., Mapping[str, Any]], **request: Any) -> Mapping[str, Any]:
    with aws_errors():
        return ask(**request)


def _templates(group: Mapping[str, Any]) -> Iterator[LaunchTemplate]:
    """The versions of templates that a group launches with: its own, and those for some of its instance types."""
    mixed = group.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    specifications = (
        group.get("LaunchTemplate"),
        mixed.get("LaunchTemplateSpecification"),
        *(each.get("LaunchTemplateSpecification") for each in mixed.get("Overrides", ())),
    )
    for each in specifications:
        if each and each.get("LaunchTemplateId"):
            yield LaunchTemplate(each["LaunchTemplateId"], each.get("Version") or "$Default")


def _of(described: Iterable[Mapping[str, Any]], version: str) -> Mapping[str, Any] | None:
    """The version that goes by this number or name; the highest among those described is the latest if it was asked."""
    if version == "$Latest":
        return max(described, key=lambda each: int(each["VersionNumber"]), default=None)
    if version == "$Default":
        return next((each for each in described if each.get("DefaultVersion")), None)
    return next((each for each in described if str(each["VersionNumber"]) == version), None)


def _recipe(named: str, data: Mapping[str, Any]) -> Recipe:
    options = data.get("MetadataOptions", {})
    image = data.get("ImageId", "")
    # An image may be named by a parameter of Parameter Store: which one that is, is not read here.
    known = image if image.startswith("ami-") else ""
    return Recipe(named, options.get("HttpTokens"), options.get("HttpEndpoint"), known)


def _preferred(value: str | None) -> str | None:
    return None if value == "no-preference" else value
