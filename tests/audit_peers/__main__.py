"""Do independent auditors find what `imds-enforcer audit` finds, before and after `enforce`?

Prowler and Cloud Custodian audit the same fleet on a local AWS: as launched, after an `enforce` whose policy exempts
some instances, and after one that exempts none. The exit code is 1 if any of the three disagree.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local import operator
from infra.local.client import LocalAws
from tests.audit_peers.auditors import custodian, imds_enforcer, prowler

if TYPE_CHECKING:
    from collections.abc import Mapping

REGIONS = ("eu-west-1", "us-east-1")
EXEMPTION = {"match": {"tag": {"key": "imds", "value": "v1"}}, "reason": "vendor appliance calls IMDSv1"}


@dataclass(frozen=True, slots=True)
class Fleet:
    """The launched instances that allow IMDSv1, and those of them that the first policy exempts."""

    allowing: frozenset[str]
    exempt: frozenset[str]


def main() -> None:
    """Run every auditor three times, and print what each found."""
    with LocalAws() as aws, tempfile.TemporaryDirectory() as folder:
        fleet, agreed = launch(aws), True
        exempting = policy(Path(folder), "exempting", {"exemptions": [EXEMPTION]})
        strict = policy(Path(folder), "strict", {})
        agreed &= look(aws, Path(folder), "as launched", exempting, fleet.allowing)
        operator.answer(aws, "enforce", "--yes", "--policy", str(exempting))
        agreed &= look(aws, Path(folder), "after enforce, some exempt", exempting, fleet.exempt)
        operator.answer(aws, "enforce", "--yes", "--policy", str(strict))
        agreed &= look(aws, Path(folder), "after enforce, none exempt", strict, frozenset())
    print("All auditors agree." if agreed else "The auditors disagree.")  # noqa: T201  # run from a terminal
    sys.exit(0 if agreed else 1)


def launch(aws: LocalAws) -> Fleet:
    """Launch instances of every kind in both regions: optional, required, off, exempt, more hops, stopped."""
    allowing: list[str] = []
    exempt: list[str] = []
    for region in REGIONS:
        stopped = aws.launch(region, 2, HttpTokens="optional")
        allowing += [*aws.launch(region, 5, HttpTokens="optional"), *stopped]
        allowing += aws.launch(region, 2, HttpTokens="optional", HttpPutResponseHopLimit=3, auto_scaling_group="web")
        exempt += aws.launch(region, 2, HttpTokens="optional", tags={"imds": "v1"})
        aws.launch(region, 3, HttpTokens="required")
        aws.launch(region, 1, HttpTokens="optional", HttpEndpoint="disabled")
        aws.launch(region, 1, HttpTokens="required", HttpEndpoint="disabled")
        gone = aws.launch(region, 2, HttpTokens="optional")
        aws.client("ec2", region).stop_instances(InstanceIds=stopped)
        aws.client("ec2", region).terminate_instances(InstanceIds=gone)
    return Fleet(frozenset([*allowing, *exempt]), frozenset(exempt))


def policy(folder: Path, name: str, fields: Mapping[str, Any]) -> Path:
    """Write a policy that requires tokens to a file."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"http_tokens": "required", **fields}), "utf-8")
    return path


def look(aws: LocalAws, folder: Path, when: str, rules: Path, expected: frozenset[str]) -> bool:
    """Run each auditor; True if all of them find exactly the expected instances."""
    found = {"imds-enforcer audit": imds_enforcer(aws, rules, REGIONS)}
    for name, auditor in (("Prowler", prowler), ("Cloud Custodian", custodian)):
        with tempfile.TemporaryDirectory(dir=folder) as home:
            found[name] = auditor(aws, Path(home), REGIONS)
    print(f"{when}: {len(expected)} instances that allow IMDSv1")  # noqa: T201  # as above
    for name, ids in found.items():
        differing = (
            "" if ids == expected else f"; unexpected: {sorted(ids - expected)}, missed: {sorted(expected - ids)}"
        )
        print(f"  {name}: {len(ids)}{differing}")  # noqa: T201  # as above
    return all(ids == expected for ids in found.values())


if __name__ == "__main__":
    main()
