"""What the SCP of a policy does not do as the policy means it, for the person who attaches it."""

from collections.abc import Iterator
from datetime import datetime

from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import Match, Mode, Policy
from imds_enforcer_cli.guardrails.scp import FORMER_QUOTA, Roles
from imds_enforcer_cli.guardrails.tag_keys import exempting_tag_keys


def caveats(policy: Policy, roles: Roles, now: datetime, *, role_delivery: bool, characters: int) -> Iterator[str]:
    """A sentence for each; `characters` is how long the SCP is."""
    if policy.mode is Mode.AUDIT:
        yield "The policy is in audit mode; an SCP refuses as soon as it is attached."
    if policy.http_tokens is HttpTokens.REQUIRED:
        yield from _refused_launches(policy, now)
    else:
        yield "No statement is about launches, since the toggle is optional."
    protected, unprotected = exempting_tag_keys(policy, now)
    if protected:
        yield (
            "Exempting tags that an Auto Scaling group gives its instances are not refused: it launches with a "
            "service-linked role."
        )
    for key in unprotected:
        yield f"The tags of an exemption are not protected: the key {key!r} fits every tag."
    if role_delivery and any(not each.expired(now) for each in policy.exemptions):
        yield "RoleDelivery also refuses what exempt instances call with credentials fetched through IMDSv1."
    if not roles.deployers:
        yield "No --deploy-role is named: only operators can deploy, update and delete the stack ImdsEnforcerState."
    yield (
        f"Anyone who may create or change a role that fits {roles.enforcer} gets past this SCP: protect IAM in every "
        "account."
    )
    if characters > FORMER_QUOTA:
        yield f"It is {characters:,} characters long: too long where the quota is still {FORMER_QUOTA:,}."


def _refused_launches(policy: Policy, now: datetime) -> Iterator[str]:
    """Launches that the policy means to leave as they are. Those by service-linked roles are not refused."""
    refused = "is refused unless it requires tokens"
    for each in policy.exemptions:
        if not each.expired(now) and _may_be_new(each.match):
            yield f"A launch that is exempt {refused}: {each.named()}"
    if policy.launch_grace_seconds:
        yield f"A launch that counts on launch_grace_seconds ({policy.launch_grace_seconds}) {refused}."


def _may_be_new(match: Match) -> bool:
    """True if it may fit an instance that is still to be launched, whose id is not known yet."""
    return match.instance_id is None or not {*"*?["}.isdisjoint(match.instance_id)
