"""What a new policy allows that the policy in force does not, and which safeguards it gives up."""

from collections.abc import Iterator

from imds_enforcer.model import HttpTokens, Switch
from imds_enforcer.policy import Mode, Policy, RegionSelection

TOKENS_OPTIONAL = "the enforcer sets instances to optional, and they answer calls without a token"
_ANY_NUMBER = float("inf")


def weakened(old: Policy, new: Policy) -> list[str]:
    """Why the user must confirm that the new policy replaces the old one; empty if no confirmation is needed."""
    return [*_protection(old, new), *_launches(old, new), *_reach(old, new), *_safeguards(old, new)]


def _protection(old: Policy, new: Policy) -> Iterator[str]:
    if old.http_tokens is HttpTokens.REQUIRED and new.http_tokens is HttpTokens.OPTIONAL:
        yield TOKENS_OPTIONAL
    if old.mode is Mode.ENFORCE and new.mode is Mode.AUDIT:
        yield "the enforcer only audits instances, and no longer changes them"
    hops, more = old.http_put_response_hop_limit, new.http_put_response_hop_limit
    if hops is not None and (more is None or more > hops):
        yield f"http_put_response_hop_limit is {more or 'no longer set'}, not {hops}"
    for name in ("http_protocol_ipv6", "instance_metadata_tags"):
        if getattr(old, name) is Switch.DISABLED and getattr(new, name) is not Switch.DISABLED:
            yield f"{name} is no longer disabled"


def _launches(old: Policy, new: Policy) -> Iterator[str]:
    """The account defaults for new instances."""
    defaults, then = old.account_defaults, new.account_defaults
    if defaults is None:
        return
    if then is None:
        yield "the enforcer no longer sets account_defaults; the regions keep the values that they have"
        return
    hops, more = defaults.http_put_response_hop_limit, then.http_put_response_hop_limit
    if hops is not None and (more is None or more > hops):
        yield f"account_defaults.http_put_response_hop_limit is {more or 'no longer set'}, not {hops}"
    if defaults.instance_metadata_tags is Switch.DISABLED and then.instance_metadata_tags is not Switch.DISABLED:
        yield "account_defaults.instance_metadata_tags is no longer disabled"
    if defaults.enforce_tokens and not then.enforce_tokens:
        yield "account_defaults.enforce_tokens is no longer set"


def _reach(old: Policy, new: Policy) -> Iterator[str]:
    """The instances that the enforcer leaves alone."""
    if _leaves_out(old.regions, new.regions):
        yield f"the new policy covers {_regions(new.regions)}, not {_regions(old.regions)}"
    yield from (f"the new policy exempts {each.named()}" for each in new.exemptions if each not in old.exemptions)
    if new.rollout_percent < old.rollout_percent:
        yield f"the new policy reaches {new.rollout_percent} % of the existing instances, not {old.rollout_percent} %"
    if new.launch_grace_seconds > old.launch_grace_seconds:
        yield (
            f"the enforcer leaves new instances alone for {new.launch_grace_seconds} s, not "
            f"{old.launch_grace_seconds} s"
        )


def _safeguards(old: Policy, new: Policy) -> Iterator[str]:
    """The safeguards that keep a change from doing harm."""
    if old.gate != new.gate:
        yield f"the gate holds back {_gated(new)}; before, it held back {_gated(old)}"
    if old.watch and new.watch is None:
        yield "the enforcer no longer watches changed instances for rejected IMDSv1 calls"
    for tag in old.container_host_tags:
        if tag not in new.container_host_tags:
            yield f"{tag} no longer marks container hosts"
    most, now = old.max_changes_per_sweep or _ANY_NUMBER, new.max_changes_per_sweep or _ANY_NUMBER
    if now > most:
        yield f"one sweep may change {new.max_changes_per_sweep or 'any number of'} instances, not {most:g}"
    if old.container_hop_limit != new.container_hop_limit:
        yield f"container_hop_limit is {new.container_hop_limit or 'null'}, not {old.container_hop_limit or 'null'}"


def _gated(policy: Policy) -> str:
    return f"instances with {policy.gate}" if policy.gate else "no instances"


def _leaves_out(old: RegionSelection, new: RegionSelection) -> bool:
    """True if the old selection may cover a region that the new one does not."""
    if old.include:
        return not all(map(new.covers, old.include))
    return bool(new.include) or not set(new.exclude) <= set(old.exclude)


def _regions(selection: RegionSelection) -> str:
    text = str(selection)
    return "all regions" if text == "all" else text
