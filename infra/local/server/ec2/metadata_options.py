"""Instance metadata options: which values EC2 takes, and where an instance's own come from."""

from collections.abc import Mapping

from infra.local.server.errors import AwsError

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

# What an instance gets when nobody says anything, and when its AMI asks for IMDSv2.
LAUNCH_OPTIONS: Options = {
    "HttpTokens": "optional",
    HOP_LIMIT: 1,
    "HttpEndpoint": "enabled",
    "HttpProtocolIpv6": "disabled",
    "InstanceMetadataTags": "disabled",
}
IMDS_V2_IMAGE: Options = {"HttpTokens": "required", HOP_LIMIT: 2}


def parse(parameters: Mapping[str, str], prefix: str = "") -> Options:
    """The options named in a request's parameters, refused where EC2 refuses their values."""
    options: Options = {}
    for name, choices in CHOICES.items():
        if value := parameters.get(prefix + name):
            options[name] = _choice(name, value, choices)
    if value := parameters.get(prefix + HOP_LIMIT):
        options[HOP_LIMIT] = _hop_limit(value)
    return options


def parse_defaults(parameters: Mapping[str, str]) -> dict[str, str | int | None]:
    """The account defaults named in a request's parameters; None takes a default away."""
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
    """An instance's options: the request's, else the account's, else the AMI's, each option for itself."""
    preferences = {name: value for name, value in defaults.items() if name != ENFORCED}
    image = IMDS_V2_IMAGE if imds_v2_image else {}
    options: Options = {**LAUNCH_OPTIONS, **image, **preferences, **requested}
    if defaults.get(ENFORCED) == "enabled" and options["HttpTokens"] == "optional":
        raise tokens_enforced()
    return options


def check_alone(requested: Options) -> None:
    """The old service's stricter reading: nothing but `HttpEndpoint=enabled` may come with other options."""
    others = requested.keys() - {"HttpEndpoint"}
    if others and requested.get("HttpEndpoint") == "disabled":
        raise AwsError(
            "InvalidParameterCombination",
            f"When HttpEndpoint is disabled, {', '.join(sorted(others))} cannot be specified.",
        )
    if others and "HttpEndpoint" not in requested:
        raise AwsError("InvalidParameterValue", f"HttpEndpoint must be enabled to set {', '.join(sorted(others))}.")


def tokens_enforced() -> AwsError:
    """What an account that enforces tokens answers to a wish for optional ones."""
    return AwsError(
        "UnsupportedOperation",
        "HttpTokens optional is not allowed: HttpTokensEnforced is enabled for this account in this region.",
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
