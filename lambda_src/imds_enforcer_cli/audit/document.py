"""The document of an audit: what every format is made from."""

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
    """Whose fleet was audited, when, and by what: `origin` says where the policy came from.

    `everywhere` says that every region that the policy covers was asked for.
    """

    account: str
    at: datetime
    policy: Policy
    origin: str
    lookback_days: int
    everywhere: bool = False


def audit_document(subject: Subject, regions: Sequence[RegionAudit]) -> Document:
    """The whole of an audit as JSON."""
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
    """How many instances there are, how many follow the policy, and how many have each status.

    Unless these are the `whole` of what there is, they are not all compliant as far as anyone knows.
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
        return 100.0  # of no instances none differs
    # Where one differs, or was not read, the share is not rounded to all of them.
    return min(round(100 * compliant / total, 1), 99.9) if total else 0.0
