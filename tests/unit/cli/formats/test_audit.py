"""What the audit of one fleet looks like in every format.

After a change that is meant, `WRITE_GOLDEN=1 python -m pytest tests/unit/cli/formats/test_audit.py` writes the
files anew; read what git shows of them.
"""

from __future__ import annotations

import json
import os
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
    """The command in an account with a fleet of every kind."""
    return audited_fleet(clock, monkeypatch)


@pytest.mark.parametrize("name", FILES)
def test_as_it_was(command: Command, name: str) -> None:
    """To the letter."""
    written = command("audit", *FILES[name]).stdout
    path = GOLDEN / name
    if "WRITE_GOLDEN" in os.environ:
        path.write_text(written)
    assert written == path.read_text()


def test_security_hub_takes_the_findings(command: Command) -> None:
    """As far as botocore can tell, which knows what BatchImportFindings needs."""
    findings = json.loads(command("audit", "--output", "asff").stdout)
    client = boto3.client("securityhub")
    shape = client.meta.service_model.operation_model("BatchImportFindings").input_shape
    report = ParamValidator().validate({"Findings": findings}, shape)
    assert not report.has_errors(), report.generate_report()
    assert len(findings) == len({each["Id"] for each in findings}) == 10
    for each in findings:
        assert len(each["Title"]) <= 256
        assert 0 < len(each["Description"]) <= 1024


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn"])
def test_arns_are_those_of_the_partition(command: Command, partition: str) -> None:
    """And the hub is that of the home region."""
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


def test_sarif_is_what_the_standard_asks_for(command: Command) -> None:
    """As far as the part of its schema goes that is kept here."""
    assert violations(json.loads(command("audit", "--output", "sarif").stdout)) == []


def test_the_page_is_made_of_the_document(command: Command) -> None:
    """Of the same one as JSON."""
    document = json.loads(command("audit", "--output", "json").stdout)
    assert command("audit", "--output", "html").stdout == html_report(document)
