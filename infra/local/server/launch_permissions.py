"""IAM for launches: the resource and condition keys of calls that launch, or that define launches.

Service Authorization Reference, "Amazon EC2" and "Amazon EC2 Auto Scaling".
"""

from collections.abc import Callable, Mapping
from typing import Any

from ministack.core import iam_actions
from ministack.services import ec2

from infra.local.server import shapes
from infra.local.server.ec2 import launch_templates
from infra.local.server.ec2.protocol import flat
from infra.local.server.errors import AwsError

TEMPLATE_CHANGES = (
    "CreateLaunchTemplateVersion",
    "ModifyLaunchTemplate",
    "DeleteLaunchTemplateVersions",
    "DeleteLaunchTemplate",
)
TAG_CHANGES = ("CreateTags", "DeleteTags")
GROUP_CHANGES = ("CreateAutoScalingGroup", "UpdateAutoScalingGroup")
OPTIONS = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint")

Context = dict[str, Any]


def launched_resource(original: Callable[..., str]) -> Callable[..., str]:
    """The resource of a request: the template that it changes; for RunInstances, the new instances.

    For a request that tags several resources, it is the first.

    EC2 also checks RunInstances for image, subnet and so on; here only for the instances.
    """

    def resource(service: str, method: str, path: str, headers: dict[str, str], body: bytes, *rest: Any) -> str:
        parameters, region, account = rest
        action = iam_actions._query_param(parameters, "Action")
        if service == "ec2" and action == "RunInstances":
            return f"arn:aws:ec2:{region}:{account}:instance/*"
        if service == "ec2" and action in TEMPLATE_CHANGES:
            template_id = _template(flat(parameters)).get("LaunchTemplateId", "*")
            return f"arn:aws:ec2:{region}:{account}:launch-template/{template_id}"
        named = flat(parameters)
        if service == "ec2" and action in TAG_CHANGES and named.get("ResourceId.1", "").startswith("i-"):
            return f"arn:aws:ec2:{region}:{account}:instance/{named['ResourceId.1']}"
        if service == "autoscaling" and action == "CreateLaunchConfiguration":
            kind = f"arn:aws:autoscaling:{region}:{account}:launchConfiguration"
            return f"{kind}:*:launchConfigurationName/{named.get('LaunchConfigurationName')}"
        return original(service, method, path, headers, body, *rest)

    return resource


def with_launch_keys(original: Callable[..., Context]) -> Callable[..., Context]:
    """The condition keys of a request, including those about the launch."""

    def context(service: str, action: str, body: bytes, parameters: Mapping[str, Any]) -> Context:
        keys = original(service, action, body, parameters)
        name = action.partition(":")[2]
        if action == "ec2:RunInstances":
            keys |= _options_keys("ec2", _run_options(shapes.request("ec2", name, flat(parameters))))
        elif service == "ec2" and name in TEMPLATE_CHANGES:
            tags = ec2._tags.get(_template(flat(parameters)).get("LaunchTemplateId"), ())
            keys |= {f"{space}:ResourceTag/{tag['Key']}": tag["Value"] for tag in tags for space in ("aws", "ec2")}
        elif action == "autoscaling:CreateLaunchConfiguration":
            options = shapes.request("autoscaling", name, flat(parameters)).get("MetadataOptions", {})
            keys |= _options_keys("autoscaling", options)
        elif service == "autoscaling" and name in GROUP_CHANGES:
            keys |= _group_keys(shapes.request("autoscaling", name, flat(parameters)))
        return keys

    return context


def install() -> None:
    """Complete the resources and condition keys of permission checks."""
    iam_actions.extract_resource_arn = launched_resource(iam_actions.extract_resource_arn)
    iam_actions.request_tag_context = with_launch_keys(iam_actions.request_tag_context)


def _template(named: Mapping[str, str]) -> launch_templates.Template:
    """The template that a request names; empty if it does not exist: then the call itself fails."""
    try:
        return launch_templates.known_template(named)
    except AwsError:
        return {}


def _run_options(request: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a launch names in the request or the template; account defaults and AMI do not count."""
    try:
        version = launch_templates.resolved(request.get("LaunchTemplate", {}))
    except AwsError:
        version = {}
    of_template = version.get("LaunchTemplateData", {}).get("MetadataOptions", {})
    return {**of_template, **request.get("MetadataOptions", {})}


def _options_keys(space: str, options: Mapping[str, Any]) -> Context:
    return {f"{space}:Metadata{name}": str(options[name]) for name in OPTIONS if name in options}


def _group_keys(request: Mapping[str, Any]) -> Context:
    keys: Context = {}
    if "LaunchConfigurationName" in request:
        keys["autoscaling:LaunchConfigurationName"] = request["LaunchConfigurationName"]
    mixed = request.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {}).get("LaunchTemplateSpecification")
    if template := request.get("LaunchTemplate") or mixed:
        # Only a number counts, not `$Latest` or `$Default` (Auto Scaling User Guide, "Identity-based policy examples").
        specified = template.get("Version", "").isdecimal()
        keys["autoscaling:LaunchTemplateVersionSpecified"] = str(specified).lower()
    return keys
