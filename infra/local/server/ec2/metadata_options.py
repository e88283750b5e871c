"""Instance metadata options: the values that EC2 accepts, and where a new instance's options come from."""

import re
from collections.abc import Collection, Mapping

from infra.local.server.errors import AwsError
from infra.local.server.knobs import KNOBS

Options = dict[str, str | int]

SWITCH = ("enabled", "disabled")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "HttpTokens": ("optional", "required"),
    "HttpEndpoint": SWITCH,
    "HttpProtocolIpv6": SWITCH,
    "InstanceMetadataTags": SWITCH,
}
HOP_LIMIT = "HttpPutResponseHopLimit"
HOP_LIMITS = range(1, 65)
ENFORCED = "HttpTokensEnforced"
NO_PREFERENCE = "no-preference"
IPV6 = "HttpProtocolIpv6"
TAGS = "InstanceMetadataTags"

TAG_KEY = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}")
RESERVED_TAG_KEYS = (".", "..", "_index")

XEN = re.compile(r"(c[134]|d2|f1|g2|g3s?|h1|i[23]|m[1-4]|p[23]|r[34]|t[12]|x1e?)\.(?!metal)")
"""Instance types on Xen (Amazon EC2 Instance Types guide, "Amazon EC2 instance type specifications")."""

# EC2's own defaults, and those of an AMI with ImdsSupport=v2.0.
LAUNCH_OPTIONS: Options = {
    "HttpTokens": "optional",
    HOP_LIMIT: 1,
    "HttpEndpoint": "enabled",
    "HttpProtocolIpv6": "disabled",
    "InstanceMetadataTags": "disabled",
}
IMDS_V2_IMAGE: Options = {"HttpTokens": "required", HOP_LIMIT: 2}


def parse(parameters: Mapping[str, str], prefix: str = "") -> Options:
    """The options in a request's parameters; values that EC2 refuses raise its errors."""
    options: Options = {}
    for name, choices in CHOICES.items():
        if value := parameters.get(prefix + name):
            options[name] = _choice(name, value, choices)
    if value := parameters.get(prefix + HOP_LIMIT):
        options[HOP_LIMIT] = _hop_limit(value)
    return options


def parse_defaults(parameters: Mapping[str, str]) -> dict[str, str | int | None]:
    """The account defaults in a request's parameters; None removes a default."""
    choices = {"HttpTokens": CHOICES["HttpTokens"], "HttpEndpoint": SWITCH, "InstanceMetadataTags": SWITCH}
    defaults: dict[str, str | int | None] = {}
    for name, values in {**choices, ENFORCED: SWITCH}.items():
        if value := parameters.get(name):
            chosen = _choice(name, value, (*values, NO_PREFERENCE))
            defaults[name] = None if chosen == NO_PREFERENCE else chosen
    if value := parameters.get(HOP_LIMIT):
        defaults[HOP_LIMIT] = None if value == "-1" else _hop_limit(value)
    return defaults


def at_launch(requested: Options, defaults: Mapping[str, str | int], *, imds_v2_image: bool) -> Options:
    """A new instance's options: for each, the request's value, else the account's, else the AMI's.

    EC2 User Guide, "Configure instance metadata options for new instances", order of precedence. The guide contradicts
    itself on whether a default of `required` implies the hop limit 2: the knob `required_default_hops` decides.
    Enforcement comes last: a launch that results in `optional` fails, wherever that value comes from.
    """
    preferences = {name: value for name, value in defaults.items() if name != ENFORCED}
    image = IMDS_V2_IMAGE if imds_v2_image else {}
    hops = {HOP_LIMIT: 2} if KNOBS.required_default_hops and preferences.get("HttpTokens") == "required" else {}
    options: Options = {**LAUNCH_OPTIONS, **image, **hops, **preferences, **requested}
    if defaults.get(ENFORCED) == "enabled" and options["HttpTokens"] == "optional":
        raise tokens_enforced()
    return options


def check_alone(requested: Options) -> None:
    """Check the old service's stricter rule: other options require `HttpEndpoint=enabled`."""
    others = requested.keys() - {"HttpEndpoint"}
    if others and requested.get("HttpEndpoint") == "disabled":
        raise AwsError(
            "InvalidParameterCombination",
            f"When HttpEndpoint is disabled, {', '.join(sorted(others))} cannot be specified.",
        )
    if others and "HttpEndpoint" not in requested:
        raise AwsError("InvalidParameterValue", f"HttpEndpoint must be enabled to set {', '.join(sorted(others))}.")


def check_offered(requested: Options, tag_keys: Collection[str], instance_type: str) -> None:
    """Refuse options that EC2 cannot enable on this instance.

    The metadata service does not support every tag key (EC2 User Guide, "View tags for your EC2 instances using
    instance metadata"), and has an IPv6 address only on Nitro ("Access instance metadata for an EC2 instance"). The
    errors' texts come from public reports: aws/aws-cli issue 8825, aws/aws-ec2-imdsv2-get pull request 6.
    """
    if requested.get(IPV6) == "enabled" and XEN.match(instance_type):
        raise AwsError(
            "UnsupportedOperation", f"The {IPV6} metadata option cannot be enabled for Xen-backed instance types."
        )
    unfit = [key for key in tag_keys if not TAG_KEY.fullmatch(key) or key in RESERVED_TAG_KEYS]
    if requested.get(TAGS) == "enabled" and unfit:
        raise AwsError(
            "InvalidParameterValue",
            f"'{unfit[0]}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), "
            "and must not be a reserved name ('.', '..', '_index')",
        )


def unsupported(name: str) -> AwsError:
    """The error of a region that does not support an option, whatever the value."""
    return AwsError("UnsupportedOperation", f"{name} is not supported in this region.")


def tokens_enforced() -> AwsError:
    """EC2's error for optional tokens where tokens are enforced, at launch and afterwards.

    The text is EC2's (EC2 User Guide, "Troubleshoot instance launch issues").
    """
    return AwsError(
        "UnsupportedOperation",
        "You can't launch instances with IMDSv1 because httpTokensEnforced is enabled for this account. Either launch "
        "the instance with httpTokens=required or contact your account owner to disable httpTokensEnforced using the "
        "ModifyInstanceMetadataDefaults API or the account settings in the EC2 console.",
    )


def _choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise AwsError(
            "InvalidParameterValue",
            f"Invalid value '{value}' for {name}. Valid values are: {', '.join(choices)}.",
        )
    return value


def _hop_limit(value: str) -> int:
    if not value.lstrip("-").isdigit() or int(value) not in HOP_LIMITS:
        raise AwsError("InvalidParameterValue", f"Invalid value '{value}' for {HOP_LIMIT}. Valid values are 1 to 64.")
    return int(value)
