"""The account's metadata defaults of each region, set by the account or by a declarative policy."""

from typing import Any

from ministack.core.responses import AccountRegionScopedDict

from infra.local.server import shapes
from infra.local.server.ec2 import metadata_options
from infra.local.server.ec2.protocol import Parameters, Response, add_actions, flat, reply
from infra.local.server.errors import AwsError, dry_run
from infra.local.server.knobs import KNOBS

GET = "GetInstanceMetadataDefaults"
EXCEPTION_MESSAGE = "This action is denied due to an organizational policy in effect"
"""The error's text if the policy has no message of its own (Organizations User Guide, "Declarative policies")."""

_defaults = AccountRegionScopedDict()


def current() -> dict[str, str | int]:
    """The defaults of the current account and region; a declarative policy's override the account's."""
    return {**_own(), **KNOBS.declarative_defaults}


def get(_parameters: Parameters) -> Response:
    """GetInstanceMetadataDefaults: only the defaults that are set, and by which of the two."""
    level: dict[str, Any] = {**current(), "ManagedBy": "account"} if current() else {}
    if _policy_in_force():
        level = {**current(), "ManagedBy": "declarative-policy", "ManagedExceptionMessage": _message()}
    return reply(GET, shapes.answer("ec2", GET, {"AccountLevel": level}))


def modify(parameters: Parameters) -> Response:
    """ModifyInstanceMetadataDefaults: omitted defaults stay; `no-preference` and -1 remove a default.

    Under a declarative policy "you can't modify the settings directly within an account" (EC2 User Guide, "Set the
    default for the account"). AWS does not document the error's code, nor whether fields that the policy omits can
    still be modified: here no field can.
    """
    p = flat(parameters)
    merged = {**_own(), **metadata_options.parse_defaults(p)}
    if _policy_in_force():
        raise AwsError("OperationNotPermitted", _message())
    if p.get("DryRun") == "true":
        raise dry_run()
    _defaults["defaults"] = {name: value for name, value in merged.items() if value is not None}
    return reply("ModifyInstanceMetadataDefaults", "<return>true</return>")


def install() -> None:
    """Add the two actions, which ministack lacks."""
    add_actions({GET: get, "ModifyInstanceMetadataDefaults": modify})


def _own() -> dict[str, str | int]:
    found: dict[str, str | int] = _defaults.setdefault("defaults", {})
    return found


def _policy_in_force() -> bool:
    return KNOBS.declarative_policy_message is not None or bool(KNOBS.declarative_defaults)


def _message() -> str:
    return KNOBS.declarative_policy_message or EXCEPTION_MESSAGE
