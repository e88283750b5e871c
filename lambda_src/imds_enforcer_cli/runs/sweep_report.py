"""Formats a local sweep: its plan and its report, as tables, JSON and CSV rows."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from imds_enforcer.model import Outcome, Result, Source
from imds_enforcer.model.result import counts
from imds_enforcer.model.wording import count, each_count, launched_by
from imds_enforcer.reporting.report import RegionReport, RegionStatus, RunReport
from imds_enforcer_cli.account.policy_source import Governing
from imds_enforcer_cli.console.output import Cell
from imds_enforcer_cli.console.phrases import options_columns
from imds_enforcer_cli.runs.local_sweep import Swept

REGION_HEADINGS = ("REGION", "INSTANCES", "OUTCOMES", "PROBLEMS")
SOURCE_HEADINGS = ("LAUNCHED BY", "REGION", "TO CHANGE")
RESULT_COLUMNS = (
    *("instance_id", "region", "outcome", "reason", "code"),
    *("auto_scaling_group", "launch_template", "image_id"),
    *options_columns("before"),
    *options_columns("after"),
)

_TO_DO = frozenset({Outcome.FAILED, Outcome.DEFERRED})


def unfinished(report: RunReport) -> bool:
    """True if work is left: an instance failed or waits, a region was not read, or the ledger lacks a change."""
    regions = report.regions.values()
    return (
        any(report.outcomes[outcome] for outcome in _TO_DO)
        or bool(report.failed_regions)
        or any(region.ledger_failure for region in regions)
    )


def region_rows(report: RunReport) -> list[Sequence[Cell]]:
    """The counts by outcome: of each region that has results or problems, then of all regions."""
    rows = [
        ((name,), (str(region.instances),), each_count(counts(region.outcomes)), _in_the_way(region))
        for name, region in sorted(report.regions.items())
        if region.outcomes or any(_in_the_way(region))
    ]
    all_of_them = each_count(counts(report.outcomes)) or ("nothing differs from the policy",)
    return [*rows, (("all",), (str(report.instances),), all_of_them, (report.stopped or "",))]


def _in_the_way(region: RegionReport) -> Cell:
    denied = "denied by the organization: " if region.status is RegionStatus.REGION_DENIED else ""
    ledger = f"not every change is in the ledger: {region.ledger_failure}" if region.ledger_failure else ""
    return [f"{denied}{region.failure}" if region.failure else "", region.stopped or "", ledger]


def sources(swept: Swept) -> list[tuple[Source, str, int]]:
    """What launched the instances to change, with region and number; the largest number first."""
    found = Counter((result.source or Source(), result.region) for result in swept.to_change)
    return [(source, region, number) for (source, region), number in found.most_common()]


def source_rows(swept: Swept) -> list[Sequence[Cell]]:
    """The rows of the sources."""
    return [(_source(source), (region,), (str(number),)) for source, region, number in sources(swept)]


def _source(source: Source) -> Cell:
    return [*launched_by(source.auto_scaling_group, source.launch_template, image=None), source.image_id]


def listed(swept: Swept) -> Iterator[Result]:
    """The results to list one by one: all but the deferred ones, which are only counted."""
    return (result for result in swept.results if result.outcome is not Outcome.DEFERRED)


def result_json(result: Result) -> dict[str, Any]:
    """The result of one instance as JSON."""
    return {
        "instance_id": result.instance_id,
        "region": result.region,
        "outcome": str(result.outcome),
        "reason": result.reason,
        "code": result.failure.code if result.failure else None,
        **_source_json(result.source or Source()),
        "before": result.before.as_log() if result.before else None,
        "after": result.after.as_log() if result.after else None,
    }


def _source_json(source: Source) -> dict[str, str | None]:
    return {
        "auto_scaling_group": source.auto_scaling_group,
        "launch_template": str(source.launch_template) if source.launch_template else None,
        "image_id": source.image_id or None,
    }


def sweep_json(rules: Governing, planned: Swept, done: Swept | None, *, dry_run: bool) -> dict[str, Any]:
    """The whole sweep as JSON: the policy, the plan, the report if anything was done, and each instance."""
    report = planned.report
    return {
        "run_id": done.report.run_id if done else None,
        "dry_run": dry_run,
        "policy": {"source": rules.named, **_policy(report)},
        "plan": {
            "outcomes": counts(report.outcomes),
            "regions": {name: region.as_json() for name, region in sorted(report.regions.items())},
            "sources": [
                {**_source_json(source), "region": region, "instances": number}
                for source, region, number in sources(planned)
            ],
        },
        "report": done.report.as_json() if done else None,
        "instances": [result_json(result) for result in (done or planned).results],
    }


def _policy(report: RunReport) -> Mapping[str, Any]:
    return {"http_tokens": str(report.policy.http_tokens), "versions": report.policy.versions.as_log()}


def in_words(number: int, regions: Iterable[str]) -> str:
    """The numbers of instances and regions, in words."""
    return f"{count(number, 'instance')} in {count(len(set(regions)), 'region')}"
