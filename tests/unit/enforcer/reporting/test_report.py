from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.ledger.refused_launches import RefusedLauncher
from imds_enforcer.model import MetadataOptions, Outcome, Refusal, Result, Switch
from imds_enforcer.reporting.mails import needs_attention
from imds_enforcer.reporting.report import MAX_FAILURES, RegionReport, RegionStatus, RunReport
from tests.fakes.clock import START
from tests.fakes.entries import a_launcher
from tests.fakes.examples import (
    AWAY,
    DENIED_BY_SCP,
    HOME,
    IMDS_OFF,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V2_ONLY,
    a_failure,
    a_policy,
    an_exemption,
    an_id,
)

if TYPE_CHECKING:
    from imds_enforcer.model import Failure
    from imds_enforcer.policy import Exemption


def _result(
    number: int,
    outcome: Outcome,
    failure: Failure | None = None,
    *,
    region: str = HOME,
    after: MetadataOptions | None = None,
) -> Result:
    reason = str(failure or "because")
    return Result(
        instance_id=an_id(number), region=region, outcome=outcome, reason=reason, failure=failure, after=after
    )


def _region(*results: Result, failure: Failure | None = None) -> RegionReport:
    report = RegionReport(failure=failure)
    for result in results:
        report.add(result)
    return report


def _failing(count: int, region: str = HOME) -> RegionReport:
    return _region(*(_result(n, Outcome.FAILED, UNAUTHORIZED, region=region) for n in range(count)))


def _report(
    regions: dict[str, RegionReport], expired: tuple[Exemption, ...] = (), warnings: tuple[str, ...] = ()
) -> RunReport:
    return RunReport(
        run_id="run-1",
        trigger="schedule",
        policy=a_policy(),
        regions=regions,
        expired_exemptions=expired,
        warnings=warnings,
        seconds=1.23456,
    )


MIXED = {
    HOME: _region(
        _result(1, Outcome.REMEDIATED, after=V2_ONLY),
        _result(2, Outcome.COMPLIANT, after=V2_ONLY),
        _result(3, Outcome.SKIPPED, after=IMDS_OFF),
        _result(4, Outcome.GONE),
        _result(5, Outcome.FAILED, UNAUTHORIZED),
    ),
    AWAY: _region(_result(6, Outcome.REMEDIATED, after=V2_ONLY), _result(7, Outcome.EXEMPT), failure=SERVER_FAULT),
}


def test_counts_add_up_over_regions() -> None:
    """Gone instances count as outcomes, but not as instances."""
    report = _report(MIXED)
    assert report.outcomes == Counter(REMEDIATED=2, COMPLIANT=1, SKIPPED=1, GONE=1, FAILED=1, EXEMPT=1)
    assert [part.instances for part in report.regions.values()] == [4, 2]
    assert report.instances == 6
    assert [part.compliant for part in report.regions.values()] == [3, 1]
    assert report.compliant == 4


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (None, RegionStatus.DONE),
        (SERVER_FAULT, RegionStatus.REGION_FAILED),
        (UNAUTHORIZED, RegionStatus.REGION_FAILED),
        (DENIED_BY_SCP, RegionStatus.REGION_DENIED),
    ],
)
def test_a_region_that_an_organization_denies_has_not_failed(failure: Failure | None, status: RegionStatus) -> None:
    """The organization wants it so."""
    part = _region(failure=failure)
    report = _report({HOME: _region(), AWAY: part})
    assert part.status is status
    failed = status is RegionStatus.REGION_FAILED
    assert report.failed_regions == ({AWAY: part} if failed else {})
    assert report.needs_attention is failed


def test_the_report_as_json() -> None:
    """The function answers with it and logs it."""
    expired = (an_exemption("old SDK", expires=date(2026, 1, 31)),)
    document = _report(MIXED, expired, ("a warning",)).as_json()
    assert json.loads(json.dumps(document)) == {
        "run_id": "run-1",
        "trigger": "schedule",
        "mode": "enforce",
        "http_tokens": "required",
        "policy_versions": {"http_tokens": 3, "policy": 7},
        "seconds": 1.235,
        "instances": 6,
        "compliant_instances": 4,
        "outcomes": {"REMEDIATED": 2, "COMPLIANT": 1, "EXEMPT": 1, "SKIPPED": 1, "GONE": 1, "FAILED": 1},
        "regions": {
            HOME: {
                "status": "DONE",
                "outcomes": {"REMEDIATED": 1, "COMPLIANT": 1, "SKIPPED": 1, "GONE": 1, "FAILED": 1},
            },
            AWAY: {
                "status": "REGION_FAILED",
                "outcomes": {"REMEDIATED": 1, "EXEMPT": 1},
                "error": "InternalError: EC2 said so",
            },
        },
        "failures": [
            {
                "instance_id": an_id(5),
                "region": HOME,
                "code": "UnauthorizedOperation",
                "reason": "UnauthorizedOperation: EC2 said so",
            }
        ],
        "kept_back": [],
        "refused": [],
        "expired_exemptions": ["(instance_id *) old SDK, until 2026-01-31"],
        "warnings": ["a warning"],
        "refused_launchers": [],
    }


def test_a_region_that_an_organization_denies_is_in_the_digest_but_causes_no_digest() -> None:
    """The organization wants it so, day after day."""
    report = _report({HOME: _region(_result(1, Outcome.HELD)), AWAY: _region(failure=DENIED_BY_SCP)})
    assert needs_attention(report).text.splitlines()[1:] == [
        f"Region {AWAY} is denied by the organization: {DENIED_BY_SCP}",
        f"{an_id(1)} in eu-west-1 is HELD: because",
    ]


KEPT_BACK = [Outcome.HELD, Outcome.CONTESTED]


def test_instances_that_are_kept_back_are_named_with_their_reason() -> None:
    """A person must act on them; they come in the order of the regions."""
    report = _report(
        {
            HOME: _region(_result(1, Outcome.HELD), _result(2, Outcome.REMEDIATED)),
            AWAY: _region(_result(3, Outcome.CONTESTED, region=AWAY)),
        }
    )
    assert report.as_json()["kept_back"] == [
        {"instance_id": an_id(1), "region": HOME, "outcome": "HELD", "reason": "because"},
        {"instance_id": an_id(3), "region": AWAY, "outcome": "CONTESTED", "reason": "because"},
    ]
    assert needs_attention(report).text.splitlines()[1:] == [
        f"{an_id(1)} in eu-west-1 is HELD: because",
        f"{an_id(3)} in us-east-1 is CONTESTED: because",
    ]


def test_instances_that_lack_an_option_which_ec2_refused_are_named_too() -> None:
    """Whatever their outcome; the others are counted, over two looks too."""
    refusal = Refusal("InstanceMetadataTags", Switch.ENABLED, UNAUTHORIZED)
    lacking = [replace(_result(n, Outcome.SKIPPED), refused=(refusal,)) for n in range(MAX_FAILURES)]
    remediated = replace(_result(200, Outcome.REMEDIATED, after=V2_ONLY), refused=(refusal,))
    region = _region(remediated, *lacking[:-1])
    region.include(_region(lacking[-1], _result(300, Outcome.SKIPPED)))
    report = _report({HOME: region})
    assert report.compliant == 0
    assert report.needs_attention
    refused = report.as_json()["refused"]
    assert refused[0] == {"instance_id": an_id(200), "region": HOME, "outcome": "REMEDIATED", "reason": "because"}
    assert [each["instance_id"] for each in refused[1:]] == [*map(an_id, range(MAX_FAILURES - 1))]
    text = needs_attention(report).text.splitlines()
    assert text[1] == f"{an_id(200)} in {HOME} lacks an option: because"
    assert text[-1] == "… and 1 more lack an option, each with a line in the log of the daily inventory."


def test_a_report_names_the_first_hundred_that_are_kept_back_and_counts_them_all() -> None:
    """As for failures, which have a hundred places of their own."""
    parts = {
        region: _region(
            *(_result(n, outcome, region=region) for n in range(60) for outcome in KEPT_BACK),
            _result(99, Outcome.FAILED, UNAUTHORIZED, region=region),
        )
        for region in (HOME, AWAY)
    }
    report = _report(parts)
    assert [len(part.kept_back) for part in parts.values()] == [MAX_FAILURES, MAX_FAILURES]
    assert [each.region for each in report.kept_back] == [HOME] * 100
    assert len(report.as_json()["kept_back"]) == 100
    assert len(report.as_json()["failures"]) == 2
    assert needs_attention(report).text.splitlines()[-1] == (
        "… and 140 more are kept back, each with a line in the log of the daily inventory."
    )


def test_another_look_at_a_region_adds_to_the_first() -> None:
    """Counts are summed, and the first findings come first."""
    first = _region(_result(1, Outcome.REMEDIATED, after=V2_ONLY), _result(2, Outcome.HELD), _result(3, Outcome.FAILED))
    second = _region(
        _result(4, Outcome.REMEDIATED, after=V2_ONLY), _result(5, Outcome.HELD), _result(6, Outcome.FAILED)
    )
    second.add(replace(_result(7, Outcome.DEFERRED), left_to_sweep=True))
    first.include(second)
    assert first.outcomes == Counter(REMEDIATED=2, HELD=2, FAILED=2, DEFERRED=1)
    assert (first.compliant, first.left_to_sweep, first.instances) == (2, 1, 7)
    assert [each.instance_id for each in first.kept_back] == [an_id(2), an_id(5)]
    assert [each.instance_id for each in first.failures] == [an_id(3), an_id(6)]


def test_another_look_names_a_hundred_failures_at_most() -> None:
    """However many looks there are."""
    report = _failing(70)
    report.include(_failing(70))
    report.include(_region(*(_result(n, Outcome.HELD) for n in range(120))))
    report.include(_region(*(_result(n, Outcome.HELD) for n in range(120))))
    assert (len(report.failures), len(report.kept_back)) == (MAX_FAILURES, MAX_FAILURES)
    assert report.outcomes == Counter(FAILED=140, HELD=240)


@pytest.mark.parametrize("name", ["failure", "stopped", "ledger_failure"])
def test_a_problem_in_either_look_is_kept(name: str) -> None:
    """The first reason is the one that is reported."""
    for first, second, reported in ((None, "b", "b"), ("a", None, "a"), ("a", "b", "a"), (None, None, None)):
        reasons = {"a": a_failure("First"), "b": a_failure("Second"), None: None}
        one, other = RegionReport(), RegionReport()
        setattr(one, name, reasons[first])
        setattr(other, name, reasons[second])
        one.include(other)
        assert getattr(one, name) == reasons[reported]


def test_only_instances_left_to_the_sweep_count_as_left() -> None:
    """No event comes back for these."""
    report = _region(_result(1, Outcome.DEFERRED), replace(_result(2, Outcome.DEFERRED), left_to_sweep=True))
    assert (report.left_to_sweep, report.outcomes) == (1, Counter(DEFERRED=2))


STOPPED = "3 of 10 changes in this region failed"


def test_a_region_in_which_changes_were_stopped_is_done_and_says_why() -> None:
    """It was read to its end, so its counts are complete."""
    part = RegionReport(stopped=STOPPED)
    report = _report({HOME: _region(), AWAY: part})
    assert part.status is RegionStatus.DONE
    assert part.as_json() == {"status": "DONE", "outcomes": {}, "stopped": STOPPED}
    assert report.stopped_regions == {AWAY: STOPPED}
    assert needs_attention(report).text.splitlines()[1:] == [f"Region us-east-1 was stopped: {STOPPED}"]
    assert report.needs_attention


def test_a_ledger_that_lacks_changes_is_reported() -> None:
    """If changes were made without it. If none were made, the region is reported as stopped, and only once."""
    part = RegionReport(ledger_failure=THROTTLED)
    report = _report({HOME: part})
    assert part.as_json() == {"status": "DONE", "outcomes": {}, "ledger_error": str(THROTTLED)}
    assert needs_attention(report).text.splitlines()[1:] == [
        f"Not every change in eu-west-1 is in the ledger: {THROTTLED}"
    ]
    part.stopped = f"the ledger is out of reach ({THROTTLED})"
    assert part.as_json() == {
        "status": "DONE",
        "outcomes": {},
        "stopped": part.stopped,
        "ledger_error": str(THROTTLED),
    }
    assert needs_attention(report).text.splitlines()[1:] == [f"Region eu-west-1 was stopped: {part.stopped}"]


def test_regions_are_in_the_order_of_their_names() -> None:
    """Two reports can be compared line by line."""
    assert list(_report({"us-east-1": _region(), "eu-west-1": _region()}).as_json()["regions"]) == [
        "eu-west-1",
        "us-east-1",
    ]


def test_a_report_names_the_first_hundred_failures_and_counts_them_all() -> None:
    """The report must fit Lambda's answer and a log line, however large the fleet."""
    report = _report({HOME: _failing(70), AWAY: _failing(250, AWAY)})
    assert len(report.regions[AWAY].failures) == MAX_FAILURES == 100
    document = report.as_json()
    assert document["outcomes"] == {"FAILED": 320}
    named = [(failure["region"], failure["instance_id"]) for failure in document["failures"]]
    assert named == [(HOME, an_id(n)) for n in range(70)] + [(AWAY, an_id(n)) for n in range(30)]


def test_a_failure_without_a_code_is_named_by_its_reason() -> None:
    """The code is then empty."""
    failures = _report({HOME: _region(_result(1, Outcome.FAILED))}).as_json()["failures"]
    assert failures == [{"instance_id": an_id(1), "region": HOME, "code": "", "reason": "because"}]


def test_the_report_as_text_names_what_needs_attention() -> None:
    """This is the daily mail."""
    expired = (an_exemption("old SDK", expires=date(2026, 1, 31)),)
    assert needs_attention(_report(MIXED, expired, ("a warning",))).text == (
        "schedule run run-1, HttpTokens required: "
        "2 REMEDIATED, 1 COMPLIANT, 1 EXEMPT, 1 SKIPPED, 1 GONE, 1 FAILED.\n"
        "Region us-east-1 failed: InternalError: EC2 said so\n"
        f"{an_id(5)} in eu-west-1 failed: UnauthorizedOperation: EC2 said so\n"
        "Exemption expired, remove or renew it: (instance_id *) old SDK, until 2026-01-31\n"
        "a warning"
    )


def test_the_report_as_text_counts_the_failures_it_does_not_name() -> None:
    """So that the first hundred are not taken for all."""
    lines = needs_attention(_report({HOME: _failing(103)})).text.splitlines()
    assert len(lines) == 102
    assert lines[-1] == "… and 3 more failures, each with a line in the log."


def test_a_digest_names_the_first_hundred_refused_launchers_and_counts_the_rest() -> None:
    """Their lines alone could fill a mail, which must fit SNS."""
    launchers = tuple(
        RefusedLauncher(launcher=a_launcher(principal=f"user-{number}"), times=1, first=START, last=START)
        for number in range(103)
    )
    report = replace(_report({HOME: _region()}), refused_launchers=launchers)
    assert report.needs_attention
    lines = needs_attention(report).text.splitlines()
    assert lines[1:101] == [f"Launches refused: {each}" for each in launchers[:100]]
    assert lines[101:] == ["… and 3 more launchers; imds-enforcer status names all of them."]
    assert [each["principal"] for each in report.as_json()["refused_launchers"]] == [f"user-{n}" for n in range(100)]


def test_an_empty_report_says_so() -> None:
    """An account may have no instances."""
    report = _report({HOME: _region()})
    assert needs_attention(report).text == "schedule run run-1, HttpTokens required: no instances."
    assert report.as_json()["outcomes"] == {}
    assert not report.needs_attention


def test_a_failure_without_a_code_reads_as_its_reason() -> None:
    """In the mail too."""
    text = needs_attention(_report({HOME: _region(_result(1, Outcome.FAILED))})).text
    assert text.endswith(f"\n{an_id(1)} in eu-west-1 failed: because")


@pytest.mark.parametrize(
    "report",
    [
        _report({HOME: _failing(1)}),
        _report({HOME: _region(failure=SERVER_FAULT)}),
        _report({HOME: _region()}, expired=(an_exemption(),)),
        _report({HOME: _region()}, warnings=("a warning",)),
        _report({HOME: _region(), AWAY: RegionReport(stopped="because")}),
        *(_report({HOME: _region(_result(1, outcome))}) for outcome in KEPT_BACK),
    ],
)
def test_failures_what_is_kept_back_expired_exemptions_and_warnings_need_attention(report: RunReport) -> None:
    """Each alone causes a mail."""
    assert report.needs_attention


@pytest.mark.parametrize("outcome", [each for each in Outcome if each not in {Outcome.FAILED, *KEPT_BACK}])
def test_other_outcomes_need_no_attention(outcome: Outcome) -> None:
    """A daily mail about nothing would soon go unread."""
    report = _report({HOME: _region(_result(1, outcome))})
    assert not report.needs_attention
    assert report.kept_back == []
