"""Runs a third-party IAM simulator, @cloud-copilot/iam-simulate, which the Makefile installs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.arguments import ROOT
from infra.deploy import tool_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fakes.scp_evaluator import Request

FOLDER = ROOT / ".venv" / "simulator"
SCRIPT = Path(__file__).with_name("simulate.mjs")
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def refusing(simulated: Sequence[tuple[str, Request]]) -> list[list[str]]:
    """For each SCP and request: the ids of the statements that deny it to a principal with full access otherwise.

    One process runs all simulations: starting it takes longer than a thousand of them.

    Raises:
        AssertionError: if the simulator rejects an SCP or a request, or ignores a context key of the request.
    """
    environment = tool_environment()
    done = subprocess.run(  # noqa: S603  # our own script
        [environment["JSII_NODE"], str(SCRIPT), str(FOLDER)],
        input=json.dumps([_simulation(scp, request) for scp, request in simulated]),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [_refusing(result) for result in json.loads(done.stdout)]


def _simulation(scp: str, request: Request) -> dict[str, Any]:
    principal = request["context"]["aws:PrincipalArn"]
    attached = [{"name": "FullAWSAccess", "policy": EVERYTHING}, {"name": "ours", "policy": json.loads(scp)}]
    return {
        "request": {
            "principal": principal,
            "action": request["action"],
            "resource": {"resource": request["resource"], "accountId": principal.split(":")[4]},
            "contextVariables": request["context"],
        },
        "identityPolicies": [{"name": "may", "policy": EVERYTHING}],
        "serviceControlPolicies": [{"orgIdentifier": "root", "policies": attached}],
        "resourceControlPolicies": [],
    }


def _refusing(result: dict[str, Any]) -> list[str]:
    assert result["resultType"] != "error", result
    runs = [result["result"]] if "result" in result else result["results"]
    assert [run["ignoredContextKeys"] for run in runs] == [[] for _ in runs], result
    sids = {
        analysis["statement"]["Sid"]
        for run in runs
        if "scpAnalysis" in run["analysis"]  # GetCallerIdentity needs no permission
        for unit in run["analysis"]["scpAnalysis"]["ouAnalysis"]
        for analysis in unit["denyStatements"]
    }
    assert bool(sids) == (result["overallResult"] == "ExplicitlyDenied"), result
    return sorted(sids)
