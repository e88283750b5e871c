"""Launchers that leave the tokens to others, while the policy lets their instances keep IMDSv1.

With `required` as the region's default their next instance would not get it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from imds_enforcer.model import Instance, InstanceState
from imds_enforcer.model.wording import count
from imds_enforcer.policy import Policy
from imds_enforcer_cli.launches.launcher import Launcher


@dataclass(frozen=True, slots=True)
class KeptLauncher:
    """One of them, and why its instances may keep IMDSv1."""

    launcher: Launcher
    why: str

    def __str__(self) -> str:
        return f"{self.launcher} in {self.launcher.region} does not set HttpTokens: {self.why}"


def kept_launchers(
    launchers: Iterable[Launcher], policy: Policy, now: datetime, kept: Mapping[str, str]
) -> Iterator[KeptLauncher]:
    """Those whose next instance an exemption would fit, or of whose instances some are `kept`.

    `kept` has, by the id, a word for why an instance that exists keeps IMDSv1: exempt, held or gated.
    """
    for each in launchers:
        if each.silent and (why := _exempt(each, policy, now) or _kept(each, kept)):
            yield KeptLauncher(each, why)


def _exempt(launcher: Launcher, policy: Policy, now: datetime) -> str | None:
    exemption = policy.exemption_for(_next_instance(launcher), now)
    return f"exempt: {exemption}" if exemption else None


def _next_instance(launcher: Launcher) -> Instance:
    """The instance that it launches next, as far as an exemption can know it: it has no id yet."""
    return Instance(
        instance_id="",
        region=launcher.region,
        state=InstanceState.PENDING,
        options=None,
        observed_at=0,
        image_id=launcher.image_id,
        tags=launcher.tags,
    )


def _kept(launcher: Launcher, kept: Mapping[str, str]) -> str | None:
    words = [kept[each] for each in launcher.instance_ids if each in kept]
    if not words:
        return None
    return f"{count(len(words), 'instance')} {', '.join(sorted(set(words)))}"
