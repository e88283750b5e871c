"""The account's metadata defaults, which every region keeps for itself."""

from xml.sax.saxutils import escape

from ministack.core.responses import AccountRegionScopedDict

from infra.local.server.ec2 import metadata_options
from infra.local.server.ec2.protocol import Parameters, Response, add_actions, elements, flat, reply
from infra.local.server.errors import dry_run
from infra.local.server.knobs import KNOBS

_defaults = AccountRegionScopedDict()


def current() -> dict[str, str | int]:
    """What is preferred in the current account and region."""
    found: dict[str, str | int] = _defaults.setdefault("defaults", {})
    return found


def get(_parameters: Parameters) -> Response:
    """GetInstanceMetadataDefaults: only what somebody prefers; a declarative policy does whatever it sets."""
    level = {**current(), "ManagedBy": "account"} if current() else {}
    if KNOBS.declarative_policy_message is not None:
        message = escape(KNOBS.declarative_policy_message)
        level = {**current(), "ManagedBy": "declarative-policy", "ManagedExceptionMessage": message}
    return reply("GetInstanceMetadataDefaults", f"<accountLevel>{elements(level)}</accountLevel>")


def modify(parameters: Parameters) -> Response:
    """ModifyInstanceMetadataDefaults: what is omitted stays, `no-preference` and -1 take away."""
    p = flat(parameters)
    merged = {**current(), **metadata_options.parse_defaults(p)}
    if p.get("DryRun") == "true":
        raise dry_run()
    _defaults["defaults"] = {name: value for name, value in merged.items() if value is not None}
    return reply("ModifyInstanceMetadataDefaults", "<return>true</return>")


def install() -> None:
    """Add the two actions, which ministack lacks."""
    add_actions({"GetInstanceMetadataDefaults": get, "ModifyInstanceMetadataDefaults": modify})
