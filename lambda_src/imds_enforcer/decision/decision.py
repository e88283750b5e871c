"""The heart: what must happen to an instance, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from imds_enforcer.model import Change, HttpTokens, Instance, MetadataOptions, OptionsState, Switch

if TYPE_CHECKING:
    from datetime import datetime

    from imds_enforcer.policy import Policy


class Verdict(Enum):
    """The kinds of decision."""

    COMPLIANT = auto()
    IMDS_OFF = auto()
    ENDED = auto()
    UNREADABLE = auto()
    EXEMPT = auto()
    MANAGED = auto()
    NOT_REACHED = auto()
    IN_GRACE = auto()
    REMEDIATE = auto()


@dataclass(frozen=True, slots=True)
class Decision:
    """What must happen to one instance and why; `change` is set if and only if the instance must be remediated.

    `look_again_in` is the number of seconds after which the decision may change, if known.
    """

    verdict: Verdict
    reason: str
    change: Change | None = None
    look_again_in: float | None = None


def decide(instance: Instance, policy: Policy, now: datetime) -> Decision:  # noqa: PLR0911  # one for each verdict
    """Decide about one instance.

    Safety decides the order: what cannot or must not be changed comes before what should be. A disabled endpoint
    answers neither IMDSv1 nor IMDSv2, so it satisfies every policy, and any change would have to enable it (EC2 User
    Guide, "Modify instance metadata options for existing instances").
    """
    if instance.state.ended:
        return Decision(Verdict.ENDED, f"the instance is {instance.state}")
    options = instance.options
    hop_limit = _wanted_hop_limit(instance, options, policy) if options else None
    differences = _differences(options, policy, hop_limit) if options else []
    if options and options.http_endpoint is Switch.DISABLED:
        return Decision(Verdict.IMDS_OFF, "the metadata service is off, which satisfies every policy")
    if options and not differences:
        pending = "" if options.state is OptionsState.APPLIED else ", not yet applied"
        return Decision(Verdict.COMPLIANT, f"HttpTokens is {policy.http_tokens}, all options match the policy{pending}")
    exemption = policy.exemption_for(instance, now)
    if exemption:
        return Decision(Verdict.EXEMPT, f"exempt: {exemption}")
    if instance.unchangeable:
        return Decision(Verdict.MANAGED, instance.unchangeable)
    if options is None:
        return Decision(Verdict.UNREADABLE, "EC2 returned unrecognized metadata options")
    if not_yet := _not_yet(instance, policy, now):
        return not_yet
    reason = ", ".join(differences)
    if hop_limit != policy.http_put_response_hop_limit:
        reason += f"; a container host, which needs {policy.container_hop_limit} hops"
    lapsed = next((e for e in policy.expired_exemptions(now) if e.match.fits(instance)), None)
    if lapsed:
        reason += f"; its exemption ({lapsed}) has expired"
    return Decision(Verdict.REMEDIATE, reason, _smallest_change(options, policy, hop_limit))


def _not_yet(instance: Instance, policy: Policy, now: datetime) -> Decision | None:
    """The decision to leave an instance alone for now; None if its turn has come."""
    grace = policy.launch_grace_seconds
    if instance.attached_at is not None and grace:
        # By a clock that is slow, a launch may lie in the future: it gets no more grace than any other.
        left = min(grace, grace - (now - instance.attached_at).total_seconds())
        if left > 0:
            reason = f"launched less than {grace} s ago, still in the launch grace period for its boot scripts"
            return Decision(Verdict.IN_GRACE, reason, look_again_in=left)
    if policy.has_reached(instance.instance_id) or instance.first_launched(now):
        return None
    share = f"{policy.rollout_percent} % of existing instances"
    return Decision(Verdict.NOT_REACHED, f"outside the current rollout ({share})")


def _wanted_hop_limit(instance: Instance, options: MetadataOptions, policy: Policy) -> int | None:
    """The hop limit that the instance must have; None if it keeps its own.

    Containers are one hop further from the metadata service. With a hop limit of 1 they reach it through IMDSv1 but not
    through IMDSv2, so requiring tokens would cut them off. So when tokens become required, a container host also gets
    the hops that it needs. The policy's own hop limit lowers that of a container host only if it suffices for
    containers.
    """
    named, needed = policy.http_put_response_hop_limit, policy.container_hop_limit
    if needed is None or policy.http_tokens is HttpTokens.OPTIONAL or not policy.is_container_host(instance):
        return named
    observed = options.http_put_response_hop_limit
    if options.http_tokens is HttpTokens.REQUIRED and observed == named:
        return named
    if named is None:
        cut_off = options.http_tokens is HttpTokens.OPTIONAL and observed < needed
        return needed if cut_off else None
    return named if named >= needed else max(needed, observed)


def _differences(options: MetadataOptions, policy: Policy, hop_limit: int | None) -> list[str]:
    pairs = (
        ("HttpTokens", options.http_tokens, policy.http_tokens),
        ("HttpPutResponseHopLimit", options.http_put_response_hop_limit, hop_limit),
        ("HttpProtocolIpv6", options.http_protocol_ipv6, policy.http_protocol_ipv6),
        ("InstanceMetadataTags", options.instance_metadata_tags, policy.instance_metadata_tags),
    )
    return [
        f"{name} is {observed}, not {wanted}"
        for name, observed, wanted in pairs
        if wanted is not None and observed != wanted
    ]


def _smallest_change(options: MetadataOptions, policy: Policy, hop_limit: int | None) -> Change:
    ipv6, tags = policy.http_protocol_ipv6, policy.instance_metadata_tags
    return Change(
        http_tokens=policy.http_tokens,
        http_put_response_hop_limit=None if hop_limit == options.http_put_response_hop_limit else hop_limit,
        http_protocol_ipv6=None if ipv6 == options.http_protocol_ipv6 else ipv6,
        instance_metadata_tags=None if tags == options.instance_metadata_tags else tags,
    )
