"""What launched the instances of an audit, and whether it will launch such that allow IMDSv1 again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from imds_enforcer_cli.audit.findings import Audited, Template, template_json
from imds_enforcer_cli.audit.judge import Status
from imds_enforcer_cli.audit.launch_defaults import Outlook, Recipe, outlook
from imds_enforcer_cli.audit.launches import Launches, LaunchReader

_BAD_NEWS_FIRST = (True, None, False)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where instances of a region came from: a group, a version of a launch template, an image, as far as known."""

    region: str
    auto_scaling_group: str | None
    launch_template: Template | None
    image_id: str


@dataclass(frozen=True, slots=True)
class Source:
    """The instances of one origin: how many there are, which of them are findings, and what is to come."""

    origin: Origin
    instances: int
    findings: tuple[str, ...]
    outlook: Outlook

    def as_json(self) -> dict[str, Any]:
        """The source in the document of an audit."""
        return {
            "auto_scaling_group": self.origin.auto_scaling_group,
            "launch_template": template_json(self.origin.launch_template),
            "image_id": self.origin.image_id,
            "region": self.origin.region,
            "instances": self.instances,
            "findings": len(self.findings),
            "instance_ids": list(self.findings),
            "launches_imdsv1": self.outlook.launches_imdsv1,
            "why": self.outlook.why,
        }


def sources(instances: Sequence[Audited], reader: LaunchReader) -> list[Source]:
    """The sources of one region's instances."""
    by_origin: dict[Origin, list[Audited]] = defaultdict(list)
    for each in instances:
        origin = Origin(each.region, each.auto_scaling_group, each.launch_template, each.image_id)
        by_origin[origin].append(each)
    if not by_origin:
        return []
    launches = reader.read(
        [each.auto_scaling_group for each in by_origin if each.auto_scaling_group],
        [each.launch_template for each in by_origin if each.launch_template],
        [each.image_id for each in by_origin],
    )
    return [
        Source(
            origin,
            len(group),
            tuple(each.instance_id for each in group if each.status is Status.DRIFT),
            _outlook(origin, launches),
        )
        for origin, group in by_origin.items()
    ]


def _outlook(origin: Origin, launches: Launches) -> Outlook:
    """What the next launch comes to: of a group by what it launches with now, else by what the instances came from."""
    if origin.auto_scaling_group and "groups" in launches.failures:
        return Outlook(None, f"Auto Scaling group {origin.auto_scaling_group}: {launches.failures['groups']}")
    group = launches.groups.get(origin.auto_scaling_group or "")
    if group and group.configuration:
        return _of_configuration(group.configuration, origin, launches)
    if group and group.templates:
        outlooks = [_of_template(template, origin, launches) for template in group.templates]
        return min(outlooks, key=lambda each: _BAD_NEWS_FIRST.index(each.launches_imdsv1))
    if origin.launch_template:
        return _of_template(origin.launch_template, origin, launches)
    return _of_recipe(Recipe(), origin, launches)


def _of_configuration(name: str, origin: Origin, launches: Launches) -> Outlook:
    recipe = launches.configurations.get(name)
    if recipe is None:
        why = launches.failures.get("configurations", "it is not there any more")
        return Outlook(None, f"launch configuration {name}: {why}")
    return _of_recipe(recipe, origin, launches)


def _of_template(template: Template, origin: Origin, launches: Launches) -> Outlook:
    recipe = launches.templates.get(template)
    if recipe:
        return _of_recipe(recipe, origin, launches)
    named = f"launch template {template[0]} version {template[1]}"
    if failure := launches.failures.get("templates"):
        return Outlook(None, f"{named}: {failure}")
    return Outlook(launches_imdsv1=False, why=f"{named} is not there any more")


def _of_recipe(recipe: Recipe, origin: Origin, launches: Launches) -> Outlook:
    recipe = replace(recipe, image_id=recipe.image_id or origin.image_id)
    failure = launches.failures.get("images")
    unknown = f"image {recipe.image_id}{f': {failure}' if failure else ' is not to be seen any more'}"
    image = launches.images.get(recipe.image_id, unknown)
    return outlook(recipe, launches.failures.get("defaults", launches.defaults), image)
