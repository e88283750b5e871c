"""What can be set while the local AWS runs: delays, limits and switches."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

# The request buckets of an account in a region: capacity, and refill a second.
# DescribeInstances without filters and pages has a bucket of its own.
PUBLISHED_BUCKETS: Mapping[str, tuple[float, float]] = {
    "ec2:ModifyInstanceMetadataOptions": (100, 5),
    "ec2:ModifyInstanceMetadataDefaults": (2, 2),
    "ec2:DescribeInstances": (100, 20),
    "ec2:DescribeInstances (whole region)": (50, 10),
    "ec2:GetInstanceMetadataDefaults": (100, 20),
    "ec2:DescribeRegions": (100, 20),
    "ec2:DescribeImages": (100, 20),
    "ec2:DescribeLaunchTemplates": (100, 20),
    "ec2:DescribeLaunchTemplateVersions": (100, 20),
    "ec2:CreateLaunchTemplateVersion": (100, 5),
    "ec2:ModifyLaunchTemplate": (100, 5),
    "ec2:DeleteLaunchTemplateVersions": (100, 5),
}


class ControlError(ValueError):
    """A request to the control path names something unknown, or an invalid value."""


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ControlError("true or false")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ControlError("a number, 0 or more")
    return float(value)


def _optional_number(value: object) -> float | None:
    return None if value is None else _number(value)


def _optional_text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ControlError("text, or null")
    return value


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ControlError("a list of names")
    return tuple(value)


def _buckets(value: object) -> Mapping[str, tuple[float, float]]:
    if value == "published":
        return PUBLISHED_BUCKETS
    if value == "off":
        return {}
    if isinstance(value, Mapping) and all(isinstance(pair, list | tuple) for pair in value.values()):
        return {str(name): (_number(pair[0]), _number(pair[1])) for name, pair in value.items()}
    raise ControlError('"off", "published" or {"ec2:SomeAction": [capacity, refill a second]}')


def _defaults(value: object) -> Mapping[str, str | int]:
    if not isinstance(value, Mapping) or not all(isinstance(each, str | int) for each in value.values()):
        raise ControlError('metadata defaults, as in {"HttpTokens": "required"}')
    return value


def _knob(default: Any, check: Callable[[object], Any]) -> Any:
    made = {"default_factory": dict} if default == {} else {"default": default}
    return dataclasses.field(**made, metadata={"check": check})


@dataclasses.dataclass
class Knobs:
    """Every knob, with its default."""

    latency_seconds: float = _knob(0.0, _number)  # added to every call
    table_latency_seconds: float | None = _knob(None, _optional_number)  # of DynamoDB; None: as every call
    boot_seconds: float = _knob(0.0, _number)  # from `pending` to `running`
    visibility_seconds: float = _knob(0.0, _number)  # a new instance is unknown to EC2 for this long
    attached_seconds: float = _knob(0.0, _number)  # the age of the attachment of a new instance's network interface
    apply_seconds: float = _knob(0.2, _number)  # metadata options from `pending` to `applied`
    cloudtrail_events: bool = _knob(default=True, check=_flag)  # whether the account has a trail
    cloudtrail_seconds: float = _knob(0.0, _number)
    state_change_events: bool = _knob(default=True, check=_flag)
    state_change_seconds: float = _knob(0.0, _number)
    response_elements_limit: float = _knob(100 * 1024.0, _number)  # bytes; CloudTrail omits what is larger
    batching_window_seconds: float | None = _knob(None, _optional_number)  # None: as the mapping says
    request_buckets: Mapping[str, tuple[float, float]] = _knob({}, _buckets)
    enforce_iam: bool = _knob(default=False, check=_flag)
    strict_options: bool = _knob(default=False, check=_flag)  # other options require HttpEndpoint=enabled beside them
    unsupported_options: tuple[str, ...] = _knob((), _names)  # metadata options that the region refuses
    sparse_pages: bool = _knob(default=False, check=_flag)  # a filtered listing begins with an empty page
    opted_in_regions: tuple[str, ...] = _knob((), _names)  # besides those that need no opt-in
    declarative_policy_message: str | None = _knob(None, _optional_text)  # its error's text; None: no policy
    declarative_defaults: Mapping[str, str | int] = _knob({}, _defaults)  # what that policy sets, by the API's names
    required_default_hops: bool = _knob(default=False, check=_flag)  # default `required` alone means a hop limit of 2
    batch_write_items: float | None = _knob(None, _optional_number)  # how many of a batch are written; None: all
    move_listing_seconds: float = _knob(0.0, _number)  # how long a new move of messages is not listed
    move_seconds: float = _knob(0.0, _number)  # how long a move of messages runs
    managed_visible: bool = _knob(default=False, check=_flag)  # the account's setting for managed resources
    imds_v2_images: tuple[str, ...] = _knob((), _names)  # AMIs with ImdsSupport=v2.0
    merge_template_options: bool = _knob(default=False, check=_flag)  # a new version's options add to its source's
    template_fields_lost: tuple[str, ...] = _knob((), _names)  # a new version does not copy these from its source
    configurations_allow_imdsv1: bool = _knob(default=False, check=_flag)  # launch configurations without tokens
    template_warnings: tuple[str, ...] = _knob((), _names)  # codes of warnings for each new version of a template

    def turn(self, values: Mapping[str, object]) -> None:
        """Set some knobs: all of them, or none if one is wrong."""
        fields = {field.name: field for field in dataclasses.fields(self)}
        checked = {}
        for name, value in values.items():
            if name not in fields:
                raise ControlError(f"the knob is {name!r}; allowed: {', '.join(sorted(fields))}")
            try:
                checked[name] = fields[name].metadata["check"](value)
            except ControlError as allowed:
                raise ControlError(f"knob {name} is {value!r}; allowed: {allowed}") from None
        for name, value in checked.items():
            setattr(self, name, value)

    def reset(self) -> None:
        """Set all knobs to their defaults."""
        vars(self).update(vars(Knobs()))


KNOBS = Knobs()
"""The knobs of this process."""
