"""The metadata options of existing instances: show them, and change them by ModifyInstanceMetadataOptions."""

import time

from ministack.services import ec2

from infra.local.server.ec2 import account_defaults, metadata_options
from infra.local.server.ec2.instances import AT_NEXT_START, Instance, known_instance
from infra.local.server.ec2.metadata_options import Options
from infra.local.server.ec2.protocol import Parameters, Response, add_actions, elements, flat, reply
from infra.local.server.errors import AwsError, dry_run
from infra.local.server.knobs import KNOBS


def options_state(instance: Instance) -> str:
    """Whether the options shown are already in force: `applied`, or `pending`."""
    return "applied" if instance["ChangedAt"] + KNOBS.apply_seconds <= time.time() else "pending"


def modify_options(parameters: Parameters) -> Response:
    """ModifyInstanceMetadataOptions: omitted options keep their values."""
    p = flat(parameters)
    if "InstanceId" not in p:
        raise AwsError("MissingParameter", "The request must contain the parameter InstanceId")
    instance = known_instance(p["InstanceId"])
    requested = metadata_options.parse(p)
    if not requested:
        raise AwsError("InvalidParameterCombination", "The request must name an instance metadata option.")
    if KNOBS.strict_options:
        metadata_options.check_alone(requested)
    _check_modifiable(instance, requested)
    if p.get("DryRun") == "true":
        raise dry_run()
    instance["MetadataOptions"] |= requested
    stopped = instance["State"]["Name"] in ("stopping", "stopped")
    instance["ChangedAt"] = AT_NEXT_START if stopped else time.time()
    inner = elements({"InstanceId": instance["InstanceId"]}) + options_xml("instanceMetadataOptions", instance)
    return reply("ModifyInstanceMetadataOptions", inner)


def options_xml(tag: str, instance: Instance) -> str:
    """An instance's metadata options as EC2's XML."""
    return f"<{tag}>{elements({'State': options_state(instance), **instance['MetadataOptions']})}</{tag}>"


def install() -> None:
    """Add the action, which ministack lacks."""
    add_actions({"ModifyInstanceMetadataOptions": modify_options})


def _check_modifiable(instance: Instance, requested: Options) -> None:
    instance_id, state = instance["InstanceId"], instance["State"]["Name"]
    if instance["Operator"]["managed"]:
        principal = instance["Operator"].get("principal", "a service")
        raise AwsError(
            "OperationNotPermitted", f"The instance {instance_id} is managed by {principal} and cannot be modified."
        )
    if state not in ("running", "stopping", "stopped"):
        raise AwsError(
            "IncorrectInstanceState", f"The instance '{instance_id}' is not in a valid state: it is {state}."
        )
    for name in KNOBS.unsupported_options:
        if name in requested:
            raise metadata_options.unsupported(name)
    tag_keys = [tag["Key"] for tag in ec2._tags.get(instance_id, [])]
    metadata_options.check_offered(requested, tag_keys, instance["InstanceType"])
    wished = requested.get("HttpTokens")
    enforced = account_defaults.current().get(metadata_options.ENFORCED) == "enabled"
    if enforced and wished == "optional" and instance["MetadataOptions"]["HttpTokens"] == "required":
        raise metadata_options.tokens_enforced()
