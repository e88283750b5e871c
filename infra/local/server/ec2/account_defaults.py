"""The account's metadata defaults, which every region keeps for itself, or a declarative policy for it."""

from typing import Any

from ministack.core.responses import AccountRegionScopedDict

from infra.local.server import shapes
from infra.local.server.ec2 import metadata_options
from infra.local.server.ec2.protocol import Parameters, Response, add_actions, flat, reply
from infra.local.server.errors import AwsError, dry_run
from infra.local.server.knobs import KNOBS

GET = "GetInstanceMetadataDefaults"
EXCEPTION_MESSAGE = "This action is denied due to an organizational policy in effect"
"""What is answered where the policy has no message of its own (Organizations User Guide, "Declarative policies")."""

_defaults = AccountRegionScopedDict()


def current() -> dict[str, str | int]:
    """What is preferred in the current account and region; what a declarative policy sets comes first."""
    return {**_own(), **KNOBS.declarative_defaults}


def get(_parameters: Parameters) -> Response:
    """GetInstanceMetadataDefaults: only what is preferred; a declarative policy does whatever it sets."""
    level: dict[str, Any] = {**current(), "ManagedBy": "account"} if current() else {}
    if _policy_in_force():
        level = {**current(), "ManagedBy": "declarative-policy", "ManagedExceptionMessage": _message()}
    return reply(GET, shapes.answer("ec2", GET, {"AccountLevel": level}))


def modify(parameters: Parameters) -> Response:
    """ModifyInstanceMetadataDefaults: what is omitted stays, `no-preference` and -1 take away.

    Under a declarative policy "you can't modify the settings directly within an account" (EC2 User Guide, "Set the
    default for the account"). With which code that is refused, and whether fields that the policy leaves out can
    still be modified, is not documented: here nothing can.
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
