"""Account defaults in a sweep and in a batch of events; each region is handled on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imds_enforcer.ledger.defaults import DefaultsEntry
from imds_enforcer.model import Kind, Outcome, Trigger
from imds_enforcer.runs.retry import MAX_RECEIVES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imds_enforcer.model.region_defaults import DefaultsResult
    from imds_enforcer.reporting.report import RegionReport
    from imds_enforcer.runs.events import InstanceEvent, QueuedMessage
    from imds_enforcer.runs.run import PolicyRun
    from imds_enforcer.runs.sweep import RegionSweep

NOT_DEPLOYED = (
    "The policy has account_defaults, but the function has no permission to set them: deploy it with "
    '`make deploy CDK_ARGS="-c account_defaults=true"`. Instances are enforced all the same.'
)

_AS_BEFORE = frozenset({Outcome.COMPLIANT, Outcome.SKIPPED, Outcome.HELD})
"""Outcomes that a sweep reports but logs only in the daily inventory."""


def findings(run: PolicyRun) -> list[str]:
    """Why the run leaves the defaults of every region alone although the policy has them; one sentence at most."""
    if run.policy.account_defaults is None or run.keeps_defaults is None:
        return []
    if not run.keeps_defaults:
        return [NOT_DEPLOYED]
    if against := run.contradictions():
        return [f"The policy contradicts itself, so the account defaults are left alone: {'; '.join(against)}."]
    return []


def visit_with_defaults(visit: RegionSweep) -> RegionReport:
    """Sweep one region: its defaults, then its instances. A failure of the defaults does not stop the instances."""
    result, ledger_failure = None, None
    if keeper := visit.run.for_defaults(visit.region, visit.trigger):
        left_behind = any(isinstance(entry, DefaultsEntry) for entry in visit.left_behind)
        result = _swept(keeper.enforce(left_behind=left_behind))
        ledger_failure = keeper.context.ledger_failure
        if visit.trigger == Trigger.INVENTORY or result.outcome not in _AS_BEFORE:
            visit.run.log_defaults(result, visit.trigger)
    report = visit.visit()
    report.defaults = result
    report.ledger_failure = report.ledger_failure or ledger_failure
    return report


def enforce_changed(
    run: PolicyRun, region: str, report: RegionReport, events: Iterable[tuple[QueuedMessage, InstanceEvent]]
) -> bool:
    """Correct defaults that someone else changed; True if the messages of these events must come back."""
    changes = [(message, event) for message, event in events if event.of_defaults]
    if not changes or not run.policy.regions.covers(region):
        return False
    drifted_by = changes[-1][1].principal
    keeper = run.for_defaults(region, Trigger.DRIFT, drifted_by)
    if keeper is None:
        return False
    result = keeper.enforce()
    receives = min(message.receives for message, _ in changes)
    if result.outcome is Outcome.FAILED and result.may_work_later and receives < MAX_RECEIVES:
        result = _deferred(result, "the queue tries again")
    run.log_defaults(result, Trigger.DRIFT)
    report.defaults = result
    report.ledger_failure = report.ledger_failure or keeper.context.ledger_failure
    return result.may_work_later


def _swept(result: DefaultsResult) -> DefaultsResult:
    """The outcome in a sweep, as for instances: the next sweep retries a throttled change."""
    throttled = result.failure is not None and result.failure.kind is Kind.THROTTLED
    return _deferred(result, "the next sweep tries again") if throttled and result.outcome is Outcome.FAILED else result


def _deferred(result: DefaultsResult, what_follows: str) -> DefaultsResult:
    return replace(result, outcome=Outcome.DEFERRED, reason=f"{result.failure}; {what_follows}")
