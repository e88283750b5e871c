"""DescribeLaunchTemplates and DescribeLaunchTemplateVersions: filters, pages, and versions of all templates."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ministack.services import ec2

from infra.local.server import shapes
from infra.local.server.ec2 import filters, launch_templates, template_versions
from infra.local.server.ec2.launch_templates import Template, Version
from infra.local.server.ec2.protocol import Parameters, Response, add_actions, flat, reply
from infra.local.server.errors import AwsError, dry_run
from infra.local.server.knobs import KNOBS

PAGE_SIZES = range(1, 201)
ALIASES = ("$Latest", "$Default")

_TEMPLATE_FIELDS = {"create-time": "CreateTime", "launch-template-name": "LaunchTemplateName"}
_VERSION_FIELDS: dict[str, tuple[str, ...]] = {
    "create-time": ("CreateTime",),
    "is-default-version": ("DefaultVersion",),
    "ebs-optimized": ("LaunchTemplateData", "EbsOptimized"),
    "host-resource-group-arn": ("LaunchTemplateData", "Placement", "HostResourceGroupArn"),
    "http-endpoint": ("LaunchTemplateData", "MetadataOptions", "HttpEndpoint"),
    "http-tokens": ("LaunchTemplateData", "MetadataOptions", "HttpTokens"),
    "iam-instance-profile": ("LaunchTemplateData", "IamInstanceProfile", "Arn"),
    "image-id": ("LaunchTemplateData", "ImageId"),
    "instance-type": ("LaunchTemplateData", "InstanceType"),
    "kernel-id": ("LaunchTemplateData", "KernelId"),
    "license-configuration-arn": ("LaunchTemplateData", "LicenseSpecifications", "LicenseConfigurationArn"),
    "network-card-index": ("LaunchTemplateData", "NetworkInterfaces", "NetworkCardIndex"),
    "ram-disk-id": ("LaunchTemplateData", "RamDiskId"),
}
"""The filters of the API Reference, and the paths to their values. A version without the value does not match."""


def describe_templates(parameters: Parameters) -> Response:
    """DescribeLaunchTemplates: by ids, by names, or all; managed ones only on request."""
    p = flat(parameters)
    request = shapes.request("ec2", "DescribeLaunchTemplates", p)
    if request.get("DryRun"):
        raise dry_run()
    fits = [_template_filter(name, values) for name, values in filters.asked(p)]
    named = [{"LaunchTemplateId": each} for each in request.get("LaunchTemplateIds", ())]
    named += [{"LaunchTemplateName": each} for each in request.get("LaunchTemplateNames", ())]
    found = [*map(_known, named)] or [*_visible(request)]
    matching = [each for each in found if all(fit(each) for fit in fits)]
    page, token = filters.page(matching, p, PAGE_SIZES)
    return _answer(
        "DescribeLaunchTemplates", {"LaunchTemplates": [launch_templates.shown(each) for each in page]}, token
    )


def describe_versions(parameters: Parameters) -> Response:
    """DescribeLaunchTemplateVersions: of one template, or the default or latest versions of all templates."""
    p = flat(parameters)
    request = shapes.request("ec2", "DescribeLaunchTemplateVersions", p)
    if request.get("DryRun"):
        raise dry_run()
    fits = [_version_filter(name, values) for name, values in filters.asked(p)]
    found = [*(_of_one(request) if _names_one(request) else _of_all(request))]
    matching = [each for each in found if all(fit(each) for fit in fits)]
    page, token = filters.page(matching, p, PAGE_SIZES)
    return _answer(
        "DescribeLaunchTemplateVersions",
        {"LaunchTemplateVersions": [template_versions.shown(each) for each in page]},
        token,
    )


def install() -> None:
    """Replace the two listings."""
    add_actions({"DescribeLaunchTemplates": describe_templates, "DescribeLaunchTemplateVersions": describe_versions})


def _answer(action: str, output: dict[str, Any], token: str) -> Response:
    return reply(action, shapes.answer("ec2", action, {**output, **({"NextToken": token} if token else {})}))


def _known(named: Mapping[str, str]) -> Template:
    try:
        return launch_templates.known_template(named)
    except AwsError as error:
        if "NotFound" not in error.code:
            raise
        message = "At least one of the launch templates specified in the request does not exist."
        raise AwsError(error.code, message) from None


def _visible(request: Mapping[str, Any]) -> Iterator[Template]:
    """Templates that a list shows (EC2 User Guide, "Managed resource visibility")."""
    every = request.get("IncludeManagedResources") or KNOBS.managed_visible
    return (each for each in ec2._launch_templates.values() if every or "Operator" not in each)


def _names_one(request: Mapping[str, Any]) -> bool:
    return bool(request.get("LaunchTemplateId") or request.get("LaunchTemplateName"))


def _of_one(request: Mapping[str, Any]) -> Iterator[Version]:
    """The requested versions of one template; if the request names no version, all, newest first."""
    template = launch_templates.known_template(request)
    if wanted := request.get("Versions"):
        yield from _each_once(template, wanted)
        return
    least, most = int(request.get("MinVersion", 1)), int(request.get("MaxVersion", 10**9))
    versions = sorted(template["Versions"], key=lambda each: int(each["VersionNumber"]), reverse=True)
    yield from (each for each in versions if least <= each["VersionNumber"] <= most)


def _of_all(request: Mapping[str, Any]) -> Iterator[Version]:
    """The default or latest versions of all templates; numbers need a template."""
    wanted = request.get("Versions", [])
    if not wanted or set(wanted) - set(ALIASES):
        raise AwsError(
            "InvalidParameterValue",
            "Without a launch template, Versions takes $Latest and $Default; it is required, and takes no numbers.",
        )
    for template in _visible(request):
        yield from _each_once(template, wanted)


def _each_once(template: Template, wanted: list[str]) -> Iterator[Version]:
    versions = [launch_templates.known_version(template, each) for each in wanted]
    yield from {each["VersionNumber"]: each for each in versions}.values()


def _template_filter(name: str, values: list[str]) -> Callable[[Template], bool]:
    if filters.is_on_tags(name):
        return lambda each: filters.fit_tags(name, ec2._tags.get(each["LaunchTemplateId"], []), values)
    if name not in _TEMPLATE_FIELDS:
        raise filters.invalid(name)
    return lambda each: filters.matches(each[_TEMPLATE_FIELDS[name]], values)


def _version_filter(name: str, values: list[str]) -> Callable[[Version], bool]:
    if name not in _VERSION_FIELDS:
        raise filters.invalid(name)
    return lambda each: any(filters.matches(said, values) for said in _said(each, _VERSION_FIELDS[name]))


def _said(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _said(each, path)
    elif path and path[0] in value:
        yield from _said(value[path[0]], path[1:])
    elif not path:
        yield str(value).lower() if isinstance(value, bool) else str(value)
