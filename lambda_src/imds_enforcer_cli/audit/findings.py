"""One audited instance: its judgement, and what launched it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imds_enforcer.decision.legacy_calls import Calls
from imds_enforcer.model import HttpTokens, Instance, MetadataOptions, Source, Switch
from imds_enforcer_cli.audit.judge import Judgement, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What an audit keeps about an instance. `calls` counts those without a token; None if CloudWatch was not asked."""

    instance_id: str
    region: str
    name: str
    state: str
    judgement: Judgement
    options: MetadataOptions | None
    source: Source
    launched_at: datetime | None
    calls: Calls | None

    @classmethod
    def of(cls, instance: Instance, judgement: Judgement, calls: Calls | None) -> "Audited":
        """Build it from an instance as read and judged."""
        return cls(
            instance_id=instance.instance_id,
            region=instance.region,
            name=instance.tags.get("Name", ""),
            state=str(instance.state),
            judgement=judgement,
            options=instance.options,
            source=instance.source,
            launched_at=instance.attached_at,
            calls=calls,
        )

    @property
    def status(self) -> Status:
        """The instance's status."""
        return self.judgement.status

    def as_json(self, now: datetime) -> dict[str, Any]:
        """The instance as it appears in the audit document."""
        options, calls, judgement, source = self.options, self.calls, self.judgement, self.source
        return {
            "instance_id": self.instance_id,
            "region": self.region,
            "name": self.name,
            "state": self.state,
            "status": str(judgement.status),
            "reason": judgement.reason,
            "until": judgement.until,
            "by": judgement.by,
            "expired": judgement.expired,
            "http_tokens": str(options.http_tokens) if options else None,
            "http_endpoint": str(options.http_endpoint) if options else None,
            "hop_limit": options.http_put_response_hop_limit if options else None,
            "options_state": str(options.state) if options else None,
            "launch_template": source.launch_template and source.launch_template._asdict(),
            "auto_scaling_group": source.auto_scaling_group,
            "image_id": source.image_id,
            "launched_at": self.launched_at.isoformat(timespec="seconds") if self.launched_at else None,
            "age_days": (now - self.launched_at).days if self.launched_at else None,
            "imdsv1_calls": calls and {"total": calls.total, "last": calls.last.isoformat() if calls.last else None},
        }


def serves_imdsv1(instance: Instance) -> bool:
    """True if the instance answers calls without a token, so that CloudWatch counts them."""
    options = instance.options
    return bool(options and options.http_endpoint is Switch.ENABLED and options.http_tokens is HttpTokens.OPTIONAL)
