"""The audit of one fleet in every format.

After an intended change, `WRITE_GOLDEN=1 python -m pytest tests/unit/cli/formats/test_audit.py` rewrites the golden
files; review their diff.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.validate import ParamValidator

from imds_enforcer_cli.formats.asff import asff
from imds_enforcer_cli.formats.html_page import html_report
from tests.fakes.audited_fleet import audited_fleet
from tests.fakes.sarif_schema import violations

if TYPE_CHECKING:
    from tests.fakes.clock import FakeClock
    from tests.fakes.command import Command

GOLDEN = Path(__file__).parent / "golden"
FILES = {
    "audit.txt": ("--output", "table", "--all"),
    "audit.json": ("--output", "json"),
    "audit.csv": ("--output", "csv"),
    "audit.asff.json": ("--output", "asff"),
    "audit.sarif.json": ("--output", "sarif"),
    "sources.txt": ("--output", "table", "--group-by", "source"),
    "sources.csv": ("--output", "csv", "--group-by", "source"),
}


@pytest.fixture
def command(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in an account with an instance of every status."""
    return audited_fleet(clock, monkeypatch)


@pytest.mark.parametrize("name", FILES)
def test_the_output_equals_the_golden_file(command: Command, name: str) -> None:
    """To the letter."""
    written = command("audit", *FILES[name]).stdout
    path = GOLDEN / name
    if "WRITE_GOLDEN" in os.environ:
        path.write_text(written)
    assert written == path.read_text()


def test_security_hub_accepts_the_findings(command: Command) -> None:
    """By botocore's model of BatchImportFindings and the documented limits."""
    findings = json.loads(command("audit", "--output", "asff").stdout)
    client = boto3.client("securityhub")
    shape = client.meta.service_model.operation_model("BatchImportFindings").input_shape
    report = ParamValidator().validate({"Findings": findings}, shape)
    assert not report.has_errors(), report.generate_report()
    assert len(findings) == len({each["Id"] for each in findings}) == 10
    for each in findings:
        assert len(each["Id"]) <= 512
        assert len(each["Title"]) <= 256
        assert 0 < len(each["Description"]) <= 1024
        assert each.keys().isdisjoint({"Severity", "Types"})
        assert each["FindingProviderFields"].keys() == {"Severity", "Types"}


def test_findings_that_need_no_action_are_archived(command: Command) -> None:
    """So they close, and return as NEW. A SUPPRESSED finding would not return after its exemption ends."""
    findings = json.loads(command("audit", "--output", "asff").stdout)
    states = {
        (each["ProductFields"]["imds-enforcer/Status"], each["RecordState"], each["Workflow"]["Status"])
        for each in findings
    }
    assert states == {
        ("COMPLIANT", "ARCHIVED", "RESOLVED"),
        ("IMDS_OFF", "ARCHIVED", "RESOLVED"),
        ("EXEMPT", "ARCHIVED", "NOTIFIED"),
        ("DRIFT", "ACTIVE", "NEW"),
        ("HELD", "ACTIVE", "NOTIFIED"),
        ("MANAGED", "ACTIVE", "NOTIFIED"),
        ("UNREADABLE", "ACTIVE", "NEW"),
    }


def test_a_second_audit_is_newer_than_the_first(command: Command) -> None:
    """Even within the same second: Security Hub ignores findings that are not newer."""
    document: Any = json.loads(command("audit", "--output", "json").stdout)
    moments = []
    for at in ("2026-11-22T12:00:00.001+00:00", "2026-11-22T12:00:00.250999+00:00", "2026-11-22T13:00:01+01:00"):
        [moment] = {each["UpdatedAt"] for each in asff(document | {"at": at}, "aws", "eu-west-1")}
        moments.append(moment)
    assert moments == ["2026-11-22T12:00:00.001Z", "2026-11-22T12:00:00.250Z", "2026-11-22T12:00:01.000Z"]


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn"])
def test_arns_are_those_of_the_partition(command: Command, partition: str) -> None:
    """The product's ARN is that of the home region."""
    document = json.loads(command("audit", "--output", "json").stdout)
    (*_, finding) = asff(document, partition, "eu-west-1")
    assert finding["ProductArn"] == f"arn:{partition}:securityhub:eu-west-1:111122223333:product/111122223333/default"
    assert finding["Resources"][0]["Id"].startswith(f"arn:{partition}:ec2:us-east-1:111122223333:instance/i-")
    assert finding["Resources"][0]["Partition"] == partition


def test_a_long_reason_is_cut(command: Command) -> None:
    """Security Hub refuses a description of more than 1,024 characters."""
    document: Any = json.loads(command("audit", "--output", "json").stdout)
    document["instances"][0]["reason"] = "x" * 2_000
    assert len(asff(document, "aws", "eu-west-1")[0]["Description"]) == 1_024


def test_the_sarif_follows_the_standard(command: Command) -> None:
    """By the standard's own schema, from the first field to the last."""
    log = json.loads(command("audit", "--output", "sarif").stdout)
    assert violations(log) == []
    assert violations(log | {"version": "2.2.0"}) != []


def test_github_accepts_the_sarif(command: Command) -> None:
    """It has what GitHub requires beyond the standard (GitHub Docs, "SARIF support for code scanning")."""
    log = json.loads(command("audit", "--output", "sarif").stdout)
    assert log["$schema"] == "https://json.schemastore.org/sarif-2.1.0.json"
    [run] = log["runs"]
    [invocation] = run["invocations"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", invocation["endTimeUtc"])
    rules = run["tool"]["driver"]["rules"]
    for rule in rules:
        for text in ("shortDescription", "fullDescription", "help"):
            assert 0 < len(rule[text]["text"]) <= 1_024
    hashes = {result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"]}
    assert len(hashes) == len(run["results"]) == 7
    for result in run["results"]:
        assert result["ruleId"] == rules[result["ruleIndex"]]["id"]
        assert result["level"] in {"note", "warning", "error"}
        assert result["message"]["text"]
        [location] = result["locations"]
        # GitHub accepts an absolute URI only with the scheme of the checkout.
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"aws/ec2/[a-z0-9-]+/111122223333/instance/i-[0-9a-f]{17}", uri)
        assert location["physicalLocation"]["region"].keys() == {"startLine", "startColumn", "endLine", "endColumn"}


def test_more_results_than_github_accepts_are_written_with_a_warning(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is complete: other tools may accept it."""
    monkeypatch.setattr("imds_enforcer_cli.formats.audit.MAX_RESULTS", 6)
    result = command("audit", "--output", "sarif")
    assert len(json.loads(result.stdout)["runs"][0]["results"]) == 7
    assert "The log has 7 results; GitHub accepts at most 6: audit fewer regions at a time.\n" in result.stderr


def test_the_page_is_made_of_the_document(command: Command) -> None:
    """The same document that the JSON output shows."""
    document = json.loads(command("audit", "--output", "json").stdout)
    assert command("audit", "--output", "html").stdout == html_report(document)
