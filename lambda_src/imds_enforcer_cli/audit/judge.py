"""Judges an instance by the policy, whether or not the enforcer would change it today."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from imds_enforcer.aws.ledger_table import Notes
from imds_enforcer.decision.decision import Verdict, decide
from imds_enforcer.decision.legacy_calls import Calls, held_back, is_gated
from imds_enforcer.decision.refused_options import without_refused
from imds_enforcer.ledger.holds import Standing
from imds_enforcer.ledger.refusals import RefusalNote
from imds_enforcer.model import Change, Instance, PlannedChange
from imds_enforcer.policy import REGION_LEFT_OUT, Policy

BY_GATE = "the policy's legacy_calls"
"""Shown as `by` for an instance that the policy's gate holds back."""


class Status(StrEnum):
    """An instance's status under the policy. The names are a contract: documents and pipelines rely on them."""

    COMPLIANT = "COMPLIANT"
    IMDS_OFF = "IMDS_OFF"
    DRIFT = "DRIFT"
    HELD = "HELD"
    EXEMPT = "EXEMPT"
    MANAGED = "MANAGED"
    UNREADABLE = "UNREADABLE"

    @property
    def compliant(self) -> bool:
        """True if the instance follows the policy, or its metadata service is off."""
        return self in {Status.COMPLIANT, Status.IMDS_OFF}


_STATUSES = {
    Verdict.COMPLIANT: Status.COMPLIANT,
    Verdict.IMDS_OFF: Status.IMDS_OFF,
    Verdict.EXEMPT: Status.EXEMPT,
    Verdict.MANAGED: Status.MANAGED,
    Verdict.UNREADABLE: Status.UNREADABLE,
    Verdict.REMEDIATE: Status.DRIFT,
}
"""No status for the other verdicts: terminated instances are not listed, and rollout and grace do not apply here."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A status with its reason; `until` is when the exemption or hold ends, `by` is its owner.

    `expired` means that the instance differs from the policy and an exemption for it has expired. `until` and `by` are
    then those of the expired exemption, unless something else holds the instance.
    """

    status: Status
    reason: str
    until: str | None = None
    by: str | None = None
    expired: bool = False


def noted_refusals(notes: Notes, policy: Policy, regions: Iterable[str]) -> dict[str, RefusalNote]:
    """The options that EC2 refused in these regions, by instance.

    Empty, without a request, if the policy sets no option that EC2 may refuse.

    Raises:
        AwsError: if the notes cannot be read.
    """
    if policy.http_protocol_ipv6 is None and policy.instance_metadata_tags is None:
        return {}
    return {instance_id: note for region in regions for instance_id, note in notes.refusals(region).items()}


class Judge:
    """Judges instances by one policy and the current holds, as of one moment.

    `refusals` are the ledger's notes of options that EC2 refused, by instance.
    """

    def __init__(
        self, policy: Policy, standing: Standing, now: datetime, refusals: Mapping[str, RefusalNote] | None = None
    ) -> None:
        self._policy = policy
        # An instance that waits for its rollout or its launch grace still differs from the policy.
        self._in_full = replace(policy, rollout_percent=100, launch_grace_seconds=0)
        self._expired = policy.expired_exemptions(now)
        self._standing = standing
        self._now = now
        self._refusals = refusals or {}

    @property
    def policy(self) -> Policy:
        """The policy by which it judges."""
        return self._policy

    def judge(self, instance: Instance, gate_calls: Calls | None = None) -> Judgement:
        """Judge an instance that is not terminated.

        `gate_calls` are the calls without a token on which the policy's gate decides, if known.
        """
        decision = decide(instance, self._in_full, self._now)
        status, reason = _STATUSES[decision.verdict], decision.reason
        if status.compliant:
            return Judgement(status, reason)
        if not self._policy.regions.covers(instance.region):
            return Judgement(Status.EXEMPT, REGION_LEFT_OUT)
        if status is Status.EXEMPT:
            exemption = self._policy.exemption_for(instance, self._now)
            assert exemption is not None
            until = exemption.expires.isoformat() if exemption.expires else None
            return Judgement(status, reason, until, exemption.owner)
        judgement = self._expired_of(instance, Judgement(status, reason))
        if status is not Status.DRIFT:
            return judgement
        return (
            self._held(instance, judgement)
            or self._gated(instance, decision.change, judgement, gate_calls)
            or self._refused(instance, decision.change, judgement)
            or self._waiting(instance, judgement)
        )

    def _expired_of(self, instance: Instance, judgement: Judgement) -> Judgement:
        """Add the expired exemption for the instance, if any."""
        ended = next((each for each in self._expired if each.match.fits(instance)), None)
        if ended is None or ended.expires is None:
            return judgement
        return replace(judgement, until=ended.expires.isoformat(), by=ended.owner, expired=True)

    def _held(self, instance: Instance, judgement: Judgement) -> Judgement | None:
        hold = self._standing.holds.get(instance.instance_id)
        if hold is None:
            return None
        until = hold.until.isoformat(timespec="seconds") if hold.until else None
        return replace(
            judgement, status=Status.HELD, reason=f"{hold.reason}; {judgement.reason}", until=until, by=hold.by
        )

    def _gated(
        self, instance: Instance, change: Change | None, judgement: Judgement, calls: Calls | None
    ) -> Judgement | None:
        """HELD if the policy's gate holds the instance back."""
        gate = self._policy.gate
        if gate is None or calls is None or change is None or instance.options is None:
            return None
        plan = PlannedChange(instance, change, change.applied_to(instance.options), judgement.reason)
        why = held_back(calls, gate) if is_gated(plan, self._policy, self._now) else None
        if why is None:
            return None
        until = gate.enforce_after.isoformat() if gate.enforce_after else None
        return replace(
            judgement,
            status=Status.HELD,
            reason=f"{why}; {judgement.reason}",
            until=until,
            by=BY_GATE,
        )

    def _refused(self, instance: Instance, change: Change | None, judgement: Judgement) -> Judgement | None:
        """HELD if only options that EC2 refused still differ: the enforcer retries them after the note expires."""
        note = self._refusals.get(instance.instance_id)
        if note is None or not note.applies(instance.tags, self._now) or change is None or instance.options is None:
            return None
        plan = PlannedChange(instance, change, change.applied_to(instance.options), judgement.reason)
        left = without_refused(plan, note.refused)
        if isinstance(left, PlannedChange):
            return None
        until = note.until.isoformat(timespec="seconds")
        return replace(judgement, status=Status.HELD, reason=left.reason, until=until, by="EC2")

    def _waiting(self, instance: Instance, judgement: Judgement) -> Judgement:
        """Add why the enforcer has not fixed the instance yet, if known."""
        today = decide(instance, self._policy, self._now)
        turn = today.reason if today.verdict is not Verdict.REMEDIATE else ""
        contest = self._standing.contests.get(instance.instance_id)
        phrases = (judgement.reason, turn, str(contest) if contest else "")
        return replace(judgement, reason="; ".join(filter(None, phrases)))
