"""A launcher: something that launches instances or decides about their options."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from imds_enforcer_cli.launches.owners import Owner
from imds_enforcer_cli.launches.precedence import BAD_NEWS_FIRST, Outlook


class LauncherKind(StrEnum):
    """The kinds of launchers. The names are a contract: documents carry them."""

    TEMPLATE = "launch_template"
    GROUP = "auto_scaling_group"
    CONFIGURATION = "launch_configuration"
    IMAGE = "image"
    DEFAULTS = "region_defaults"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """A launcher. `name` is its display name, `version` the number of a template's version.

    `arn` is empty if AWS returns none. `used_as` are the uses of the version: `$Default`, `$Latest`, and the groups and
    node groups that name its number. `silent` means that it may launch without setting HttpTokens, so that the region
    or the image decides; `image_id` and `tags` are those of its instances, if known. `exempt` says, for a silent
    launcher, which instances a policy's exemptions let keep IMDSv1; empty if no policy was read.
    """

    kind: LauncherKind
    region: str
    id: str
    outlook: Outlook
    name: str = ""
    arn: str = ""
    version: str = ""
    used_as: tuple[str, ...] = ()
    instance_ids: tuple[str, ...] = ()
    owner: Owner | None = None
    advice: str = ""
    silent: bool = False
    image_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    exempt: str = ""

    def __str__(self) -> str:
        named = f"{self.name} ({self.id})" if self.name not in {"", self.id} else self.id
        version = f" version {self.version}" if self.version else ""
        return f"{_KINDS[self.kind]} {named}{version}"

    def as_json(self) -> dict[str, Any]:
        """The launcher as it appears in a document."""
        return {
            "launcher": str(self),
            "kind": str(self.kind),
            "region": self.region,
            "id": self.id,
            "name": self.name or None,
            "arn": self.arn or None,
            "version": self.version or None,
            "used_as": list(self.used_as),
            "instances": len(self.instance_ids),
            "launches_imdsv1": self.outlook.launches_imdsv1,
            "why": self.outlook.why,
            "exempt": self.exempt or None,
            "owner": self.owner and {**self.owner.as_json(), "text": str(self.owner)},
            "advice": self.advice or None,
        }


_KINDS = {
    LauncherKind.TEMPLATE: "launch template",
    LauncherKind.GROUP: "Auto Scaling group",
    LauncherKind.CONFIGURATION: "launch configuration",
    LauncherKind.IMAGE: "image",
    LauncherKind.DEFAULTS: "account defaults of",
}


def ordered(found: Iterable[Launcher]) -> list[Launcher]:
    """Sort launchers: those that launch IMDSv1, then those that may, each by most instances."""
    return sorted(
        found,
        key=lambda each: (
            BAD_NEWS_FIRST.index(each.outlook.launches_imdsv1),
            -len(each.instance_ids),
            each.region,
            list(LauncherKind).index(each.kind),
            each.id,
            int(each.version or 0),
        ),
    )
