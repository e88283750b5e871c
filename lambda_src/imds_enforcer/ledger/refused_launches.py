"""Launches that EC2 refused because of their tokens: who launches them, how often, and what to change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

from imds_enforcer.model import HttpTokens, Source
from imds_enforcer.model.wording import launched_by

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT = timedelta(days=3)
"""How long a refused launch is remembered."""

MOST = 10_000
"""How many of the latest launches are counted: a launcher that retries every second has too many to read."""

LATELY = timedelta(hours=25)
"""Launchers refused within this time are reported: more than a day, so that a daily digest that is late misses none."""

_FIELD = f"MetadataOptions.HttpTokens={HttpTokens.REQUIRED}"
_RESOURCE = re.compile(r" on resource: (\S+)")


class Cause(StrEnum):
    """What refused a launch. Only the first certainly concerns tokens: the messages of the others do not say."""

    TOKENS_ENFORCED = "HttpTokensEnforced"
    SERVICE_CONTROL_POLICY = "a service control policy"
    ORGANIZATION = "an organizational policy"


def cause_of(code: str, message: str, tokens: object) -> Cause | None:
    """What refused a launch, if its tokens were the cause or may have been; None for every other failure.

    `code` and `message` are CloudTrail's `errorCode` and `errorMessage`, `tokens` the `HttpTokens` of the request
    itself. The messages are documented in the EC2 User Guide, "Troubleshoot instance launch issues" (the same for the
    account and for a declarative policy); in the IAM User Guide, "Troubleshoot access denied error messages"; and in
    the Organizations User Guide, "Declarative policies", for a policy without a message of its own.
    """
    if code == "Client.UnsupportedOperation" and "httpTokensEnforced is enabled" in message:
        return Cause.TOKENS_ENFORCED
    if tokens == HttpTokens.REQUIRED:
        return None
    if code == "Client.UnauthorizedOperation" and "explicit deny in a service control policy" in message:
        # The condition key `ec2:MetadataHttpTokens` exists for instances only (Service Authorization Reference).
        denied = _RESOURCE.search(message)
        return None if denied and ":instance/" not in denied[1] else Cause.SERVICE_CONTROL_POLICY
    return Cause.ORGANIZATION if "organizational policy in effect" in message else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """Who launches with what in a region, and what refuses the launches.

    `principal` is the ARN of a role or a user, `invoked_by` the service that launched in its name. `asked_optional` is
    True if the request itself named `optional`, whatever its template says.
    """

    region: str
    principal: str
    invoked_by: str | None
    source: Source
    asked_optional: bool
    cause: Cause

    def __str__(self) -> str:
        through = f" through {self.invoked_by}" if self.invoked_by else ""
        source = self.source
        known = launched_by(source.auto_scaling_group, source.launch_template, source.image_id)
        return f"{self.principal}{through} in {self.region}{', with ' if known else ''}{', '.join(known)}"

    @property
    def why(self) -> str:
        """What refuses the launches; "possibly" if its message does not name tokens."""
        if self.cause is Cause.TOKENS_ENFORCED:
            return f"{self.cause} is enabled"
        return f"{self.cause} denies them, possibly because they do not require tokens"

    @property
    def change(self) -> str:
        """The field to change, and where."""
        group, template = self.source.auto_scaling_group, self.source.launch_template
        if template and (group or not self.asked_optional):
            return f"set {_FIELD} in a new version of launch template {template.id}, and launch from that version"
        if group:
            # A launch configuration cannot be changed (Auto Scaling User Guide, "Launch configurations").
            return f"give Auto Scaling group {group} a launch template with {_FIELD}"
        return f"set {_FIELD} in the request"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLaunch:
    """One launch that was refused. `event_id` is CloudTrail's, and the same if the event is delivered twice."""

    event_id: str
    at: datetime
    launcher: Launcher


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLauncher:
    """A launcher that was refused lately, with those of its refusals that are still remembered.

    `uncounted` is True if there were more launches, by this launcher or by others, than are counted.
    """

    launcher: Launcher
    times: int
    first: datetime
    last: datetime
    uncounted: bool = False

    def __str__(self) -> str:
        """The line that the digest and `status` show."""
        often = f"{self.times} times since {self.first:%Y-%m-%d %H:%M} UTC, last" if self.times > 1 else "once,"
        how_often = f"refused {'at least ' if self.uncounted else ''}{often} at {self.last:%Y-%m-%d %H:%M} UTC"
        return f"{self.launcher}: {how_often}; {self.launcher.why}. To do: {self.launcher.change}."

    def as_json(self) -> dict[str, object]:
        """The launcher, field by field and as a line."""
        launcher, template = self.launcher, self.launcher.source.launch_template
        return {
            "region": launcher.region,
            "principal": launcher.principal,
            "invoked_by": launcher.invoked_by,
            "auto_scaling_group": launcher.source.auto_scaling_group,
            "launch_template": template and template.id,
            "launch_template_version": template and template.version,
            "image_id": launcher.source.image_id or None,
            "cause": launcher.why,
            "launches": self.times,
            "first": self.first.isoformat(timespec="seconds"),
            "last": self.last.isoformat(timespec="seconds"),
            "change": launcher.change,
            "line": str(self),
        }


def refused_lately(latest_first: Iterable[RefusedLaunch], now: datetime) -> list[RefusedLauncher]:
    """One for each launcher that was refused within `LATELY`, the latest first."""
    launches = iter(latest_first)
    moments: dict[Launcher, list[datetime]] = {}
    for launch in islice(launches, MOST):
        moments.setdefault(launch.launcher, []).append(launch.at)
    uncounted = next(launches, None) is not None
    return [
        RefusedLauncher(launcher=launcher, times=len(each), first=each[-1], last=each[0], uncounted=uncounted)
        for launcher, each in moments.items()
        if each[0] >= now - LATELY
    ]
