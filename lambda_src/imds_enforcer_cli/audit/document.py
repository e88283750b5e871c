"""The audit document, from which every output format is made."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imds_enforcer.policy import Policy
from imds_enforcer_cli.audit.fleet import RegionAudit
from imds_enforcer_cli.audit.judge import Status
from imds_enforcer_cli.audit.notes import Unread, notes
from imds_enforcer_cli.launches.launcher import ordered
from imds_enforcer_cli.launches.listing import said

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """Which account was audited, when, and under which policy; `origin` says where the policy came from.

    `everywhere` is True if the audit was asked for every region that the policy covers.
    """

    account: str
    at: datetime
    policy: Policy
    origin: str
    lookback_days: int
    everywhere: bool = False


def audit_document(subject: Subject, regions: Sequence[RegionAudit]) -> Document:
    """The whole audit as JSON."""
    found = [source for region in regions for source in region.sources]
    unread = Unread([each.region for each in regions if not each.complete], others=not subject.everywhere)
    found.sort(key=lambda each: (-len(each.findings), each.region, -each.instances))
    return {
        "account": subject.account,
        "at": subject.at.isoformat(timespec="seconds"),
        "policy": {
            "source": subject.origin,
            "http_tokens": str(subject.policy.http_tokens),
            "versions": subject.policy.versions.as_log(),
        },
        "lookback_days": subject.lookback_days,
        "notes": [
            *notes(subject.policy, subject.at, [each.seen for each in regions], unread),
            *said(each for region in regions for each in region.unread),
        ],
        "summary": summary_of(
            (each.status for region in regions for each in region.instances),
            whole=all(region.complete for region in regions),
        ),
        "regions": [
            {
                "region": region.region,
                **summary_of((each.status for each in region.instances), whole=region.complete),
                "error": "; ".join(region.errors) or None,
            }
            for region in regions
        ],
        "instances": [each.as_json(subject.at) for region in regions for each in region.instances],
        "sources": [each.as_json() for each in found],
        "launchers": [each.as_json() for each in ordered(each for region in regions for each in region.launchers)],
    }


def summary_of(statuses: Iterable[Status], *, whole: bool = True) -> dict[str, Any]:
    """Count the instances: all, the compliant ones, and those with each status.

    Unless every instance was read (`whole`), the compliant share stays below 100 %: an unread one may differ.
    """
    counts = Counter(statuses)
    compliant = sum(number for status, number in counts.items() if status.compliant)
    total = counts.total()
    return {
        "instances": total,
        "compliant": compliant,
        "compliant_percent": _percent(compliant, total, whole=whole),
        "statuses": {str(status): counts[status] for status in Status},
    }


def _percent(compliant: int, total: int, *, whole: bool) -> float:
    if compliant == total and whole:
        return 100.0  # also without instances: nothing differs
    # Never round up to 100 while an instance differs or was not read.
    return min(round(100 * compliant / total, 1), 99.9) if total else 0.0
