"""The images that instances are launched from, as far as the metadata service goes."""

from ministack.services import ec2

from infra.local.server.ec2.protocol import Action, Parameters, Response, add_actions
from infra.local.server.knobs import KNOBS

_STUBS = list(ec2._STUB_AMIS)


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


def install() -> None:
    """Complete the action."""
    add_actions({"DescribeImages": describe_images(ec2._ACTION_MAP["DescribeImages"])})
