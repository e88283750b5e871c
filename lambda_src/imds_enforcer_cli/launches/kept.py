"""Finds launchers that set no HttpTokens although the policy lets their instances keep IMDSv1.

If the region's default became `required`, their next instances would not get IMDSv1.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from imds_enforcer.decision.decision import decide
from imds_enforcer.enforcement.gate import LegacyCallGate
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import Failure, HttpTokens, Instance, InstanceState, PlannedChange, Result
from imds_enforcer.model.instance import LAUNCH_TEMPLATE_TAG
from imds_enforcer.model.wording import count
from imds_enforcer.policy import Policy
from imds_enforcer_cli.launches.launcher import Launcher


class Kept(StrEnum):
    """How an instance keeps IMDSv1. The names are a contract: documents carry them."""

    EXEMPT = "exempt"
    HELD = "held"
    GATED = "gated"


@dataclass(frozen=True, slots=True)
class Keeping:
    """How an instance keeps IMDSv1, and why; `failure` is set if the gate could not get its calls."""

    how: Kept
    why: str
    failure: Failure | None = None


def kept_instances(
    instances: Iterable[Instance],
    policy: Policy,
    now: datetime,
    holds: Mapping[str, Hold],
    gate: LegacyCallGate | None,
) -> dict[str, Keeping]:
    """The instances that keep IMDSv1, by id. The gate decides about those that are neither held nor exempt."""
    kept: dict[str, Keeping] = {}
    others = []
    for each in instances:
        if hold := holds.get(each.instance_id):
            kept[each.instance_id] = Keeping(Kept.HELD, str(hold))
        elif exemption := policy.exemption_for(each, now):
            kept[each.instance_id] = Keeping(Kept.EXEMPT, str(exemption))
        else:
            others.append(each)
    return kept | (_gated(others, policy, now, gate) if gate else {})


def _gated(instances: Sequence[Instance], policy: Policy, now: datetime, gate: LegacyCallGate) -> dict[str, Keeping]:
    """The instances that would lose IMDSv1, but that the gate holds back."""
    in_full = replace(policy, rollout_percent=100, launch_grace_seconds=0)
    plans = []
    for each in instances:
        decision = decide(each, in_full, now)
        if decision.change and each.options and each.options.http_tokens is HttpTokens.OPTIONAL:
            wanted = decision.change.applied_to(each.options)
            plans.append(PlannedChange(each, decision.change, wanted, decision.reason))
    held = (each for each in gate.hold_back(plans) if isinstance(each, Result))
    return {each.instance_id: Keeping(Kept.GATED, each.reason, each.failure) for each in held}


@dataclass(frozen=True, slots=True)
class KeptLauncher:
    """A launcher that sets no HttpTokens although the policy lets its instances keep IMDSv1.

    `exemption` is the reason of the exemption that matches its next instance, if any; `instances` counts its current
    instances by how they keep IMDSv1.
    """

    launcher: Launcher
    exemption: str | None
    instances: Mapping[Kept, int]

    @property
    def why(self) -> str:
        """What keeps IMDSv1, and what a required default would do.

        AWS does not document whether the region's defaults override those of a launch configuration.
        """
        numbers = ", ".join(f"{self.instances[how]} {how}" for how in Kept if self.instances.get(how))
        parts = (
            f"the launcher's next instance is exempt ({self.exemption})" if self.exemption else "",
            f"{count(len(self.launcher.instance_ids), 'instance')}: {numbers}" if numbers else "",
            "if required becomes the region's default for HttpTokens, the launcher's next instance "
            + ("will not get IMDSv1" if LAUNCH_TEMPLATE_TAG in self.launcher.tags else "might not get IMDSv1"),
        )
        return "; ".join(filter(None, parts))

    def __str__(self) -> str:
        return f"{self.launcher} in {self.launcher.region} does not set HttpTokens: {self.why}"

    def as_json(self) -> dict[str, Any]:
        """The launcher in a document."""
        return {
            "launcher": str(self.launcher),
            "region": self.launcher.region,
            "kind": str(self.launcher.kind),
            "id": self.launcher.id,
            "instances": len(self.launcher.instance_ids),
            **{str(how): self.instances.get(how, 0) for how in Kept},
            "exemption": self.exemption,
            "why": self.why,
        }


def kept_launchers(
    launchers: Iterable[Launcher], policy: Policy, now: datetime, kept: Mapping[str, Keeping]
) -> Iterator[KeptLauncher]:
    """The launchers, in the policy's regions, whose next instance is exempt or some of whose instances are `kept`.

    An instance about which the gate could not decide does not count.
    """
    for each in launchers:
        if each.silent and policy.regions.covers(each.region):
            exemption = policy.exemption_for(_next_instance(each), now)
            ways = (kept[i] for i in each.instance_ids if i in kept)
            instances = Counter(keeping.how for keeping in ways if not keeping.failure)
            if exemption or instances:
                yield KeptLauncher(each, str(exemption) if exemption else None, instances)


def with_exemptions(
    launchers: Iterable[Launcher], instances: Iterable[Instance], policy: Policy, now: datetime
) -> list[Launcher]:
    """The launchers; those that set no HttpTokens also say which instances the policy's exemptions let keep IMDSv1."""
    kept = kept_instances(instances, policy, now, {}, None)
    return [
        replace(each, exempt="; ".join(named.why for named in kept_launchers([each], policy, now, kept)))
        for each in launchers
    ]


def _next_instance(launcher: Launcher) -> Instance:
    """The launcher's next instance, as far as exemptions can match it: it has no id yet."""
    return Instance(
        instance_id="",
        region=launcher.region,
        state=InstanceState.PENDING,
        options=None,
        observed_at=0,
        image_id=launcher.image_id,
        tags=launcher.tags,
    )
