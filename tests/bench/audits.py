"""Audit: the operator's command on a fleet in several regions, none of which requires tokens yet."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from infra.local.process import ROOT
from tests.bench.local_fleet import AGE_SECONDS, local_fleet
from tests.bench.measurement import Run
from tests.bench.processes import MeasuredProcess, folder

REGIONS = ("eu-west-1", "eu-west-2", "eu-central-1", "us-east-1", "us-east-2")
A_REGION = 1_000
TABLE, JSON = "table", "json"

_INSTANCE_ID = re.compile(r"\bi-[0-9a-f]{17}\b")


def audit(output: str = TABLE) -> Run:
    """One audit by a new process, from its start to its exit; what it did not report on counts as left."""
    command = [sys.executable, "-m", "imds_enforcer_cli", "audit", "--output", output]
    with local_fleet(*REGIONS) as fleet, folder() as path:
        fleet.launch(A_REGION, age_seconds=AGE_SECONDS)
        fleet.begin()
        environment = {**fleet.aws.environment(), "PYTHONPATH": str(ROOT / "lambda_src")}
        with MeasuredProcess(command, environment, Path(path)) as process:
            usage = process.usage()
        calls, instances = fleet.calls(), fleet.state()["instances"]
    return Run(
        seconds=usage["seconds"],
        cpu_s=usage["cpu_s"],
        peak_mb=usage["peak_mb"],
        required=reported(process.output),
        instances=instances,
        **calls,
    )


def reported(text: str) -> int:
    """How many instances are in what the command has written, as a table or as JSON."""
    return len(set(_INSTANCE_ID.findall(text)))
