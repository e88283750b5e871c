"""Versions of launch templates: create them, from other versions too, and delete them."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ministack.core.responses import AccountRegionScopedDict
from ministack.services import ec2

from infra.local.server import identity, shapes
from infra.local.server.ec2 import launch_templates, metadata_options
from infra.local.server.ec2.launch_templates import Template, Version
from infra.local.server.ec2.protocol import Parameters, Response, add_actions, flat, listed, reply
from infra.local.server.errors import AwsError, dry_run
from infra.local.server.knobs import KNOBS

CREATE = "CreateLaunchTemplateVersion"
DELETE = "DeleteLaunchTemplateVersions"
IMAGE = re.compile(r"ami-[0-9a-f]+|resolve:ssm:.+")
DELETED_AT_ONCE = 200

_answers = AccountRegionScopedDict()
"""The request that used each client token, and its answer."""


def shown(version: Version) -> dict[str, Any]:
    """A version as EC2 shows it; its metadata options have a State, which requests cannot set."""
    data = dict(version["LaunchTemplateData"])
    if "MetadataOptions" in data:
        data["MetadataOptions"] = {"State": "applied", **data["MetadataOptions"]}
    template = ec2._launch_templates[version["LaunchTemplateId"]]
    operator = template.get("Operator", {"Managed": False})
    return {"CreatedBy": identity.root_arn(), **version, "LaunchTemplateData": data, "Operator": operator}


def create(parameters: Parameters) -> Response:
    """CreateLaunchTemplateVersion, which a client token makes idempotent."""
    request = shapes.request("ec2", CREATE, flat(parameters))
    token, dry = request.pop("ClientToken", None), request.pop("DryRun", False)
    template = launch_templates.changeable_template(request)
    before, answer = _answers.get(token, (request, None))
    if before != request:
        raise AwsError("IdempotentParameterMismatch", "The client token was used with other parameters.")
    if answer is not None:
        return reply(CREATE, answer)
    data = _data(template, request)
    if dry:
        raise dry_run()
    number = max(template["LatestVersionNumber"], template.get("HighestVersionNumber", 1)) + 1
    version = launch_templates.stored(template["LaunchTemplateName"], {**request, "LaunchTemplateData": data}) | {
        "LaunchTemplateId": template["LaunchTemplateId"],
        "VersionNumber": number,
        "DefaultVersion": False,
    }
    template["Versions"].append(version)
    template["LatestVersionNumber"] = template["HighestVersionNumber"] = number
    errors = [*_warnings(data)]
    warning = {"Warning": {"Errors": errors}} if errors else {}
    answer = shapes.answer("ec2", CREATE, {"LaunchTemplateVersion": shown(version), **warning})
    if token:
        _answers[token] = (request, answer)
    return reply(CREATE, answer)


def delete(parameters: Parameters) -> Response:
    """DeleteLaunchTemplateVersions: the answer lists each version, but if one is the default, the call fails.

    The API Reference says that the default cannot be deleted, but not how EC2 refuses it. That the whole call fails is
    taken from the tests of another emulator, mulgadc/spinifex.
    """
    p = flat(parameters)
    request = shapes.request("ec2", DELETE, p)
    template = launch_templates.changeable_template(request)
    numbers = listed(p, "LaunchTemplateVersion")
    if not numbers:
        raise AwsError("MissingParameter", "The request must contain the parameter Versions")
    if len(numbers) > DELETED_AT_ONCE:
        raise AwsError("InvalidParameterValue", f"At most {DELETED_AT_ONCE} versions can be deleted in one request.")
    if str(template["DefaultVersionNumber"]) in numbers:
        raise AwsError(
            "InvalidParameterValue",
            "The default version cannot be deleted. Either specify another version as default or delete the launch "
            "template.",
        )
    if request.get("DryRun"):
        raise dry_run()
    known = {str(each["VersionNumber"]) for each in template["Versions"]}
    template["Versions"] = [each for each in template["Versions"] if str(each["VersionNumber"]) not in numbers]
    template["LatestVersionNumber"] = max(each["VersionNumber"] for each in template["Versions"])
    names = {name: template[name] for name in ("LaunchTemplateId", "LaunchTemplateName")}
    missing = {"Code": "launchTemplateVersionDoesNotExist", "Message": "The launch template version does not exist."}
    output = {
        "SuccessfullyDeletedLaunchTemplateVersions": [
            {**names, "VersionNumber": number} for number in numbers if number in known
        ],
        "UnsuccessfullyDeletedLaunchTemplateVersions": [
            {**names, "VersionNumber": number, "ResponseError": missing} for number in numbers if number not in known
        ],
    }
    return reply(DELETE, shapes.answer("ec2", DELETE, output))


def install() -> None:
    """Replace ministack's versions, and add their deletion."""
    add_actions({CREATE: create, DELETE: delete})


def _data(template: Template, request: Mapping[str, Any]) -> dict[str, Any]:
    """A new version's fields: the request's, and for the others its source's.

    API Reference, CreateLaunchTemplateVersion: "Snapshots applied to the block device mapping are ignored when
    creating a new version unless they are explicitly included." Whether the request's metadata options replace the
    source's or are merged with them is not documented: the knob `merge_template_options` decides.
    """
    sent = request.get("LaunchTemplateData", {})
    if "SourceVersion" not in request:
        if not sent:
            raise AwsError("MissingParameter", "The request must contain the parameter LaunchTemplateData")
        return dict(sent)
    source = copy.deepcopy(_source(template, request["SourceVersion"])["LaunchTemplateData"])
    for mapping in source.get("BlockDeviceMappings", ()):
        mapping.get("Ebs", {}).pop("SnapshotId", None)
    for field in KNOBS.template_fields_lost:
        source.pop(field, None)
    options = {**source.get("MetadataOptions", {}), **sent.get("MetadataOptions", {})}
    merged = {"MetadataOptions": options} if KNOBS.merge_template_options and options else {}
    return {**source, **sent, **merged}


def _source(template: Template, version: str) -> Version:
    try:
        return launch_templates.known_version(template, version)
    except AwsError as error:
        raise AwsError(error.code, "Launch template version does not exist.") from None


def _warnings(data: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Warnings about a version, which EC2 creates nevertheless (EC2 User Guide, "Create a launch template")."""
    image = data.get("ImageId", "ami-0")
    if not IMAGE.fullmatch(image):
        yield {"Code": "InvalidAMIID.Malformed", "Message": f'Invalid id: "{image}"'}
    try:
        metadata_options.parse({name: str(value) for name, value in data.get("MetadataOptions", {}).items()})
    except AwsError as error:
        yield {"Code": error.code, "Message": error.message}
    for code in KNOBS.template_warnings:
        yield {"Code": code, "Message": "requested by the knob template_warnings"}
