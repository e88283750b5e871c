"""What must happen to a region's account defaults, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from imds_enforcer.model import HttpTokens, Switch
from imds_enforcer.model.region_defaults import DEFAULTS, PlannedDefaults, RegionDefaults

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imds_enforcer.policy import AccountDefaults, Policy

HOPS_WITH_REQUIRED = 2
"""The hop limit that is set with required tokens if neither the region nor the policy has one.

With 1 a container host looks compliant while its containers get no token. AWS's documentation is not consistent about
EC2's own default (EC2 User Guide, "Configure instance metadata options for new instances").
"""


class DefaultsVerdict(Enum):
    """The kinds of decision."""

    COMPLIANT = auto()
    LEFT = auto()
    MANAGED = auto()
    REMEDIATE = auto()


@dataclass(frozen=True, slots=True)
class DefaultsDecision:
    """What must happen to the defaults and why; `plan` is set if and only if they must change."""

    verdict: DefaultsVerdict
    reason: str
    plan: PlannedDefaults | None = None


def decide_defaults(
    seen: RegionDefaults,
    policy: Policy,
    wanted: AccountDefaults,
    original: Mapping[str, Any],
    floor: HttpTokens,
) -> DefaultsDecision:
    """Decide about one region.

    The enforcer only tightens HttpTokens and HttpTokensEnforced. While the toggle is `optional`, it reverts its own
    changes. `original` has the earlier value of each attribute that the enforcer set and no one else has changed since.
    """
    if policy.http_tokens is HttpTokens.REQUIRED:
        after, left = _tightened(seen, wanted), ""
    else:
        after = _put_back(seen, wanted, original, floor)
        left = _left(after, original, floor)
    reason = "; ".join(filter(None, (_differences(seen, after), left)))
    plan = planned(seen, after, reason)
    if seen.managed and reason:
        return DefaultsDecision(DefaultsVerdict.MANAGED, f"{seen.managed}; {reason}")
    if plan:
        return DefaultsDecision(DefaultsVerdict.REMEDIATE, reason, plan)
    if left:
        return DefaultsDecision(DefaultsVerdict.LEFT, left)
    return DefaultsDecision(DefaultsVerdict.COMPLIANT, "the defaults match the policy")


def restored(seen: RegionDefaults, original: Mapping[str, Any]) -> RegionDefaults:
    """The defaults without what the enforcer has set.

    With HttpTokensEnforced enabled and tokens not required, every launch that does not name HttpTokens would fail (EC2
    User Guide, "Configure instance metadata options for new instances"). So required tokens, and the hop limit set
    with them, stay as long as HttpTokensEnforced does.
    """
    after = replace(seen, **original)
    if after.enforces_tokens and after.http_tokens is not HttpTokens.REQUIRED:
        after = replace(after, http_tokens=seen.http_tokens, http_tokens_enforced=seen.http_tokens_enforced)
    if after.http_tokens is HttpTokens.REQUIRED:
        after = replace(after, http_put_response_hop_limit=seen.http_put_response_hop_limit)
    return after


def planned(seen: RegionDefaults, after: RegionDefaults, reason: str) -> PlannedDefaults | None:
    """The change from the defaults `seen` to `after`; None if they are the same."""
    differing = {each for each in DEFAULTS.values() if getattr(after, each) != getattr(seen, each)}
    if not differing:
        return None
    if "http_tokens_enforced" in differing and after.enforces_tokens:
        differing.add("http_tokens")
    return PlannedDefaults(seen, after, tuple(each for each in DEFAULTS.values() if each in differing), reason)


def _tightened(seen: RegionDefaults, wanted: AccountDefaults) -> RegionDefaults:
    hops = wanted.http_put_response_hop_limit or seen.http_put_response_hop_limit or HOPS_WITH_REQUIRED
    return replace(
        seen,
        http_tokens=HttpTokens.REQUIRED,
        http_put_response_hop_limit=hops,
        instance_metadata_tags=wanted.instance_metadata_tags or seen.instance_metadata_tags,
        http_tokens_enforced=Switch.ENABLED if wanted.enforce_tokens else seen.http_tokens_enforced,
    )


def _put_back(
    seen: RegionDefaults, wanted: AccountDefaults, original: Mapping[str, Any], floor: HttpTokens
) -> RegionDefaults:
    tightened = ("http_tokens", "http_tokens_enforced")
    kept = tightened if floor is HttpTokens.REQUIRED else ()
    after = restored(seen, {name: value for name, value in original.items() if name not in kept})
    return replace(
        after,
        http_put_response_hop_limit=wanted.http_put_response_hop_limit or after.http_put_response_hop_limit,
        instance_metadata_tags=wanted.instance_metadata_tags or after.instance_metadata_tags,
    )


def _left(after: RegionDefaults, original: Mapping[str, Any], floor: HttpTokens) -> str:
    """What still requires tokens although the toggle is `optional`, and why it stays."""
    staying = [
        *(["HttpTokens is required"] if after.http_tokens is HttpTokens.REQUIRED else ()),
        *(["HttpTokensEnforced is enabled"] if after.enforces_tokens else ()),
    ]
    if not staying:
        return ""
    why = "not set by the enforcer"
    if floor is HttpTokens.REQUIRED:
        why = "this deployment's floor is HttpTokens required"
    elif after.enforces_tokens and "http_tokens" in original:
        why = "the enforcer did not set HttpTokensEnforced, which needs required tokens"
    return f"left unchanged: {' and '.join(staying)} ({why})"


def _differences(seen: RegionDefaults, after: RegionDefaults) -> str:
    now, then = seen.as_log(), after.as_log()
    return ", ".join(f"{name} is {now[name]}, not {then[name]}" for name in now if now[name] != then[name])
