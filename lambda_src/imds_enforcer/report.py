"""What a run did, in counts and first failures: small enough to be the function's answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from imds_enforcer.model import Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imds_enforcer.failures import Failure
    from imds_enforcer.policy import Exemption, Policy

MAX_FAILURES = 100
"""Failures that a report names; the rest are counted. A synchronous answer of Lambda ends at 6 MB."""


class RegionStatus(StrEnum):
    """How a region's part of a sweep ended."""

    DONE = "DONE"
    REGION_FAILED = "REGION_FAILED"
    REGION_DENIED = "REGION_DENIED"


@dataclass(slots=True)
class RegionReport:
    """The outcomes of one region. `failure` is why the region could not be read to its end."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    compliant: int = 0
    failures: list[Result] = field(default_factory=list)
    failure: Failure | None = None

    @property
    def status(self) -> RegionStatus:
        """Denied is an organization's intention; failed is a fault."""
        if self.failure is None:
            return RegionStatus.DONE
        return RegionStatus.REGION_DENIED if self.failure.denied_by_organization else RegionStatus.REGION_FAILED

    @property
    def instances(self) -> int:
        """Instances seen that still exist."""
        return self.outcomes.total() - self.outcomes[Outcome.GONE]

    def add(self, result: Result) -> None:
        """Count one instance."""
        self.outcomes[result.outcome] += 1
        self.compliant += result.compliant
        if result.outcome is Outcome.FAILED and len(self.failures) < MAX_FAILURES:
            self.failures.append(result)

    def as_json(self) -> dict[str, Any]:
        """The region's line in the report."""
        document: dict[str, Any] = {"status": str(self.status), "outcomes": _counts(self.outcomes)}
        if self.failure:
            document["error"] = str(self.failure)
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run over any number of regions. `stopped` is why it ended before all was done, if it did."""

    run_id: str
    trigger: str
    policy: Policy
    regions: Mapping[str, RegionReport]
    expired_exemptions: tuple[Exemption, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    stopped: str | None = None

    @property
    def outcomes(self) -> Counter[Outcome]:
        """Outcomes over all regions."""
        return sum((region.outcomes for region in self.regions.values()), Counter())

    @property
    def instances(self) -> int:
        """Instances seen that still exist, over all regions."""
        return sum(region.instances for region in self.regions.values())

    @property
    def compliant(self) -> int:
        """Instances known to follow the policy, over all regions."""
        return sum(region.compliant for region in self.regions.values())

    @property
    def failed_regions(self) -> dict[str, RegionReport]:
        """Regions that could not be read to their end, for another reason than an organization's policy."""
        return {name: r for name, r in self.regions.items() if r.status is RegionStatus.REGION_FAILED}

    @property
    def failures(self) -> list[Result]:
        """The first failures over all regions."""
        return [result for region in self.regions.values() for result in region.failures][:MAX_FAILURES]

    @property
    def needs_attention(self) -> bool:
        """True if somebody has to look: failures, failed regions, expired exemptions or warnings."""
        return bool(self.failures or self.failed_regions or self.expired_exemptions or self.warnings)

    def as_json(self) -> dict[str, Any]:
        """The report as the function answers and logs it."""
        document = {
            "run_id": self.run_id,
            "trigger": self.trigger,
            "mode": str(self.policy.mode),
            "http_tokens": str(self.policy.http_tokens),
            "policy_versions": self.policy.versions.as_log(),
            "seconds": round(self.seconds, 3),
            "instances": self.instances,
            "compliant_instances": self.compliant,
            "outcomes": _counts(self.outcomes),
            "regions": {name: region.as_json() for name, region in sorted(self.regions.items())},
            "failures": [_failure(result) for result in self.failures],
            "expired_exemptions": [exemption.named() for exemption in self.expired_exemptions],
            "warnings": list(self.warnings),
        }
        return document if self.stopped is None else document | {"stopped": self.stopped}

    def as_text(self) -> str:
        """The report as a person reads it in a mail."""
        counts = ", ".join(f"{number} {name}" for name, number in _counts(self.outcomes).items()) or "no instances"
        lines = [f"{self.trigger} run {self.run_id}, HttpTokens {self.policy.http_tokens}: {counts}."]
        lines += [f"Region {name} failed: {region.failure}" for name, region in self.failed_regions.items()]
        lines += [f"{r.instance_id} in {r.region} failed: {r.failure or r.reason}" for r in self.failures]
        unnamed = self.outcomes[Outcome.FAILED] - len(self.failures)
        if unnamed > 0:
            lines.append(f"… and {unnamed} more failures, each with a line in the log.")
        lines += [
            f"Exemption expired, remove or renew it: {exemption.named()}" for exemption in self.expired_exemptions
        ]
        return "\n".join([*lines, *self.warnings])


def _counts(outcomes: Counter[Outcome]) -> dict[str, int]:
    return {str(outcome): outcomes[outcome] for outcome in Outcome if outcomes[outcome]}


def _failure(result: Result) -> dict[str, str]:
    return {
        "instance_id": result.instance_id,
        "region": result.region,
        "code": result.failure.code if result.failure else "",
        "reason": result.reason,
    }
