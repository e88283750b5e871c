"""What a run did: counts and the first failures, small enough to be the function's answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from imds_enforcer.model import Outcome, Result
from imds_enforcer.model.result import counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imds_enforcer.ledger.refused_launches import RefusedLauncher
    from imds_enforcer.model import Failure
    from imds_enforcer.model.region_defaults import DefaultsResult
    from imds_enforcer.policy import Exemption, Policy

MAX_FAILURES = 100
"""Failures that a report names; it only counts the rest. Lambda limits a synchronous answer to 6 MB."""


KEPT_BACK = frozenset({Outcome.HELD, Outcome.CONTESTED})
"""Outcomes that operators must know about: these instances stay as they are until a person acts."""


_ODD = KEPT_BACK | {Outcome.FAILED, Outcome.SKIPPED, Outcome.PENDING}
"""Outcomes that leave a region's account defaults different from the policy."""


class RegionStatus(StrEnum):
    """How a region's part of a sweep ended."""

    DONE = "DONE"
    REGION_FAILED = "REGION_FAILED"
    REGION_DENIED = "REGION_DENIED"


@dataclass(slots=True)
class RegionReport:
    """The outcomes of one region. `failure` is why the region could not be read to its end.

    `stopped` is why changes ended early, and `tripped` is True if the reason is too many failures. `ledger_failure` is
    why the ledger lacks some of the changes. `left_to_sweep` counts deferred instances whose events do not come back.
    `refused` has the first instances that lack an option because EC2 refused it; `refused_in_all` counts all of them.
    `defaults` is the result for the region's account defaults; None if the run did not read them.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    compliant: int = 0
    failures: list[Result] = field(default_factory=list)
    kept_back: list[Result] = field(default_factory=list)
    refused: list[Result] = field(default_factory=list)
    refused_in_all: int = 0
    left_to_sweep: int = 0
    failure: Failure | None = None
    stopped: str | None = None
    tripped: bool = False
    ledger_failure: Failure | None = None
    defaults: DefaultsResult | None = None

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
        self.left_to_sweep += result.left_to_sweep
        if result.outcome is Outcome.FAILED and len(self.failures) < MAX_FAILURES:
            self.failures.append(result)
        self.refused_in_all += bool(result.refused)
        if result.outcome in KEPT_BACK and len(self.kept_back) < MAX_FAILURES:
            self.kept_back.append(result)
        if result.refused and len(self.refused) < MAX_FAILURES:
            self.refused.append(result)

    def include(self, other: RegionReport) -> None:
        """Add another look at the same region."""
        self.outcomes += other.outcomes
        self.compliant += other.compliant
        self.left_to_sweep += other.left_to_sweep
        self.refused_in_all += other.refused_in_all
        self.failures = [*self.failures, *other.failures][:MAX_FAILURES]
        self.kept_back = [*self.kept_back, *other.kept_back][:MAX_FAILURES]
        self.refused = [*self.refused, *other.refused][:MAX_FAILURES]
        self.failure = self.failure or other.failure
        self.stopped = self.stopped or other.stopped
        self.tripped = self.tripped or other.tripped
        self.ledger_failure = self.ledger_failure or other.ledger_failure

    def as_json(self) -> dict[str, Any]:
        """The region's line in the report."""
        document: dict[str, Any] = {"status": str(self.status), "outcomes": counts(self.outcomes)}
        reasons = {"error": self.failure, "stopped": self.stopped, "ledger_error": self.ledger_failure}
        if self.defaults:
            document["defaults"] = {"outcome": str(self.defaults.outcome), "reason": self.defaults.reason}
        return document | {name: str(reason) for name, reason in reasons.items() if reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run over any number of regions. `stopped` is why it ended early, if it did.

    Only an inventory has `refused_launchers`: their launches were refused lately because of tokens.
    `credentials_refused` is why AWS did not accept the credentials, if that ended the run.
    """

    run_id: str
    trigger: str
    policy: Policy
    regions: Mapping[str, RegionReport]
    expired_exemptions: tuple[Exemption, ...] = ()
    warnings: tuple[str, ...] = ()
    refused_launchers: tuple[RefusedLauncher, ...] = ()
    seconds: float = 0.0
    stopped: str | None = None
    credentials_refused: Failure | None = None

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
        """Regions that could not be read to their end, but not those that an organization's policy denies."""
        return {name: r for name, r in self.regions.items() if r.status is RegionStatus.REGION_FAILED}

    @property
    def denied_regions(self) -> dict[str, Failure | None]:
        """Regions that an organization's policy denies, with EC2's refusal."""
        return {name: r.failure for name, r in self.regions.items() if r.status is RegionStatus.REGION_DENIED}

    @property
    def failures(self) -> list[Result]:
        """The first failures over all regions."""
        return [result for region in self.regions.values() for result in region.failures][:MAX_FAILURES]

    @property
    def kept_back(self) -> list[Result]:
        """The first instances, over all regions, that are held or contested."""
        return [result for region in self.regions.values() for result in region.kept_back][:MAX_FAILURES]

    @property
    def refused(self) -> list[Result]:
        """The first instances, over all regions, that lack an option which EC2 refused."""
        return [result for region in self.regions.values() for result in region.refused][:MAX_FAILURES]

    @property
    def refused_in_all(self) -> int:
        """How many instances, over all regions, lack an option that EC2 refused."""
        return sum(region.refused_in_all for region in self.regions.values())

    @property
    def odd_defaults(self) -> list[DefaultsResult]:
        """The account defaults that differ from the policy, region by region.

        Regions that an organization's policy denies as a whole are left out: the denial is intended.
        """
        found = (r.defaults for r in self.regions.values() if r.status is not RegionStatus.REGION_DENIED)
        return [each for each in found if each and each.outcome in _ODD]

    @property
    def stopped_regions(self) -> dict[str, str]:
        """Regions in which changes ended before all were made, and why."""
        return {name: region.stopped for name, region in self.regions.items() if region.stopped}

    @property
    def needs_attention(self) -> bool:
        """True if failures, kept-back instances, refused launches, expired exemptions or warnings need a person."""
        instances = (self.failures, self.kept_back, self.refused, self.odd_defaults)
        others = (
            self.failed_regions,
            self.stopped_regions,
            self.expired_exemptions,
            self.warnings,
            self.refused_launchers,
        )
        return any(instances) or any(others) or any(region.ledger_failure for region in self.regions.values())

    def as_json(self) -> dict[str, Any]:
        """The report as JSON, which the function returns and logs."""
        document = {
            "run_id": self.run_id,
            "trigger": self.trigger,
            "mode": str(self.policy.mode),
            "http_tokens": str(self.policy.http_tokens),
            "policy_versions": self.policy.versions.as_log(),
            "seconds": round(self.seconds, 3),
            "instances": self.instances,
            "compliant_instances": self.compliant,
            "outcomes": counts(self.outcomes),
            "regions": {name: region.as_json() for name, region in sorted(self.regions.items())},
            "failures": [_failure(result) for result in self.failures],
            "kept_back": [_named(result) for result in self.kept_back],
            "refused": [_named(result) for result in self.refused],
            "expired_exemptions": [exemption.named() for exemption in self.expired_exemptions],
            "warnings": list(self.warnings),
            "refused_launchers": [each.as_json() for each in self.refused_launchers[:MAX_FAILURES]],
        }
        return document if self.stopped is None else document | {"stopped": self.stopped}


def _failure(result: Result) -> dict[str, str]:
    return {
        "instance_id": result.instance_id,
        "region": result.region,
        "code": result.failure.code if result.failure else "",
        "reason": result.reason,
    }


def _named(result: Result) -> dict[str, str]:
    return {
        "instance_id": result.instance_id,
        "region": result.region,
        "outcome": str(result.outcome),
        "reason": result.reason,
    }
