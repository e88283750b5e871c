"""A launch template as a fix sees it, and what may become of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from imds_enforcer.model import Instance
from imds_enforcer_cli.launches.inventory import Group, NodeGroup, Version
from imds_enforcer_cli.launches.owners import Owner


class FixOutcome(StrEnum):
    """What became of a launcher. The names are a contract: documents carry them."""

    FIXED = "FIXED"
    WOULD_FIX = "WOULD_FIX"
    COMPLIANT = "COMPLIANT"
    EXEMPT = "EXEMPT"
    HELD = "HELD"
    LEFT = "LEFT"
    FAILED = "FAILED"
    UNDONE = "UNDONE"
    WOULD_UNDO = "WOULD_UNDO"
    GONE = "GONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A launch template, and what a plan depends on.

    `default` and `latest` are versions; `lax` are the numbers in use whose next launch may allow IMDSv1, each with its
    version. `launches` are the instances to be: what it launches by itself, by each group, and as its instances show;
    `hop_limit` is theirs where a version names none. `instance_ids` are those it has launched, `held` has why some of
    them may not lose IMDSv1, by id. `groups` and `node_groups` are those that name one of its numbers, with it.
    """

    region: str
    template_id: str
    name: str
    default: Version
    latest: Version
    lax: Mapping[str, Version] = field(default_factory=dict)
    owner: Owner | None = None
    launches: tuple[Instance, ...] = ()
    hop_limit: int = 1
    instance_ids: tuple[str, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[tuple[Group, str], ...] = ()
    node_groups: tuple[tuple[NodeGroup, str], ...] = ()

    def __str__(self) -> str:
        return (
            f"launch template {self.name} ({self.template_id})" if self.name else f"launch template {self.template_id}"
        )
