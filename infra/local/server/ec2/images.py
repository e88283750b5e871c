"""The images that instances are launched from, and their ImdsSupport."""

import re
from collections.abc import Mapping

from ministack.core.responses import get_region
from ministack.services import ec2

from infra.local.server.ec2.protocol import Action, Parameters, Response, add_actions, flat
from infra.local.server.errors import AwsError, dry_run
from infra.local.server.knobs import KNOBS

AMAZON = "137112412989"
SUPPORT = "v2.0"
_STUBS = list(ec2._STUB_AMIS)
_IMAGE_ID = re.compile(rb"<imageId>(ami-[0-9a-zA-Z]+)</imageId>")


def requires_tokens(image: str) -> bool:
    """Whether an image has ImdsSupport=v2.0: by the knob `imds_v2_images`, or set by its owner."""
    if image in KNOBS.imds_v2_images:
        return True
    records = (
        record for (_account, region, key), record in ec2._images.all_items() if region == get_region() and key == image
    )
    return any("ImdsSupport" in record for record in records)


def describe(original: Action) -> Action:
    """DescribeImages with ImdsSupport; it lists the images of the knob `imds_v2_images` as Amazon's."""

    def run(parameters: Parameters) -> Response:
        known = {stub[0] for stub in _STUBS}
        ec2._STUB_AMIS[:] = [
            *_STUBS,
            *(
                (image, image, "", "", "/dev/xvda", AMAZON, "amazon")
                for image in KNOBS.imds_v2_images
                if image not in known
            ),
        ]
        status, headers, body = original(parameters)
        for image in _IMAGE_ID.findall(body):
            if requires_tokens(image.decode()):
                shown = b"<imageId>" + image + b"</imageId>"
                body = body.replace(shown, shown + f"<imdsSupport>{SUPPORT}</imdsSupport>".encode())
        return status, headers, body

    return run


def register(original: Action) -> Action:
    """RegisterImage with ImdsSupport and DryRun."""

    def run(parameters: Parameters) -> Response:
        p = flat(parameters)
        wanted = p.get("ImdsSupport")
        _check(wanted)
        if p.get("DryRun") == "true":
            raise dry_run()
        response = original(parameters)
        if wanted and (made := _IMAGE_ID.search(response[2])):
            ec2._images[made.group(1).decode()]["ImdsSupport"] = wanted
        return response

    return run


def modify(original: Action) -> Action:
    """ModifyImageAttribute with `imdsSupport`: by the owner only, one attribute a call, and irreversible.

    API Reference, ModifyImageAttribute: "You can specify only one attribute at a time"; EC2 User Guide, "Configure
    the AMI": "After you set the value to v2.0, you can't undo it".
    """

    def run(parameters: Parameters) -> Response:
        p = flat(parameters)
        wanted = _wanted_support(p)
        if wanted is None:
            return original(parameters)
        if any(name.startswith(("LaunchPermission.", "Description.")) for name in p):
            raise AwsError("InvalidParameterCombination", "You can specify only one attribute at a time.")
        image = p.get("ImageId", "")
        if image not in ec2._images:
            if _exists(image):
                raise AwsError("AuthFailure", f"Not authorized for image:{image}")
            raise AwsError("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")
        _check(wanted)
        if p.get("DryRun") == "true":
            raise dry_run()
        ec2._images[image]["ImdsSupport"] = wanted
        response: Response = ec2._xml(200, "ModifyImageAttributeResponse", "<return>true</return>")
        return response

    return run


def install() -> None:
    """Complete the three actions; instances from the account's own images start no containers either."""
    actions = ec2._ACTION_MAP
    ec2._registered_image = lambda _image: None
    ec2._docker_touched = lambda: False
    add_actions(
        {
            "DescribeImages": describe(actions["DescribeImages"]),
            "RegisterImage": register(actions["RegisterImage"]),
            "ModifyImageAttribute": modify(actions["ModifyImageAttribute"]),
        }
    )


def _wanted_support(p: Mapping[str, str]) -> str | None:
    if "ImdsSupport.Value" in p:
        return p["ImdsSupport.Value"]
    return p.get("Value", "") if p.get("Attribute") == "imdsSupport" else None


def _check(wanted: str | None) -> None:
    if wanted not in (None, SUPPORT):
        raise AwsError("InvalidParameterValue", f"Value ({wanted}) for parameter imdsSupport is invalid.")


def _exists(image: str) -> bool:
    others = {key for (_account, region, key), _record in ec2._images.all_items() if region == get_region()}
    return image in others or image in KNOBS.imds_v2_images or image in {stub[0] for stub in _STUBS}
