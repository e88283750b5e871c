"""The peers as systems to measure: the commands of their users, each at its fastest, and boto3 alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.client import SECRET
from infra.local.process import ROOT
from tests.bench.local_fleet import running
from tests.bench.measurement import CAPACITY, REFILL, Run
from tests.bench.processes import MeasuredProcess, ProcessFailedError, folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.local_fleet import LocalFleet

BIN = ROOT / ".venv" / "peers" / "bin"
POLICY = ROOT / "tests" / "bench" / "peers" / "policy.yml"


def c7n(fleet: LocalFleet) -> Run:
    """Cloud Custodian, without the validation of its policy."""
    command = [str(BIN / "custodian"), "run", "--skip-validation", "--cache-period", "0", "-s", "out"]
    return _run(fleet, [*command, *_each("-r", fleet.regions), str(POLICY)])


def c7n_org(fleet: LocalFleet, processes: int | None = None) -> Run:
    """Cloud Custodian's runner for many accounts and regions.

    It takes credentials from a profile, which saves the request for a role.

    Args:
        fleet: the fleet to change.
        processes: how many run at once; by default c7n-org's own choice, four for each core of the machine.
    """
    parallel = {"C7N_ORG_PARALLEL": str(processes)} if processes else {}
    command = [str(BIN / "c7n-org"), "run", "-c", "accounts.json", "-u", str(POLICY), "-s", "out"]
    return _run(fleet, [*command, "--cache-period", "0", *_each("-r", fleet.regions)], **parallel)


def metabadger(fleet: LocalFleet) -> Run:
    """Metabadger, in one region."""
    (region,) = fleet.regions
    return _run(fleet, [str(BIN / "metabadger"), "harden-metadata", "--region", region])


def bare_boto3(fleet: LocalFleet) -> Run:
    """The changes alone, in the enforcer's own environment, with the ids as input."""
    ids = {region: [each["InstanceId"] for each in running(fleet.aws, region)] for region in fleet.regions}
    wish = json.dumps({"instances": ids, "capacity": CAPACITY, "refill": REFILL})
    return _run(fleet, [sys.executable, "-m", "tests.bench.bare_boto3"], wish, PYTHONPATH=str(ROOT))


def _run(fleet: LocalFleet, command: Sequence[str], text: str = "", **more: str) -> Run:
    """Run a command with this text as standard input and these variables added to the environment."""
    fleet.begin()
    with folder() as path:
        home = Path(path)
        (home / "out").mkdir()
        account = {"account_id": fleet.aws.account, "name": "bench", "profile": "bench"}
        (home / "accounts.json").write_text(json.dumps({"accounts": [account]}), encoding="utf-8")
        keys = f"aws_access_key_id = {fleet.aws.account}\naws_secret_access_key = {SECRET}\n"
        (home / "config").write_text(f"[profile bench]\n{keys}", encoding="utf-8")
        environment = {**fleet.aws.environment(), "AWS_CONFIG_FILE": str(home / "config"), **more}
        with MeasuredProcess(command, environment, home) as process:
            usage = process.usage(text)
            written = process.written()
    calls = fleet.calls()
    run = Run(
        seconds=usage["seconds"],
        cpu_s=usage["cpu_s"],
        peak_mb=usage["peak_mb"],
        facts={"exit_code": usage["exit_code"]},
        **calls,
        **fleet.state(),
    )
    if not calls["requests"]:
        raise ProcessFailedError(f"{' '.join(command)} reached nothing:\n{written}")
    return run


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (option, value)]
