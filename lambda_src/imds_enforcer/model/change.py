"""A change of an instance's options, on its way from the decision to EC2's answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from imds_enforcer.model.failures import Failure
    from imds_enforcer.model.instance import HttpTokens, Instance, MetadataOptions, Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The smallest change that makes an instance follow the policy; None leaves an option alone.

    HttpTokens is always named: EC2 documents a default for it when it is left out of
    ModifyInstanceMetadataOptions.
    """

    http_tokens: HttpTokens
    http_put_response_hop_limit: int | None = None
    http_protocol_ipv6: Switch | None = None
    instance_metadata_tags: Switch | None = None

    def applied_to(self, options: MetadataOptions) -> MetadataOptions:
        """The options once the change has taken effect."""
        return replace(
            options,
            http_tokens=self.http_tokens,
            http_put_response_hop_limit=self.http_put_response_hop_limit or options.http_put_response_hop_limit,
            http_protocol_ipv6=self.http_protocol_ipv6 or options.http_protocol_ipv6,
            instance_metadata_tags=self.instance_metadata_tags or options.instance_metadata_tags,
        )

    @property
    def extras(self) -> dict[str, Switch]:
        """The options beyond tokens and hop limit, under EC2's own names: not every instance can have them."""
        extras = {"HttpProtocolIpv6": self.http_protocol_ipv6, "InstanceMetadataTags": self.instance_metadata_tags}
        return {option: value for option, value in extras.items() if value is not None}

    def without(self, options: Collection[str]) -> Change:
        """The change without these extras."""
        return replace(
            self,
            http_protocol_ipv6=None if "HttpProtocolIpv6" in options else self.http_protocol_ipv6,
            instance_metadata_tags=None if "InstanceMetadataTags" in options else self.instance_metadata_tags,
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """A value of an option that EC2 refused to an instance, with EC2's failure.

    `noted` is True if EC2 refused it to an earlier run, and this run did not ask again.
    """

    option: str
    value: Switch
    failure: Failure
    noted: bool = False


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """An instance, the change that it needs, the options that it gets, and why.

    `cleared` is True once a check after the observation found no hold on the instance, and no contest in the way.
    `unanswered` counts the attempts that EC2 did not answer: it may have accepted them. `doubtful` is True if the last
    attempt was one of them. `failure` is why the last attempt failed. `refused` are the options that EC2 refused.
    """

    instance: Instance
    change: Change
    wanted: MetadataOptions
    reason: str
    cleared: bool = False
    unanswered: int = 0
    doubtful: bool = False
    failure: Failure | None = None
    refused: tuple[Refusal, ...] = ()

    @property
    def begun(self) -> bool:
        """True if the change was sent and goes on: EC2 did not answer, or it is sent again without a refused option."""
        return bool(self.unanswered) or any(not each.noted for each in self.refused)

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self.instance.instance_id


@dataclass(frozen=True, slots=True)
class AcceptedChange:
    """A change that EC2 accepted, and when (monotonic seconds); only the read-back proves that it was made.

    `answer` is EC2's response; None if it was lost on the way.
    """

    plan: PlannedChange
    at: float
    answer: Mapping[str, Any] | None = None
