"""What the enforcer knows of a region's account defaults, and what became of them in one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imds_enforcer.model.instance import HttpTokens, Switch
from imds_enforcer.model.result import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imds_enforcer.model.failures import Failure

NO_PREFERENCE = "no-preference"

DEFAULTS = {
    "HttpTokens": "http_tokens",
    "HttpPutResponseHopLimit": "http_put_response_hop_limit",
    "InstanceMetadataTags": "instance_metadata_tags",
    "HttpTokensEnforced": "http_tokens_enforced",
}
"""The defaults that the enforcer knows, under EC2's own names. It never touches HttpEndpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionDefaults:
    """The account's metadata defaults in one region; None stands for no preference.

    `managed` is why the account cannot change them; None if it can. `observed_at` is when they were read, in
    monotonic seconds. Neither counts in a comparison.
    """

    http_tokens: HttpTokens | None = None
    http_put_response_hop_limit: int | None = None
    instance_metadata_tags: Switch | None = None
    http_tokens_enforced: Switch | None = None
    managed: str | None = field(default=None, compare=False)
    observed_at: float = field(default=0.0, compare=False)

    @classmethod
    def described(
        cls, item: Mapping[str, Any], *, managed: str | None = None, observed_at: float = 0.0
    ) -> RegionDefaults:
        """Parse defaults under EC2's own names, as in its response or in `as_log`.

        Raises:
            ValueError: if a default has an unrecognized value.
        """
        given = {name: value for name, value in item.items() if value not in (None, NO_PREFERENCE, -1)}
        tokens, hops = given.get("HttpTokens"), given.get("HttpPutResponseHopLimit")
        tags, enforced = given.get("InstanceMetadataTags"), given.get("HttpTokensEnforced")
        return cls(
            http_tokens=None if tokens is None else HttpTokens(tokens),
            http_put_response_hop_limit=None if hops is None else int(hops),
            instance_metadata_tags=None if tags is None else Switch(tags),
            http_tokens_enforced=None if enforced is None else Switch(enforced),
            managed=managed,
            observed_at=observed_at,
        )

    def as_log(self) -> dict[str, str | int]:
        """The defaults under EC2's own names."""
        return {name: getattr(self, attribute) or NO_PREFERENCE for name, attribute in DEFAULTS.items()}

    @property
    def enforces_tokens(self) -> bool:
        """True if EC2 refuses launches with optional tokens."""
        return self.http_tokens_enforced is Switch.ENABLED


@dataclass(frozen=True, slots=True)
class PlannedDefaults:
    """A change of a region's defaults: before, after, and why. `named` are the attributes that are sent."""

    before: RegionDefaults
    wanted: RegionDefaults
    named: tuple[str, ...]
    reason: str

    def made(self, seen: RegionDefaults) -> bool:
        """True if the region shows what was sent; its other defaults are not this change's doing."""
        return all(getattr(seen, name) == getattr(self.wanted, name) for name in self.named)


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultsResult:
    """What became of a region's defaults in one run; `before` is None if they could not be read."""

    region: str
    outcome: Outcome
    reason: str
    before: RegionDefaults | None = None
    after: RegionDefaults | None = None
    failure: Failure | None = None

    @property
    def may_work_later(self) -> bool:
        """True if a retry may help."""
        failed = self.outcome is Outcome.FAILED and self.failure is not None and self.failure.may_work_later
        return failed or self.outcome is Outcome.DEFERRED
