"""A launch template as a fix sees it, and the possible outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from imds_enforcer.model import Instance
from imds_enforcer_cli.launches.inventory import Group, NodeGroup, Version
from imds_enforcer_cli.launches.owners import Owner


class FixOutcome(StrEnum):
    """The outcome of a fix or an undo. The names are a contract: documents carry them."""

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
    """A launch template, and everything on which its plan depends.

    `lax` are the versions in use, by number, whose next launch may allow IMDSv1. `launches` are the instances that the
    template may launch next: directly, by each group, and like those that it has launched before. `hop_limit` is the
    hop limit of these instances if the version sets none. `instance_ids` are the instances that it has launched. `held`
    says, by id, why some of them must not lose IMDSv1. `groups` and `node_groups` are those that name a version by its
    number, each with that number.
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
