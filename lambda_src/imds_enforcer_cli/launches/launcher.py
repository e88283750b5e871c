"""Something that launches instances, or decides how, as the listing shows it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from imds_enforcer_cli.launches.owners import Owner
from imds_enforcer_cli.launches.precedence import BAD_NEWS_FIRST, Outlook


class LauncherKind(StrEnum):
    """What launches instances, or decides how. The names are a contract: documents carry them."""

    TEMPLATE = "launch_template"
    GROUP = "auto_scaling_group"
    CONFIGURATION = "launch_configuration"
    IMAGE = "image"
    DEFAULTS = "region_defaults"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """One of them. `name` is what people call it, `version` the number of a template's version.

    `arn` is empty where AWS answers none. `used_as` are the names by which the version is used: `$Default`, `$Latest`,
    and the groups and node groups that name its number. `silent` says that a launch by it may name no HttpTokens, so
    that others decide; `image_id` and `tags` are what its instances get, as far as that is known. `exempt` says, of one
    that is silent, what a policy's exemptions let keep IMDSv1; empty where no policy was asked.
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
        """The launcher in a document."""
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
    """What launches IMDSv1 first, then what may; of these, what has most instances."""
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
