"""Launch templates: create them, change their default version, delete them, and find them for a launch.

Codes: EC2 API Reference, "Error codes for the Amazon EC2 API".
"""

import functools
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from ministack.services import ec2

from infra.local.server import identity, shapes
from infra.local.server.ec2.protocol import Action, Parameters, Response, add_actions, flat, reply
from infra.local.server.errors import AwsError, dry_run

Template = dict[str, Any]
"""ministack's record of a template. Added here: CreatedBy, Operator, HighestVersionNumber."""

Version = dict[str, Any]
TEMPLATE_ID = re.compile(r"lt-([0-9a-f]{8}|[0-9a-f]{17})")
TEMPLATE_NAME = re.compile(r"[a-zA-Z0-9().\-/_]{3,128}")


def known_template(named: Mapping[str, Any]) -> Template:
    """The template that a request names by LaunchTemplateId or LaunchTemplateName."""
    template_id, name = named.get("LaunchTemplateId"), named.get("LaunchTemplateName")
    if template_id and name:
        raise AwsError("InvalidParameterValue", "Specify either a launch template ID or a launch template name.")
    if template_id:
        return _by_id(template_id)
    if not name:
        raise AwsError("MissingParameter", "The request must contain a launch template ID or a launch template name.")
    for template in ec2._launch_templates.values():
        if template["LaunchTemplateName"] == name:
            found: Template = template
            return found
    raise AwsError(
        "InvalidLaunchTemplateName.NotFoundException",
        f"The specified launch template, with template name {name}, does not exist.",
    )


def known_version(template: Template, version: str) -> Version:
    """The version with this number, or `$Default` or `$Latest`."""
    aliases = {"$Default": template["DefaultVersionNumber"], "$Latest": template["LatestVersionNumber"]}
    number = str(aliases.get(version, version))
    for each in template["Versions"]:
        if str(each["VersionNumber"]) == number:
            found: Version = each
            return found
    raise AwsError(
        "InvalidLaunchTemplateId.VersionNotFound",
        f"Could not find the specified version {version} for the launch template with ID "
        f"{template['LaunchTemplateId']}.",
    )


def changeable_template(named: Mapping[str, Any]) -> Template:
    """The template that a request changes; only its operator may change a managed one.

    EC2 User Guide, "Amazon EC2 managed instances"; the code is the same as for managed instances.
    """
    template = known_template(named)
    if operator := template.get("Operator"):
        raise AwsError(
            "OperationNotPermitted",
            f"The launch template {template['LaunchTemplateId']} is managed by {operator['Principal']} and cannot be "
            "modified.",
        )
    return template


def stored(name: str, request: Mapping[str, Any]) -> Version:
    """A version as ministack keeps it, without its number."""
    return {
        "LaunchTemplateName": name,
        "VersionDescription": request.get("VersionDescription", ""),
        "CreateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "CreatedBy": identity.current().user_identity["arn"],
        "LaunchTemplateData": request.get("LaunchTemplateData", {}),
    }


def shown(template: Template) -> dict[str, Any]:
    """A template as EC2 shows it."""
    return {
        "CreatedBy": identity.root_arn(),
        **template,
        "Tags": ec2._tags.get(template["LaunchTemplateId"], []),
        "Operator": template.get("Operator", {"Managed": False}),
    }


def create(parameters: Parameters) -> Response:
    """CreateLaunchTemplate. With `Operator`, which services send, the template is managed."""
    p = flat(parameters)
    request = shapes.request("ec2", "CreateLaunchTemplate", p)
    name = request.get("LaunchTemplateName", "")
    if "LaunchTemplateData" not in request:
        raise AwsError("MissingParameter", "The request must contain the parameter LaunchTemplateData")
    if not TEMPLATE_NAME.fullmatch(name):
        raise AwsError("InvalidLaunchTemplateName.MalformedException", f"The launch template name {name} is malformed.")
    if any(each["LaunchTemplateName"] == name for each in ec2._launch_templates.values()):
        raise AwsError("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
    if request.get("DryRun"):
        raise dry_run()
    template = added(name, request)
    ec2._parse_tag_specs(parameters, "launch-template", template["LaunchTemplateId"])
    return reply("CreateLaunchTemplate", shapes.answer("ec2", "CreateLaunchTemplate", _answered(template)))


def added(name: str, request: Mapping[str, Any]) -> Template:
    """Add a new template with this name."""
    template_id = ec2._new_lt_id()
    version = stored(name, request) | {"LaunchTemplateId": template_id, "VersionNumber": 1, "DefaultVersion": True}
    template: Template = {
        "LaunchTemplateId": template_id,
        "LaunchTemplateName": name,
        "CreateTime": version["CreateTime"],
        "CreatedBy": version["CreatedBy"],
        "DefaultVersionNumber": 1,
        "LatestVersionNumber": 1,
        "HighestVersionNumber": 1,
        "Versions": [version],
    }
    if principal := request.get("Operator", {}).get("Principal"):
        template["Operator"] = {"Managed": True, "Principal": principal, "HiddenByDefault": True}
    ec2._launch_templates[template_id] = template
    return template


def modify(parameters: Parameters) -> Response:
    """ModifyLaunchTemplate: set another default version, by its number."""
    request = shapes.request("ec2", "ModifyLaunchTemplate", flat(parameters))
    template = changeable_template(request)
    wanted = request.get("DefaultVersion", "")
    if not wanted:
        raise AwsError("MissingParameter", "The request must contain the parameter DefaultVersion")
    if wanted not in {str(each["VersionNumber"]) for each in template["Versions"]}:
        raise AwsError(
            "InvalidLaunchTemplateId.VersionNotFound",
            f"The launch template version {wanted} is not found for the specified launch template.",
        )
    if request.get("DryRun"):
        raise dry_run()
    template["DefaultVersionNumber"] = int(wanted)
    for each in template["Versions"]:
        each["DefaultVersion"] = str(each["VersionNumber"]) == wanted
    return reply("ModifyLaunchTemplate", shapes.answer("ec2", "ModifyLaunchTemplate", _answered(template)))


def delete(original: Action) -> Action:
    """DeleteLaunchTemplate, with EC2's refusals and DryRun."""

    def run(parameters: Parameters) -> Response:
        request = shapes.request("ec2", "DeleteLaunchTemplate", flat(parameters))
        changeable_template(request)
        if request.get("DryRun"):
            raise dry_run()
        return original(parameters)

    return run


def resolved(specification: Mapping[str, str]) -> Version:
    """The version that a launch uses: the named one, else the default; empty if no template is named."""
    if not specification.get("LaunchTemplateId") and not specification.get("LaunchTemplateName"):
        return {}
    return known_version(known_template(specification), specification.get("Version") or "$Default")


def install() -> None:
    """Replace ministack's templates, which keep only a few fields and answer other errors."""
    # Keep parameters with an empty value: a tag's value, for example.
    ec2.parse_qs = functools.partial(parse_qs, keep_blank_values=True)
    add_actions(
        {
            "CreateLaunchTemplate": create,
            "ModifyLaunchTemplate": modify,
            "DeleteLaunchTemplate": delete(ec2._ACTION_MAP["DeleteLaunchTemplate"]),
        }
    )


def _by_id(template_id: str) -> Template:
    if not TEMPLATE_ID.fullmatch(template_id):
        raise AwsError("InvalidLaunchTemplateId.Malformed", f"The launch template ID {template_id} is malformed.")
    template: Template | None = ec2._launch_templates.get(template_id)
    if template is None:
        raise AwsError(
            "InvalidLaunchTemplateId.NotFound",
            f"The specified launch template, with template ID {template_id}, does not exist.",
        )
    return template


def _answered(template: Template) -> dict[str, Any]:
    return {"LaunchTemplate": shown(template)}
