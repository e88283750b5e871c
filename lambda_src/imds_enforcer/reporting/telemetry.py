"""Log lines and metrics: the only module that imports Powertools."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from imds_enforcer.model import Outcome
from imds_enforcer.model.result import counts
from imds_enforcer.reporting.report import RegionStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from imds_enforcer.ledger.refused_launches import RefusedLaunch
    from imds_enforcer.model import AwsError, Result
    from imds_enforcer.model.region_defaults import DefaultsResult
    from imds_enforcer.policy import PolicyVersions
    from imds_enforcer.policy.parser import PolicyInvalidError
    from imds_enforcer.reporting.report import RegionReport, RunReport

NAMESPACE = "ImdsEnforcer"

logger = Logger(service="imds-enforcer", utc=True)

_REGION_METRICS = {RegionStatus.REGION_FAILED: "RegionFailed", RegionStatus.REGION_DENIED: "REGION_DENIED"}


def begin(*, run_id: str, account: str) -> None:
    """Replace the last invocation's keys with those of this one in every line that follows."""
    logger.structure_logs(append=False, service="imds-enforcer", run_id=run_id, account=account)


def under_policy(versions: PolicyVersions) -> None:
    """Name the versions of the policy in every line that follows."""
    logger.append_keys(policy_versions=versions.as_log())


def log_result(result: Result, trigger: str) -> None:
    """Write one line for one instance."""
    whose = {"instance_id": result.instance_id, "region": result.region}
    _log(result, f"{result.instance_id} in {result.region}", whose, trigger)


def log_defaults(result: DefaultsResult, trigger: str) -> None:
    """Write one line for the account defaults of one region."""
    whose = {"kind": "defaults", "region": result.region}
    _log(result, f"account defaults in {result.region}", whose, trigger)


def policy_invalid(error: PolicyInvalidError) -> None:
    """Log that nothing is changed until the policy is fixed, and count it for the alarm."""
    logger.error("the policy is invalid: nothing was changed", extra={"error": str(error)})
    _publish({"PolicyInvalid": 1})


def call_failed(what: str, error: AwsError) -> None:
    """Log a call to AWS whose failure does not end the run."""
    logger.error(what, extra={"error": str(error), "code": error.failure.code})


def ledger_unavailable(what: str, error: AwsError) -> None:
    """Log that the ledger could not be read or written, and count it for the alarm."""
    call_failed(what, error)
    _publish({"LedgerUnavailable": 1})


def table_unreadable(keys: Collection[tuple[str, str]]) -> None:
    """Log the malformed items of the table, and count them for the alarm."""
    if keys:
        logger.error("items of the ledger table are malformed", extra={"keys": sorted(f"{pk} {sk}" for pk, sk in keys)})
        _publish({"LedgerUnavailable": 1})


def rejected_calls(instances: int) -> None:
    """Count the lately changed instances that still get calls without a token; an alarm watches the count."""
    _publish({"RejectedCalls": instances} if instances else {})


def launches_refused(launches: Collection[RefusedLaunch]) -> None:
    """Log and count launches that were, or may have been, refused because of their tokens."""
    for launch in launches:
        launcher = launch.launcher
        extra = {"launcher": str(launcher), "region": launcher.region, "cause": launcher.why, "change": launcher.change}
        logger.warning("a launch was refused", extra={"event_id": launch.event_id, **extra})
    for region, number in Counter(launch.launcher.region for launch in launches).items():
        _publish({"LaunchesRefused": number}, region)
    _publish({"LaunchesRefused": len(launches)} if launches else {})


def message_refused(message_id: str, problem: str) -> None:
    """Log a message that ends in the dead-letter queue."""
    logger.error("a message cannot be handled", extra={"message_id": message_id, "error": problem})


def message_postponed(message_id: str, problem: str) -> None:
    """Log a message that could not be checked and comes back later."""
    logger.warning("a message could not be checked", extra={"message_id": message_id, "error": problem})


def foreign_events(accounts: Mapping[str, int]) -> None:
    """Log the ignored events of other accounts, by account, and count them."""
    if accounts:
        logger.warning("events of other accounts were ignored", extra={"foreign_accounts": dict(accounts)})
        _publish({"ForeignEvents": sum(accounts.values())})


def events_out_of_reach(regions: Mapping[str, int]) -> None:
    """Log the ignored events of regions that EC2 does not list and the policy does not name; no sweep goes there."""
    if regions:
        logger.warning("events of regions that EC2 does not list were ignored", extra={"regions": dict(regions)})


def run_finished(report: RunReport) -> None:
    """Log the report of a run, and publish its counts in total and by region."""
    logger.info("run finished", extra={"report": report.as_json()})
    totals: dict[str, int] = {}
    for region, part in report.regions.items():
        metrics = _metrics(part)
        _publish(metrics, region)
        for name, count in metrics.items():
            totals[name] = totals.get(name, 0) + count
    _publish(totals)


def sweep_completed() -> None:
    """Count a sweep that went through all regions; an alarm fires when sweeps stop completing."""
    _publish({"SweepCompleted": 1})


def already_running(run_id: str) -> None:
    """Log that another run is sweeping under the same policy. The alarm counts only completed sweeps."""
    logger.info("already running", extra={"sweeping_run": run_id})


def inventory_taken(report: RunReport) -> None:
    """Publish how many instances exist and how many follow the policy; leave out incomplete counts."""
    for region, part in report.regions.items():
        if part.status is RegionStatus.DONE:
            _publish({"Instances": part.instances, "CompliantInstances": part.compliant}, region)
    if not report.failed_regions:
        _publish({"Instances": report.instances, "CompliantInstances": report.compliant})


def _metrics(part: RegionReport) -> dict[str, int]:
    metrics = counts(part.outcomes + Counter([part.defaults.outcome] if part.defaults else ()))
    if part.status in _REGION_METRICS:
        metrics[_REGION_METRICS[part.status]] = 1
    if part.ledger_failure:
        metrics["LedgerUnavailable"] = 1
    # A ledger out of reach has an alarm of its own, which must not hide that changes failed as well.
    if part.tripped or (part.stopped and not part.ledger_failure):
        metrics["RegionStopped"] = 1
    return metrics


def _log(result: Result | DefaultsResult, subject: str, whose: Mapping[str, str], trigger: str) -> None:
    write = logger.error if result.outcome is Outcome.FAILED else logger.info
    write(
        f"{subject}: {result.outcome}",
        extra={
            **whose,
            "outcome": str(result.outcome),
            "reason": result.reason,
            "code": result.failure.code if result.failure else None,
            "before": result.before.as_log() if result.before else None,
            "after": result.after.as_log() if result.after else None,
            "trigger": trigger,
        },
    )


def _publish(numbers: Mapping[str, int], region: str | None = None) -> None:
    """Write numbers in CloudWatch's embedded metric format, with or without the dimension Region."""
    if not numbers:
        return
    # No service: a total would otherwise be split by a dimension that the alarms do not name.
    metrics = AmazonCloudWatchEMFProvider(namespace=NAMESPACE, service="")
    if region is not None:
        metrics.add_dimension("Region", region)
    for name, number in numbers.items():
        metrics.add_metric(name, MetricUnit.Count, number)
    metrics.flush_metrics()
