"""Three independent auditors that find instances which answer IMDSv1; each returns their ids."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local import operator
from infra.local.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.local.client import LocalAws

FILTER = Path(__file__).with_name("custodian.yml")
CHECK = "ec2_instance_imdsv2_enabled"
PATIENCE_SECONDS = 600

_COMPLIANT = frozenset({"COMPLIANT", "IMDS_OFF"})


def imds_enforcer(aws: LocalAws, policy: Path, regions: Sequence[str]) -> set[str]:
    """The instances that `imds-enforcer audit` does not count as compliant, including exempt ones."""
    done = operator.run(
        aws, "audit", "--policy", str(policy), "--regions", ",".join(regions), "--output", "json", "--fail-on", "drift"
    )
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"imds-enforcer audit ended with {done.returncode}: {done.stderr}")
    instances = json.loads(done.stdout)["instances"]
    return {each["instance_id"] for each in instances if each["status"] not in _COMPLIANT}


def prowler(aws: LocalAws, folder: Path, regions: Sequence[str]) -> set[str]:
    """The instances that fail Prowler's check."""
    program = str(ROOT / ".venv" / "prowler" / "bin" / "prowler")
    where = ["--region", *regions, "--output-formats", "json-ocsf", "--output-directory", str(folder)]
    _run(aws, folder, program, "aws", "--checks", CHECK, *where, "--no-banner", "--no-color", "--ignore-exit-code-3")
    (report,) = folder.glob("*.ocsf.json")
    findings = json.loads(report.read_text("utf-8"))
    if not findings:
        raise RuntimeError("Prowler saw no instance at all")
    return {_id(finding) for finding in findings if finding["status_code"] == "FAIL"}


def custodian(aws: LocalAws, folder: Path, regions: Sequence[str]) -> set[str]:
    """The instances that match Cloud Custodian's filters."""
    program = str(ROOT / ".venv" / "peers" / "bin" / "custodian")
    where = [part for region in regions for part in ("-r", region)]
    _run(aws, folder, program, "run", "--cache-period", "0", "-s", str(folder), *where, str(FILTER))
    reports = list(folder.glob("**/resources.json"))
    if len(reports) != len(regions):
        raise RuntimeError(f"Cloud Custodian reports on {len(reports)} of {len(regions)} regions")
    return {each["InstanceId"] for report in reports for each in json.loads(report.read_text("utf-8"))}


def _id(finding: dict[str, Any]) -> str:
    return str(finding["resources"][0]["uid"]).rpartition("/")[-1]


def _run(aws: LocalAws, folder: Path, *command: str) -> None:
    """Run a peer with a home folder of its own.

    Raises:
        RuntimeError: with its output, if it failed.
    """
    done = subprocess.run(  # noqa: S603  # the peers that this module names
        command,
        cwd=folder,
        env={**aws.environment(), "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
