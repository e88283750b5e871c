"""Warns the person who attaches an SCP where it deviates from the policy."""

from collections.abc import Iterator
from datetime import datetime

from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import Match, Mode, Policy
from imds_enforcer_cli.guardrails.scp import FORMER_QUOTA, Roles
from imds_enforcer_cli.guardrails.tag_keys import exempting_tag_keys


def caveats(policy: Policy, roles: Roles, now: datetime, *, role_delivery: bool, characters: int) -> Iterator[str]:
    """One sentence for each caveat; `characters` is the length of the SCP."""
    if policy.mode is Mode.AUDIT:
        yield "The policy is in audit mode, but an SCP denies calls as soon as it is attached."
    if policy.http_tokens is HttpTokens.REQUIRED:
        yield from _denied_launches(policy, now)
    else:
        yield "The SCP does not restrict launches, because the toggle is optional."
    protected, unprotected = exempting_tag_keys(policy, now)
    if protected:
        yield (
            "The SCP does not stop an Auto Scaling group from giving its instances exempting tags: it launches with a "
            "service-linked role."
        )
    for key in unprotected:
        yield f"The SCP does not protect the tag key {key!r} of an exemption, because it matches every tag."
    if role_delivery and any(not each.expired(now) for each in policy.exemptions):
        yield "RoleDelivery also denies calls by exempt instances with credentials fetched through IMDSv1."
    if not roles.deployers:
        yield "Without --deploy-role, only operators can deploy, update and delete the stack ImdsEnforcerState."
    yield (
        f"Anyone who can create or change a role that matches {roles.enforcer} can bypass this SCP: protect IAM in "
        "every account."
    )
    if characters > FORMER_QUOTA:
        yield f"The SCP has {characters:,} characters, too many where the quota is still {FORMER_QUOTA:,}."


def _denied_launches(policy: Policy, now: datetime) -> Iterator[str]:
    """Launches that the SCP denies although the policy would leave them alone; not those by service-linked roles."""
    denied = "is denied unless it requires tokens"
    for each in policy.exemptions:
        if not each.expired(now) and _may_be_new(each.match):
            yield f"An exempt launch {denied}: {each.named()}"
    if policy.launch_grace_seconds:
        yield f"A launch that relies on launch_grace_seconds ({policy.launch_grace_seconds}) {denied}."


def _may_be_new(match: Match) -> bool:
    """True if it may match a future instance, whose id is not known yet."""
    return match.instance_id is None or not {*"*?["}.isdisjoint(match.instance_id)
