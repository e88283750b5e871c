"""Explains single instances: everything that decides what the policy does with them, as one document."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from imds_enforcer.decision.decision import Decision, decide
from imds_enforcer.decision.legacy_calls import REJECTED, SERVED, Calls, held_back, is_gated
from imds_enforcer.model import Instance, PlannedChange
from imds_enforcer.model.instance import FIRST_LAUNCH
from imds_enforcer.policy import REGION_LEFT_OUT, Exemption, Match, Policy
from imds_enforcer.policy.policy import reached_from
from imds_enforcer_cli.audit.document import Document, Subject
from imds_enforcer_cli.audit.evidence import CALLS, HOLDS, LEDGER, Evidence, Search
from imds_enforcer_cli.audit.judge import Judge

ENTRIES = 5
"""How many of an instance's latest ledger entries are shown."""

_TAG = {"tag_key": "tag", "tag_value": "value of the tag"}
"""The criteria whose names in a policy differ from the field names."""


def why_document(subject: Subject, searched: Search, evidence: Sequence[Evidence], unknown: Sequence[str]) -> Document:
    """The whole explanation as JSON; `unknown` are the ids found in no region."""
    policy = subject.policy
    return {
        "account": subject.account,
        "at": subject.at.isoformat(timespec="seconds"),
        "policy": {
            "source": subject.origin,
            "http_tokens": str(policy.http_tokens),
            "mode": str(policy.mode),
            "versions": policy.versions.as_log(),
        },
        "regions": list(searched.asked),
        "errors": dict(searched.refused),
        "unknown": list(unknown),
        "instances": [_Why(each, policy, subject).as_json() for each in evidence],
    }


@dataclass(frozen=True, slots=True)
class _Why:
    """One instance under one policy at one moment."""

    evidence: Evidence
    policy: Policy
    subject: Subject

    @property
    def instance(self) -> Instance:
        """The instance as EC2 shows it."""
        return self.evidence.instance

    def as_json(self) -> dict[str, Any]:
        """The instance as it appears in the document."""
        instance, options = self.instance, self.instance.options
        return {
            "instance_id": instance.instance_id,
            "region": instance.region,
            "region_left_out": not self.policy.regions.covers(instance.region),
            "name": instance.tags.get("Name", ""),
            "state": str(instance.state),
            "options": options.as_log() if options else None,
            **self._judgement(),
            "decision": self._decision(),
            "exemption": self._exemption(),
            "gate": self._gate(),
            "hold": self._hold(),
            "contest": self._contest(),
            "ledger": self._ledger(),
            "rollout": self._rollout(),
            "container_host": self._container_host(),
            "launch": self._launch(),
            "managed_by": instance.managed_by,
            "launched_by": self._launched_by(),
        }

    def _judgement(self) -> dict[str, Any]:
        """The judgement that an audit of the fleet shows; terminated instances, which it omits, have no status."""
        if self.instance.state.ended:
            reason = decide(self.instance, self.policy, self.subject.at).reason
            return {"status": None, "reason": reason, "until": None, "by": None, "expired": False}
        judge = Judge(self.policy, self.evidence.standing, self.subject.at, self.evidence.refusals)
        found = judge.judge(self.instance, self.evidence.gate_calls)
        return {
            "status": str(found.status),
            "reason": found.reason,
            "until": found.until,
            "by": found.by,
            "expired": found.expired,
        }

    def _decision(self) -> dict[str, Any]:
        """What the policy alone decides today, with rollout and launch grace, but without the gate and holds."""
        if not self.policy.regions.covers(self.instance.region):
            return {"verdict": "REGION_LEFT_OUT", "reason": REGION_LEFT_OUT, "wanted": None}
        decision = decide(self.instance, self.policy, self.subject.at)
        plan = _plan(self.instance, decision)
        return {
            "verdict": decision.verdict.name,
            "reason": decision.reason,
            "wanted": plan.wanted.as_log() if plan else None,
        }

    def _exemption(self) -> dict[str, Any]:
        """The exemption that matches, even if the instance follows the policy; else those that nearly match."""
        fits = self.policy.exemption_for(self.instance, self.subject.at)
        misses = {exemption.named(): why for exemption, why in self._near_misses()} if fits is None else {}
        return {
            "fits": fits.named() if fits else None,
            "near_misses": [{"exemption": named, "why": why} for named, why in misses.items()],
        }

    def _near_misses(self) -> Iterator[tuple[Exemption, str]]:
        for exemption in self.policy.exemptions:
            if exemption.match.fits(self.instance):
                yield exemption, f"it expired on {exemption.expires}"
            elif differing := _only_difference(exemption.match, self.instance):
                yield exemption, f"only its {differing} does not match"

    def _gate(self) -> dict[str, Any]:
        """The policy's gate and the counted calls, whether or not the gate applies to this instance now."""
        gate, now, calls = self.policy.gate, self.subject.at, self.evidence.gate_calls
        in_full = replace(self.policy, rollout_percent=100, launch_grace_seconds=0)
        plan = _plan(self.instance, decide(self.instance, in_full, now))
        asked = plan is not None and is_gated(plan, self.policy, now)
        return {
            "policy": str(gate) if gate else None,
            "in_force": bool(gate and gate.in_force(now)),
            "asked": asked,
            "held_back": held_back(calls, gate) if gate and calls and asked else None,
            "days": self.subject.lookback_days,
            "served": _calls(self.evidence.calls.get(SERVED)),
            "rejected": _calls(self.evidence.calls.get(REJECTED)),
            "error": self.evidence.failures.get(CALLS),
        }

    def _hold(self) -> dict[str, Any]:
        hold = self.evidence.standing.holds.get(self.instance.instance_id)
        return {"in_force": str(hold) if hold else None, "error": self.evidence.failures.get(HOLDS)}

    def _contest(self) -> dict[str, Any]:
        contest = self.evidence.standing.contests.get(self.instance.instance_id)
        return {
            "in_force": f"{contest}, until {_moment(contest.until)}" if contest else None,
            "error": self.evidence.failures.get(HOLDS),
        }

    def _ledger(self) -> dict[str, Any]:
        entries = self.evidence.entries
        return {
            "entries": len(entries),
            "latest": [entry.as_json() for entry in entries[-ENTRIES:]],
            "error": self.evidence.failures.get(LEDGER),
        }

    def _rollout(self) -> dict[str, Any]:
        return {
            "reached_from_percent": reached_from(self.instance.instance_id),
            "rollout_percent": self.policy.rollout_percent,
            "reached": self.policy.has_reached(self.instance.instance_id),
        }

    def _container_host(self) -> dict[str, Any]:
        """Whether it is a container host, and the tags that say so."""
        tags = [
            f"{key}={value}"
            for key, value in self.instance.tags.items()
            if self.policy.is_container_host(replace(self.instance, tags={key: value}))
        ]
        return {"is": self.policy.is_container_host(self.instance), "tags": tags}

    def _launch(self) -> dict[str, Any]:
        """When it was first launched, and until when it counts as new or is in its launch grace period."""
        at, grace = self.instance.attached_at, self.policy.launch_grace_seconds
        return {
            "at": _moment(at) if at else None,
            "new_until": _moment(at + FIRST_LAUNCH) if at and self.instance.first_launched(self.subject.at) else None,
            "grace_seconds": grace,
            "grace_until": _ahead(at + timedelta(seconds=grace), self.subject.at) if at else None,
        }

    def _launched_by(self) -> dict[str, Any]:
        source = self.instance.source
        return {
            "auto_scaling_group": source.auto_scaling_group,
            "launch_template": source.launch_template and source.launch_template._asdict(),
            "image_id": source.image_id,
        }


def _plan(instance: Instance, decision: Decision) -> PlannedChange | None:
    if decision.change is None or instance.options is None:
        return None
    return PlannedChange(instance, decision.change, decision.change.applied_to(instance.options), decision.reason)


def _only_difference(match: Match, instance: Instance) -> str | None:
    """The only criterion that does not match. None if several do not match, or if the match has no other criterion."""
    for criterion, without in _each_left_out(match):
        if str(without) and without.fits(instance):
            return criterion
    return None


def _each_left_out(match: Match) -> Iterator[tuple[str, Match]]:
    """Each criterion, with the match that is left without it."""
    for tag in match.tags:
        yield str(tag), replace(match, tags=tuple(each for each in match.tags if each is not tag))
    # Try a tag's value before its key: without the key, the value is ignored.
    for name in (each.name for each in reversed(fields(Match)) if each.name != "tags"):
        without = replace(match, **{name: getattr(Match(), name)})
        if without != match:
            yield _TAG.get(name, name), without


def _calls(calls: Calls | None) -> Mapping[str, Any] | None:
    return {"total": calls.total, "last": calls.last.isoformat() if calls.last else None} if calls else None


def _ahead(moment: datetime, now: datetime) -> str | None:
    return _moment(moment) if moment > now else None


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
