"""A deployment's settings, read from the CDK context and validated once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aws_cdk.region_info import RegionInfo

from infra import account_rules
from infra.account_rules import AccountRules, ContextError

_RATE = re.compile(r"rate\((?P<count>[1-9]\d*) (?P<unit>minute|hour|day)s?\)")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")

# A sweep may take a whole invocation, 15 minutes; at a shorter rate, sweeps would overlap.
_SHORTEST = timedelta(minutes=15)
# The sweep is the guarantee, and the alarm on missing sweeps takes two periods: a day is long enough.
_LONGEST = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Context:
    """The validated context.

    `regions` are the regions that get a forwarder, without the home region. `floor` is the weakest `HttpTokens` that
    the function may set; with `account_defaults`, it may set the account's metadata defaults too. `rules` are the
    account's own rules.
    """

    regions: tuple[str, ...]
    period: timedelta
    notification_email: str | None
    floor: str
    account_defaults: bool
    rules: AccountRules

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, home_region: str) -> "Context":
        """Check `values`, as `cdk.json` and `-c` give them, for a home stack in `home_region`."""
        return cls(
            regions=_regions(values.get("regions"), home_region),
            period=_period(values.get("schedule")),
            notification_email=_email(values.get("notification_email")),
            floor=_floor(values.get("floor")),
            account_defaults=account_rules.flag("account_defaults", values.get("account_defaults")),
            rules=AccountRules.parse(values),
        )

    @property
    def schedule(self) -> str:
        """The sweep's schedule as EventBridge Scheduler writes it."""
        return f"rate({self.period // timedelta(minutes=1)} minutes)"


def _floor(received: object) -> str:
    if received is None:
        return "optional"
    if received == "required":
        return "required"
    raise ContextError("floor", received, "required; for no floor, omit it")


def _email(received: object) -> str | None:
    if received in (None, ""):
        return None
    if isinstance(received, str) and _EMAIL.fullmatch(received):
        return received
    raise ContextError("notification_email", received, "one e-mail address, or empty for none")


def _period(received: object) -> timedelta:
    match = _RATE.fullmatch(received) if isinstance(received, str) else None
    if match:
        period = timedelta(**{f"{match['unit']}s": int(match["count"])})
        if _SHORTEST <= period <= _LONGEST:
            return period
    # No cron: it has no fixed period, and the alarm on missing sweeps must know how long two periods are.
    raise ContextError("schedule", received, "rate(N minutes), rate(N hours) or rate(1 day), from 15 minutes to 1 day")


def _regions(received: object, home: str) -> tuple[str, ...]:
    # The pinned CDK knows every region, its partition and whether it must be opted into.
    partition = RegionInfo.get(home).partition
    neighbours = [region for region in RegionInfo.regions if region.partition == partition]
    every = {region.name for region in neighbours if not region.is_opt_in_region} if partition == "aws" else set()
    if isinstance(received, str):
        names = [name.strip() for name in received.split(",") if name.strip()]
    elif isinstance(received, list):
        names = received
    else:
        raise ContextError("regions", received, "a list, names separated by commas, or 'all'")
    # Rules cannot send to another partition, so only regions of the home region's partition can have a forwarder.
    allowed = sorted(region.name for region in neighbours)
    chosen, excluded = set[str](), set[str]()
    for name in names:
        if name == "all" and every:
            chosen |= every
        elif name in allowed:
            chosen.add(name)
        elif isinstance(name, str) and name.removeprefix("-") in allowed:
            excluded.add(name.removeprefix("-"))
        else:
            raise ContextError("regions", name, f"'all' (commercial regions) or some of {', '.join(allowed)}")
    if excluded and "all" not in names:
        raise ContextError("regions", received, "'-' before a region only together with 'all'")
    return tuple(sorted(chosen - excluded - {home}))
