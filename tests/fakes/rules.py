"""What a policy demands, as the README describes it, without any of the enforcer's code."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

from imds_enforcer.model import Change, HttpTokens, Switch

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from imds_enforcer.model import Instance, MetadataOptions
    from imds_enforcer.model.region_defaults import RegionDefaults

_ENDED = ("shutting-down", "terminated")


def calls_imdsv1(instance_id: str) -> bool:
    """Whether an instance calls IMDSv1 every day; one in four does."""
    return int(instance_id[-1], 16) % 4 == 3


CALLING_GROUP = "web-1"
"""The Auto Scaling group that calls IMDSv1 every day, in each region. CloudWatch has no data on any other group."""


def is_xen(instance_id: str) -> bool:
    """Whether an instance has an old type without IPv6; every second one does."""
    return int(instance_id[-1], 16) % 4 in (1, 2)


def refused_options(instance: Instance, change: Change) -> set[str]:
    """The options of a change that the instance cannot have."""
    unfit = any(" " in key or "/" in key for key in instance.tags)
    ipv6 = change.http_protocol_ipv6 == "enabled" and is_xen(instance.instance_id)
    tags = change.instance_metadata_tags == "enabled" and unfit
    return {name for name, refused in (("http_protocol_ipv6", ipv6), ("instance_metadata_tags", tags)) if refused}


def smaller(change: Change) -> list[Change]:
    """A change without one or all of the options that EC2 may refuse."""
    ipv6, tags = replace(change, http_protocol_ipv6=None), replace(change, instance_metadata_tags=None)
    return [each for each in (ipv6, tags, replace(ipv6, instance_metadata_tags=None)) if each != change]


def is_new(instance: Instance, now: datetime) -> bool:
    """Whether the instance is in its first hour."""
    return instance.attached_at is not None and now - instance.attached_at < timedelta(hours=1)


@dataclass(frozen=True)
class Rules:
    """The contents of the two parameters. `is_policy` is False if the text is no valid policy."""

    tokens: str = "required"
    text: str = "{}"
    is_policy: bool = True

    @property
    def valid(self) -> bool:
        """Whether both parameters are valid."""
        return self.is_policy and self.tokens in ("required", "optional")

    @property
    def audit(self) -> bool:
        """Whether the policy only asks for a report."""
        return self._asked.get("mode") == "audit"

    @property
    def has_gate(self) -> bool:
        """Whether instances that call IMDSv1 keep it."""
        return self._asked.get("legacy_calls") is not None

    def has_reached(self, instance: Instance, now: datetime) -> bool:
        """Whether the instance is inside the rollout, or new."""
        place = int(hashlib.sha256(instance.instance_id.encode()).hexdigest()[:16], 16)
        return is_new(instance, now) or place * 100 < int(self._asked.get("rollout_percent", 100)) * 2**64

    def spares(self, instance: Instance, now: datetime) -> bool:
        """Whether the gate lets an instance that looks like this keep IMDSv1."""
        loses = self.tokens == "required" and instance.options and instance.options.http_tokens == "optional"
        if not self.has_gate or not loses:
            return False
        if self._asked["legacy_calls"].get("by") == "group" and _group(instance) == CALLING_GROUP:
            return True
        return not is_new(instance, now) and calls_imdsv1(instance.instance_id)

    def covers(self, region: str) -> bool:
        """Whether the policy covers a region."""
        selection = self._asked.get("regions", {})
        return region in selection.get("include", [region]) and region not in selection.get("exclude", [])

    def exempts(self, instance: Instance, now: datetime) -> bool:
        """Whether an exemption protects an instance at this moment."""
        today = now.date().isoformat()
        exemptions = self._asked.get("exemptions", [])
        return any(e.get("expires", today) >= today and _fits(e["match"], instance) for e in exemptions)

    def agree_with(self, options: MetadataOptions | None, but_for: Collection[str] = ()) -> bool:
        """Whether options are as the policy demands, apart from those in `but_for`."""
        return options is not None and not self._differences(options).keys() - set(but_for)

    def change_for(self, instance: Instance, now: datetime) -> Change | None:
        """The one change allowed for an instance that looks like this; None if no change is allowed."""
        options = instance.options
        if not self.valid or self.audit or not self.covers(instance.region) or options is None:
            return None
        if instance.state in _ENDED or options.http_endpoint == "disabled" or instance.managed_by is not None:
            return None
        differences = self._differences(options)
        if not differences or self.exempts(instance, now):
            return None
        if not self.has_reached(instance, now) or self.spares(instance, now):
            return None
        return Change(**{"http_tokens": HttpTokens(self.tokens)} | differences)

    def sets_defaults(self, region: str, now: datetime) -> bool:
        """Whether account defaults may be set in a region; enforced tokens must not contradict an exemption."""
        asked, today = self._asked.get("account_defaults"), now.date().isoformat()
        in_force = any(e.get("expires", today) >= today for e in self._asked.get("exemptions", []))
        contradicts = self.tokens == "required" and asked and asked.get("enforce_tokens") and in_force
        return self.valid and not self.audit and self.covers(region) and asked is not None and not contradicts

    def defaults_agree(self, region: str, defaults: RegionDefaults, now: datetime) -> bool:
        """Whether a region's defaults meet every demand of the policy."""
        if not self.sets_defaults(region, now):
            return True
        asked = self._asked["account_defaults"]
        wanted = {name: asked[name] for name in asked if name != "enforce_tokens" and asked[name] is not None}
        if self.tokens == "required":
            wanted["http_tokens"] = "required"
            if asked.get("enforce_tokens"):
                wanted["http_tokens_enforced"] = "enabled"
            if defaults.http_put_response_hop_limit is None:
                return False
        return all(getattr(defaults, name) == value for name, value in wanted.items())

    def _differences(self, options: MetadataOptions) -> dict[str, Any]:
        asked: dict[str, Any] = {"http_tokens": HttpTokens(self.tokens)}
        for name, type_ in (
            ("http_put_response_hop_limit", int),
            ("http_protocol_ipv6", Switch),
            ("instance_metadata_tags", Switch),
        ):
            if self._asked.get(name) is not None:
                asked[name] = type_(self._asked[name])
        return {name: value for name, value in asked.items() if getattr(options, name) != value}

    @cached_property
    def _asked(self) -> dict[str, Any]:
        return json.loads(self.text) if self.is_policy else {}


def _group(instance: Instance) -> str | None:
    return instance.tags.get("aws:autoscaling:groupName")


def _fits(match: Mapping[str, Any], instance: Instance) -> bool:
    known = {
        "instance_id": instance.instance_id,
        "image_id": instance.image_id,
        "auto_scaling_group": _group(instance),
        "launch_template": instance.tags.get("aws:ec2launchtemplate:id"),
        "region": instance.region,
    }
    names = match.keys() - {"tag", "tags"}
    if any(not (known[name] and fnmatchcase(known[name] or "", match[name])) for name in names):
        return False
    tags = [*match.get("tags", ()), *([match["tag"]] if "tag" in match else ())]
    return all(
        any(
            fnmatchcase(key, tag["key"]) and fnmatchcase(value, tag.get("value", "*"))
            for key, value in instance.tags.items()
        )
        for tag in tags
    )
