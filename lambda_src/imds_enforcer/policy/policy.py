"""The policy: what every instance must look like, and which instances are exempt."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from imds_enforcer.policy.container_hosts import marks_container_host
from imds_enforcer.policy.safeguards import DEFAULT_WATCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imds_enforcer.model import HttpTokens, Instance, Switch
    from imds_enforcer.policy.account_defaults import AccountDefaults
    from imds_enforcer.policy.safeguards import Gate, Watch


class Mode(StrEnum):
    """What to do about an instance that differs from the policy."""

    ENFORCE = "enforce"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class PolicyVersions:
    """The versions of the two parameters that a policy was read from; 0 for one that was not found."""

    http_tokens: int = 0
    policy: int = 0

    def __str__(self) -> str:
        return f"versions {self.http_tokens} (HttpTokens) and {self.policy} (policy)"

    def as_log(self) -> dict[str, int]:
        """The versions by parameter."""
        return {"http_tokens": self.http_tokens, "policy": self.policy}


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which instances an exemption is for: every given field must fit, as a shell-style pattern.

    `tags` are matches by tag alone, and each must fit. `launch_template` is the template's id: the tag that EC2 sets
    does not contain its name.
    """

    instance_id: str | None = None
    image_id: str | None = None
    auto_scaling_group: str | None = None
    launch_template: str | None = None
    region: str | None = None
    tag_key: str | None = None
    tag_value: str = "*"
    tags: tuple[Match, ...] = ()

    def __str__(self) -> str:
        fields = (
            ("instance_id", self.instance_id),
            ("image_id", self.image_id),
            ("auto_scaling_group", self.auto_scaling_group),
            ("launch_template", self.launch_template),
            ("region", self.region),
            ("tag", self.tag_key and f"{self.tag_key}={self.tag_value}"),
        )
        given = [f"{name} {pattern}" for name, pattern in fields if pattern is not None]
        return ", ".join([*given, *map(str, self.tags)])

    def fits(self, instance: Instance) -> bool:
        """True if every field that is given fits the instance."""
        fields = (
            (self.instance_id, instance.instance_id),
            (self.image_id, instance.image_id),
            (self.auto_scaling_group, instance.auto_scaling_group),
            (self.launch_template, instance.launch_template and instance.launch_template.id),
            (self.region, instance.region),
        )
        return (
            all(pattern is None or (value is not None and fnmatchcase(value, pattern)) for pattern, value in fields)
            and self._fits_tag(instance.tags)
            and all(each.fits(instance) for each in self.tags)
        )

    def _fits_tag(self, tags: Mapping[str, str]) -> bool:
        return self.tag_key is None or any(
            fnmatchcase(key, self.tag_key) and fnmatchcase(value, self.tag_value) for key, value in tags.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """Instances that the policy leaves as they are: why, who answers for it, and until when."""

    match: Match
    reason: str
    owner: str | None = None
    expires: date | None = None

    def named(self) -> str:
        """The exemption with the instances that it is for, which distinguish it from the others."""
        return f"({self.match}) {self}"

    def expired(self, now: datetime) -> bool:
        """True from the day after `expires`, in UTC."""
        return self.expires is not None and now.astimezone(UTC).date() > self.expires

    def __str__(self) -> str:
        owner = f", owner {self.owner}" if self.owner else ""
        until = f", until {self.expires}" if self.expires else ""
        return f"{self.reason}{owner}{until}"


REGION_LEFT_OUT = "the policy leaves this region out"
"""Why instances of a region that the policy does not cover are left as they are."""


@dataclass(frozen=True, slots=True)
class RegionSelection:
    """Which regions follow the policy: all of them if neither list is given."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.include:
            return f"only {', '.join(self.include)}"
        return f"all but {', '.join(self.exclude)}" if self.exclude else "all"

    def covers(self, region: str) -> bool:
        """True if instances of the region follow the policy."""
        return region not in self.exclude and (not self.include or region in self.include)

    def unknown(self, enabled: Iterable[str]) -> tuple[str, ...]:
        """Named regions that the account has not enabled: most likely misspelt."""
        return tuple(sorted({*self.include, *self.exclude} - set(enabled)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What every instance must look like. For a field that is None, each instance keeps its own.

    `container_hop_limit` is the lowest hop limit that a container host needs once tokens are required: its containers
    are one network hop further away (EC2 User Guide, "Use the Instance Metadata Service"). `container_host_tags` mark
    container hosts, besides the tags that services set. `rollout_percent` is the share of the existing instances that
    the policy has reached by now. The enforcer leaves a new instance alone for `launch_grace_seconds`, and a sweep
    changes `max_changes_per_sweep` instances at most. Without `account_defaults` each region keeps its own defaults.
    """

    http_tokens: HttpTokens
    mode: Mode = Mode.ENFORCE
    http_put_response_hop_limit: int | None = None
    container_hop_limit: int | None = 2
    container_host_tags: tuple[Match, ...] = ()
    http_protocol_ipv6: Switch | None = None
    instance_metadata_tags: Switch | None = None
    regions: RegionSelection = RegionSelection()
    exemptions: tuple[Exemption, ...] = ()
    rollout_percent: int = 100
    launch_grace_seconds: int = 0
    max_changes_per_sweep: int | None = None
    gate: Gate | None = None
    watch: Watch | None = DEFAULT_WATCH
    account_defaults: AccountDefaults | None = None
    versions: PolicyVersions = PolicyVersions()

    def is_container_host(self, instance: Instance) -> bool:
        """True if a tag says that the instance runs containers."""
        return marks_container_host(instance.tags) or any(each.fits(instance) for each in self.container_host_tags)

    def has_reached(self, instance_id: str) -> bool:
        """True if the instance is in the rollout's share."""
        return reached_from(instance_id) <= self.rollout_percent

    def exemption_for(self, instance: Instance, now: datetime) -> Exemption | None:
        """The first exemption in force that fits the instance."""
        return next((e for e in self.exemptions if not e.expired(now) and e.match.fits(instance)), None)

    def expired_exemptions(self, now: datetime) -> tuple[Exemption, ...]:
        """Exemptions that no longer protect, and that someone should remove."""
        return tuple(exemption for exemption in self.exemptions if exemption.expired(now))


def reached_from(instance_id: str) -> int:
    """The smallest `rollout_percent` that reaches the instance, from 1 to 100.

    An instance never changes its place: a larger share adds instances and takes none out.
    """
    digest = hashlib.sha256(instance_id.encode()).digest()
    return (int.from_bytes(digest[:8]) * 100 >> 64) + 1
