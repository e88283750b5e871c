"""What instances are launched with, as far as the metadata service goes: images and launch configurations."""

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import autoscaling, ec2

from infra.local.server.ec2 import metadata_options
from infra.local.server.ec2.protocol import Action, Parameters, Response, add_actions
from infra.local.server.errors import AwsError
from infra.local.server.knobs import KNOBS

_STUBS = list(ec2._STUB_AMIS)
Handler = Callable[[Mapping[str, Any]], Response]


def describe_images(original: Action) -> Action:
    """DescribeImages, where the images of the knob `imds_v2_images` are there and have ImdsSupport."""

    def describe(parameters: Parameters) -> Response:
        known = {stub[0] for stub in _STUBS}
        ec2._STUB_AMIS[:] = [
            *_STUBS,
            *(
                (image, image, "", "", "/dev/xvda", "137112412989", "amazon")
                for image in KNOBS.imds_v2_images
                if image not in known
            ),
        ]
        status, headers, body = original(parameters)
        for image in KNOBS.imds_v2_images:
            shown = f"<imageId>{image}</imageId>".encode()
            body = body.replace(shown, shown + b"<imdsSupport>v2.0</imdsSupport>")
        return status, headers, body

    return describe


def create_launch_configuration(original: Handler) -> Handler:
    """CreateLaunchConfiguration that keeps MetadataOptions."""

    def create(parameters: Mapping[str, Any]) -> Response:
        values = {name: autoscaling._p(parameters, name) for name in parameters}
        try:
            options = metadata_options.parse(values, "MetadataOptions.")
        except AwsError as error:
            refusal: Response = autoscaling._error("ValidationError", error.message)
            return refusal
        response = original(parameters)
        if response[0] < 400:  # noqa: PLR2004  # what HTTP calls an error
            autoscaling._launch_configs[values["LaunchConfigurationName"]]["MetadataOptions"] = options
        return response

    return create


def describe_launch_configurations(original: Handler) -> Handler:
    """DescribeLaunchConfigurations that shows them."""

    def describe(parameters: Mapping[str, Any]) -> Response:
        status, headers, body = original(parameters)
        for name, configuration in autoscaling._launch_configs.items():
            if options := configuration.get("MetadataOptions"):
                shown = f"<LaunchConfigurationName>{name}</LaunchConfigurationName>".encode()
                inner = "".join(f"<{option}>{value}</{option}>" for option, value in options.items())
                body = body.replace(shown, shown + f"<MetadataOptions>{inner}</MetadataOptions>".encode())
        return status, headers, body

    return describe


def install() -> None:
    """Complete the three actions."""
    add_actions({"DescribeImages": describe_images(ec2._ACTION_MAP["DescribeImages"])})
    actions = autoscaling._ACTION_MAP
    for name, completed in (
        ("CreateLaunchConfiguration", create_launch_configuration),
        ("DescribeLaunchConfigurations", describe_launch_configurations),
    ):
        actions[name] = completed(actions[name])
