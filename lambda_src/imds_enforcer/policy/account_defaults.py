"""What the policy says about the regions' account defaults, and where it contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.policy.safeguards import CountedBy

if TYPE_CHECKING:
    from datetime import datetime

    from imds_enforcer.model import Switch
    from imds_enforcer.policy.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDefaults:
    """The metadata defaults that each covered region gets, besides HttpTokens, which follows the toggle.

    If a field is None, the region keeps its own default; but a hop limit may be set together with required tokens. With
    `enforce_tokens` EC2 refuses launches with optional tokens (EC2 User Guide, "Configure instance metadata options for
    new instances").
    """

    http_put_response_hop_limit: int | None = None
    instance_metadata_tags: Switch | None = None
    enforce_tokens: bool | None = None

    def __str__(self) -> str:
        hops, tags = self.http_put_response_hop_limit, self.instance_metadata_tags
        parts = (
            "HttpTokens follows the toggle",
            f"hop limit {hops}" if hops else "",
            f"InstanceMetadataTags {tags}" if tags else "",
            "optional tokens refused" if self.enforce_tokens else "",
        )
        return ", ".join(filter(None, parts))


def contradictions(policy: Policy, now: datetime) -> list[str]:
    """Where the policy forbids launches that it exempts; one sentence for each exemption in force."""
    if policy.account_defaults is None or not policy.account_defaults.enforce_tokens:
        return []
    return [
        f"with account_defaults.enforce_tokens EC2 refuses the launches that this exemption allows: {exemption.named()}"
        for exemption in policy.exemptions
        if not exemption.expired(now)
    ]


def consequences(policy: Policy) -> list[str]:
    """The fields that make new instances wait, and that required account defaults override; one sentence each.

    An instance launched without HttpTokens of its own follows the region's default at once.
    """
    if policy.account_defaults is None:
        return []
    by_group = policy.gate is not None and policy.gate.by is CountedBy.GROUP
    waiting = (
        (f"launch_grace_seconds is {policy.launch_grace_seconds}", policy.launch_grace_seconds > 0),
        ("legacy_calls.by is group", by_group),
        (f"rollout_percent is {policy.rollout_percent}", policy.rollout_percent < 100),  # noqa: PLR2004  # all of them
    )
    return [
        f"{what}, but an instance launched without HttpTokens of its own requires tokens from its first second, "
        "because account_defaults follow the toggle"
        for what, is_so in waiting
        if is_so
    ]
