from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.ledger.refused_launches import RefusedLaunch
from imds_enforcer.model import AwsError, Failure, Outcome, Result
from imds_enforcer.policy import PolicyVersions
from imds_enforcer.policy.parser import PolicyInvalidError
from imds_enforcer.reporting import telemetry
from imds_enforcer.reporting.report import RegionReport, RunReport
from tests.fakes.clock import START
from tests.fakes.entries import a_launcher
from tests.fakes.examples import (
    ACCOUNT,
    AWAY,
    DENIED_BY_SCP,
    HOME,
    OTHER_ACCOUNT,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    a_policy,
    an_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.runs import Documents


@pytest.fixture(autouse=True)
def _invocation() -> None:
    telemetry.begin(run_id="run-1", account=ACCOUNT)


def _result(outcome: Outcome, failure: Failure | None = None) -> Result:
    return Result(
        instance_id=an_id(),
        region=HOME,
        outcome=outcome,
        reason="because",
        before=V1_ALLOWED,
        after=V2_ONLY,
        failure=failure,
    )


def _region(*outcomes: Outcome, failure: Failure | None = None) -> RegionReport:
    report = RegionReport(failure=failure)
    for outcome in outcomes:
        report.add(_result(outcome))
    return report


def _report(**regions: RegionReport) -> RunReport:
    named = {name.replace("_", "-"): report for name, report in regions.items()}
    return RunReport(run_id="run-1", trigger="schedule", policy=a_policy(), regions=named)


def _published(documents: list[dict[str, Any]]) -> list[tuple[str | None, dict[str, float]]]:
    """Region and counts of each document; this checks the documents' form too."""
    published = []
    for document in documents:
        (directive,) = document.pop("_aws")["CloudWatchMetrics"]
        assert directive["Namespace"] == "ImdsEnforcer"
        assert {metric["Unit"] for metric in directive["Metrics"]} == {"Count"}
        region = document.pop("Region", None)
        assert directive["Dimensions"] == [["Region"] if region else []]
        counts = {metric["Name"]: document.pop(metric["Name"])[0] for metric in directive["Metrics"]}
        assert document == {}, "nothing that could become a dimension"
        published.append((region, counts))
    return published


def test_a_line_for_an_instance_has_everything_about_it(log_lines: Documents) -> None:
    """A query of the log needs no other source."""
    telemetry.under_policy(PolicyVersions(3, 7))
    telemetry.log_result(_result(Outcome.REMEDIATED), "launch")
    (line,) = log_lines()
    del line["timestamp"], line["location"]
    assert line == {
        "level": "INFO",
        "message": f"{an_id()} in eu-west-1: REMEDIATED",
        "service": "imds-enforcer",
        "run_id": "run-1",
        "account": ACCOUNT,
        "policy_versions": {"http_tokens": 3, "policy": 7},
        "instance_id": an_id(),
        "region": HOME,
        "outcome": "REMEDIATED",
        "reason": "because",
        "before": V1_ALLOWED.as_log(),
        "after": V2_ONLY.as_log(),
        "trigger": "launch",
    }


def test_only_a_failure_is_logged_as_an_error(log_lines: Documents) -> None:
    """With its code."""
    telemetry.log_result(_result(Outcome.FAILED, UNAUTHORIZED), "schedule")
    telemetry.log_result(_result(Outcome.DEFERRED, THROTTLED), "schedule")
    failed, deferred = log_lines()
    assert (failed["level"], failed["code"]) == ("ERROR", "UnauthorizedOperation")
    assert (deferred["level"], deferred["code"]) == ("INFO", "RequestLimitExceeded")


def test_an_instance_that_was_never_seen_has_no_options(log_lines: Documents) -> None:
    """Unknown options are null, not invented."""
    telemetry.log_result(Result(instance_id=an_id(), region=HOME, outcome=Outcome.GONE, reason="r"), "running")
    (line,) = log_lines()
    assert line["outcome"] == "GONE"
    assert not {"before", "after", "code"} & set(line)


def test_an_invocation_forgets_the_policy_of_the_last(log_lines: Documents) -> None:
    """One process serves many invocations."""
    telemetry.under_policy(PolicyVersions(3, 7))
    telemetry.begin(run_id="run-2", account=ACCOUNT)
    telemetry.message_refused("m-1", "poison")
    (line,) = log_lines()
    assert line["run_id"] == "run-2"
    assert "policy_versions" not in line


@pytest.fixture
def _tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the machine's time zone far from Greenwich."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_tokyo")
def test_times_are_in_utc(log_lines: Documents) -> None:
    """As in everything that AWS logs."""
    telemetry.message_postponed("m-1", "later")
    (line,) = log_lines()
    moment = datetime.strptime(line["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z")
    assert moment.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("write", "level", "fields"),
    [
        (lambda: telemetry.message_refused("m-1", "poison"), "ERROR", {"message_id": "m-1", "error": "poison"}),
        (lambda: telemetry.message_postponed("m-1", "later"), "WARNING", {"message_id": "m-1", "error": "later"}),
        (
            lambda: telemetry.call_failed("no mail", AwsError(UNAUTHORIZED)),
            "ERROR",
            {"message": "no mail", "error": str(UNAUTHORIZED), "code": "UnauthorizedOperation"},
        ),
        (lambda: telemetry.policy_invalid(PolicyInvalidError("bad mode")), "ERROR", {"error": "bad mode"}),
        (
            lambda: telemetry.foreign_events({OTHER_ACCOUNT: 2}),
            "WARNING",
            {"account": ACCOUNT, "foreign_accounts": {OTHER_ACCOUNT: 2}},
        ),
        (lambda: telemetry.events_out_of_reach({"eu-north-1": 2}), "WARNING", {"regions": {"eu-north-1": 2}}),
    ],
)
def test_other_lines_name_the_problem(
    log_lines: Documents, write: Callable[[], None], level: str, fields: dict[str, Any]
) -> None:
    """At the right level."""
    write()
    (line,) = log_lines()
    assert line["level"] == level
    assert line.items() >= fields.items()


def test_counts_are_published_by_region_and_in_total(metrics: Documents) -> None:
    """Alarms cannot add up dimensions, so the totals have none."""
    telemetry.run_finished(
        _report(
            eu_west_1=_region(Outcome.REMEDIATED, Outcome.REMEDIATED, Outcome.FAILED),
            us_east_1=_region(Outcome.REMEDIATED, Outcome.EXEMPT),
        )
    )
    assert _published(metrics()) == [
        (HOME, {"REMEDIATED": 2, "FAILED": 1}),
        (AWAY, {"REMEDIATED": 1, "EXEMPT": 1}),
        (None, {"REMEDIATED": 3, "FAILED": 1, "EXEMPT": 1}),
    ]


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_is_a_metric_of_its_own_name(metrics: Documents, outcome: Outcome) -> None:
    """These names are a contract."""
    telemetry.run_finished(_report(eu_west_1=_region(outcome)))
    assert _published(metrics()) == [(HOME, {outcome.value: 1}), (None, {outcome.value: 1})]


@pytest.mark.parametrize(("failure", "name"), [(SERVER_FAULT, "RegionFailed"), (DENIED_BY_SCP, "REGION_DENIED")])
def test_a_region_that_could_not_be_read_is_counted(metrics: Documents, failure: Failure, name: str) -> None:
    """Under a name with an alarm, or, if denied, under one without."""
    telemetry.run_finished(
        _report(eu_west_1=_region(failure=failure), us_east_1=_region(Outcome.EXEMPT, failure=failure))
    )
    assert _published(metrics()) == [
        (HOME, {name: 1}),
        (AWAY, {"EXEMPT": 1, name: 1}),
        (None, {name: 2, "EXEMPT": 1}),
    ]


def test_a_region_in_which_changes_were_stopped_is_counted(metrics: Documents) -> None:
    """As RegionStopped, unless the ledger is the reason: that has a metric of its own."""
    telemetry.run_finished(
        _report(
            eu_west_1=RegionReport(stopped="3 of 10 changes failed"),
            us_east_1=RegionReport(stopped="the ledger is out of reach", ledger_failure=THROTTLED),
            ap_south_1=RegionReport(ledger_failure=SERVER_FAULT),
        )
    )
    assert _published(metrics()) == [
        (HOME, {"RegionStopped": 1}),
        (AWAY, {"LedgerUnavailable": 1}),
        ("ap-south-1", {"LedgerUnavailable": 1}),
        (None, {"RegionStopped": 1, "LedgerUnavailable": 2}),
    ]


def test_a_ledger_out_of_reach_is_logged_as_an_error_and_counted(metrics: Documents, log_lines: Documents) -> None:
    """For the whole account; an alarm watches the count."""
    telemetry.ledger_unavailable("the holds could not be read", AwsError(UNAUTHORIZED))
    assert _published(metrics()) == [(None, {"LedgerUnavailable": 1})]
    (line,) = log_lines()
    assert line["level"] == "ERROR"
    assert line["message"] == "the holds could not be read"
    assert (line["error"], line["code"]) == (str(UNAUTHORIZED), "UnauthorizedOperation")


def test_instances_whose_calls_are_rejected_are_counted(metrics: Documents) -> None:
    """A zero is not published, as a metric costs money."""
    telemetry.rejected_calls(3)
    telemetry.rejected_calls(0)
    assert _published(metrics()) == [(None, {"RejectedCalls": 3})]


def test_a_run_without_news_logs_its_report_and_publishes_nothing(metrics: Documents, log_lines: Documents) -> None:
    """A metric costs money; the line shows that the run happened."""
    report = _report(eu_west_1=_region())
    telemetry.run_finished(report)
    assert metrics() == []
    (line,) = log_lines()
    assert (line["level"], line["message"], line["report"]) == ("INFO", "run finished", report.as_json())


def test_metrics_of_the_whole_account_have_no_region(metrics: Documents) -> None:
    """Alarms watch these names."""
    telemetry.policy_invalid(PolicyInvalidError("bad mode"))
    telemetry.sweep_completed()
    assert _published(metrics()) == [(None, {"PolicyInvalid": 1}), (None, {"SweepCompleted": 1})]


def test_refused_launches_are_counted_in_total_and_by_region(metrics: Documents, log_lines: Documents) -> None:
    """A line for each says who launched and what must change."""

    def refused(event_id: str, region: str) -> RefusedLaunch:
        return RefusedLaunch(event_id=event_id, at=START, launcher=a_launcher(region=region))

    telemetry.launches_refused([refused("e-1", HOME), refused("e-2", AWAY), refused("e-3", HOME)])
    assert _published(metrics()) == [
        (HOME, {"LaunchesRefused": 2}),
        (AWAY, {"LaunchesRefused": 1}),
        (None, {"LaunchesRefused": 3}),
    ]
    assert [line["event_id"] for line in log_lines()] == ["e-1", "e-2", "e-3"]
    assert {name: log_lines()[1][name] for name in ("level", "message", "launcher", "region", "cause", "change")} == {
        "level": "WARNING",
        "message": "a launch was refused",
        "launcher": f"alice in {AWAY}, with image ami-1",
        "region": AWAY,
        "cause": "HttpTokensEnforced is enabled",
        "change": "set MetadataOptions.HttpTokens=required in the request",
    }


def test_an_inventory_publishes_zeros_too(metrics: Documents) -> None:
    """A region without instances is a fact, and the compliant share needs both counts."""
    telemetry.inventory_taken(
        _report(eu_west_1=_region(Outcome.COMPLIANT, Outcome.EXEMPT), us_east_1=_region(Outcome.GONE))
    )
    assert _published(metrics()) == [
        (HOME, {"Instances": 2, "CompliantInstances": 1}),
        (AWAY, {"Instances": 0, "CompliantInstances": 0}),
        (None, {"Instances": 2, "CompliantInstances": 1}),
    ]


def test_an_inventory_publishes_no_incomplete_count(metrics: Documents) -> None:
    """Neither for a region that failed midway nor in total: the fleet would seem to have shrunk."""
    telemetry.inventory_taken(
        _report(eu_west_1=_region(Outcome.COMPLIANT), us_east_1=_region(Outcome.COMPLIANT, failure=SERVER_FAULT))
    )
    assert _published(metrics()) == [(HOME, {"Instances": 1, "CompliantInstances": 1})]


def test_a_region_that_an_organization_denies_does_not_withhold_the_total(metrics: Documents) -> None:
    """The denial is permanent; the region itself has no count."""
    telemetry.inventory_taken(_report(eu_west_1=_region(Outcome.EXEMPT), us_east_1=_region(failure=DENIED_BY_SCP)))
    assert _published(metrics()) == [
        (HOME, {"Instances": 1, "CompliantInstances": 0}),
        (None, {"Instances": 1, "CompliantInstances": 0}),
    ]
