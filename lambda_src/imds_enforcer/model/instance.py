"""What the enforcer knows of an instance."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")

AUTO_SCALING_GROUP_TAG = "aws:autoscaling:groupName"
LAUNCH_TEMPLATE_TAG = "aws:ec2launchtemplate:id"
LAUNCH_TEMPLATE_VERSION_TAG = "aws:ec2launchtemplate:version"

FIRST_LAUNCH = timedelta(hours=1)
"""How long after its launch an instance counts as new: nothing depends on its metadata options yet."""


class HttpTokens(StrEnum):
    """Whether a session token must accompany a metadata request: `required` is IMDSv2 only."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class Switch(StrEnum):
    """The two values of the metadata options that are on or off."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class OptionsState(StrEnum):
    """Whether EC2 has applied the options to the instance yet."""

    PENDING = "pending"
    APPLIED = "applied"


class InstanceState(StrEnum):
    """EC2's instance states."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"

    @property
    def ended(self) -> bool:
        """The instance will not run again, and its options can no longer be changed."""
        return self in {InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED}

    @property
    def at_rest(self) -> bool:
        """Changed options stay pending until the next start."""
        return self in {InstanceState.STOPPING, InstanceState.STOPPED}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataOptions:
    """The metadata options of one instance, as EC2 described them."""

    http_tokens: HttpTokens
    http_endpoint: Switch
    http_put_response_hop_limit: int
    http_protocol_ipv6: Switch = Switch.DISABLED
    instance_metadata_tags: Switch = Switch.DISABLED
    state: OptionsState = OptionsState.APPLIED

    @classmethod
    def described(cls, item: Mapping[str, Any]) -> MetadataOptions:
        """Parse options under EC2's own names, as in a description or in `as_log`.

        An option that EC2 introduced later may be missing; it counts as off.

        Raises:
            KeyError: if an option is missing that EC2 has always had.
            ValueError: if an option has an unrecognized value.
        """
        return cls(
            http_tokens=HttpTokens(item["HttpTokens"]),
            http_endpoint=Switch(item["HttpEndpoint"]),
            http_put_response_hop_limit=int(item["HttpPutResponseHopLimit"]),
            http_protocol_ipv6=Switch(item.get("HttpProtocolIpv6", "disabled")),
            instance_metadata_tags=Switch(item.get("InstanceMetadataTags", "disabled")),
            state=OptionsState(item["State"]),
        )

    def agree_with(self, other: MetadataOptions) -> bool:
        """True if every option is the same, applied yet or not."""
        return replace(self, state=other.state) == other

    def as_log(self) -> dict[str, str | int]:
        """The options under EC2's own names, for log lines and reports."""
        return {
            "HttpTokens": self.http_tokens.value,
            "HttpEndpoint": self.http_endpoint.value,
            "HttpPutResponseHopLimit": self.http_put_response_hop_limit,
            "HttpProtocolIpv6": self.http_protocol_ipv6.value,
            "InstanceMetadataTags": self.instance_metadata_tags.value,
            "State": self.state.value,
        }


class LaunchTemplate(NamedTuple):
    """A launch template and its version: a number, `$Latest` or `$Default`."""

    id: str
    version: str

    def __str__(self) -> str:
        return f"{self.id} version {self.version}"


@dataclass(frozen=True, slots=True)
class Source:
    """What launched an instance, and will launch more like it until it is fixed."""

    auto_scaling_group: str | None = None
    launch_template: LaunchTemplate | None = None
    image_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance at the moment it was read.

    `observed_at` is that moment on the monotonic clock, in seconds: a decision is only as good as the observation
    behind it. `options` is None if EC2 returned unrecognized metadata options: the enforcer then assumes nothing
    about the instance. `attached_at` is when its primary network interface was attached; unlike the launch time, a
    stop and start does not reset it.
    """

    instance_id: str
    region: str
    state: InstanceState
    options: MetadataOptions | None
    observed_at: float
    image_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    managed_by: str | None = None
    attached_at: datetime | None = None

    def first_launched(self, now: datetime) -> bool:
        """True if it was launched less than an hour ago, and not merely started."""
        return self.attached_at is not None and now - self.attached_at < FIRST_LAUNCH

    @property
    def unchangeable(self) -> str | None:
        """Why the account cannot change the instance; None if it can."""
        return None if self.managed_by is None else f"managed by {self.managed_by}: the account cannot change it"

    @property
    def auto_scaling_group(self) -> str | None:
        """The Auto Scaling group that launched the instance, from the tag that AWS sets."""
        return self.tags.get(AUTO_SCALING_GROUP_TAG)

    @property
    def launch_template(self) -> LaunchTemplate | None:
        """The launch template version that the instance was launched from, from the tags that AWS sets."""
        template = self.tags.get(LAUNCH_TEMPLATE_TAG)
        return LaunchTemplate(template, self.tags.get(LAUNCH_TEMPLATE_VERSION_TAG, "$Default")) if template else None

    @property
    def source(self) -> Source:
        """What launched the instance."""
        return Source(self.auto_scaling_group, self.launch_template, self.image_id)
