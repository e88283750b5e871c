"""Everything that launches instances in one region, as EC2, Auto Scaling and EKS describe it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imds_enforcer.model import AwsError, LaunchTemplate
from imds_enforcer_cli.launches.precedence import Recipe, RegionDefaults

LATEST, DEFAULT = "$Latest", "$Default"


@dataclass(frozen=True, slots=True)
class Marks:
    """What reveals the owner: tags, the ARN of the creator, and the AWS service that alone may change the thing."""

    tags: Mapping[str, str] = field(default_factory=dict)
    created_by: str = ""
    operator: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A launch template."""

    template_id: str
    name: str
    marks: Marks = Marks()


@dataclass(frozen=True, slots=True)
class Version:
    """A numbered version of a launch template. `data` is its content under EC2's own names."""

    template: LaunchTemplate
    name: str
    recipe: Recipe
    created_by: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class TemplateLaunch:
    """A template version that a group launches with, as the group names it, and the group's image override, if any."""

    template: LaunchTemplate
    image_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """An Auto Scaling group, and what it launches with now: a launch configuration, or template versions.

    `instance_tags` are those that it gives its instances; `mixed` is its mixed instances policy under AWS's own names.
    """

    name: str
    arn: str = ""
    configuration: str | None = None
    launches: tuple[TemplateLaunch, ...] = ()
    instance_tags: Mapping[str, str] = field(default_factory=dict)
    marks: Marks = Marks()
    mixed: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """A launch configuration."""

    name: str
    arn: str
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """A managed node group of EKS, and the account's launch template that EKS copied for it, if any."""

    cluster: str
    name: str
    template: LaunchTemplate | None = None

    def __str__(self) -> str:
        return f"{self.cluster}/{self.name}"


@dataclass(frozen=True, slots=True)
class Image:
    """An image, and whether instances launched from it require tokens (ImdsSupport).

    `own` is True if they do not and the account owns the image, so that it can change that.
    """

    image_id: str
    requires_tokens: bool
    own: bool = False
    name: str = ""
    marks: Marks = Marks()


@dataclass(slots=True)
class Inventory:
    """What was found in a region. `failures` says why something could not be read, by kind.

    The kinds are the names of the other fields. `numbers` maps `$Default` and `$Latest` of a template to a numbered
    version. `defaults` is None if they could not be read.
    """

    templates: dict[str, Template] = field(default_factory=dict)
    versions: dict[LaunchTemplate, Version] = field(default_factory=dict)
    numbers: dict[LaunchTemplate, LaunchTemplate] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    configurations: dict[str, Configuration] = field(default_factory=dict)
    node_groups: list[NodeGroup] = field(default_factory=list)
    images: dict[str, Image] = field(default_factory=dict)
    defaults: RegionDefaults | None = None
    failures: dict[str, AwsError] = field(default_factory=dict)

    def numbered(self, template: LaunchTemplate) -> LaunchTemplate:
        """The version with its number in place of an alias; unchanged if the number is unknown."""
        return self.numbers.get(template, template)

    def version(self, template: LaunchTemplate) -> Version | None:
        """The version with this number or alias, if known."""
        return self.versions.get(self.numbered(template))
