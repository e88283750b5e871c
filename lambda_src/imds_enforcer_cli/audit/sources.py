"""What launched the instances of an audit, and whether it will launch instances that allow IMDSv1 again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from imds_enforcer.model import LaunchTemplate, Source
from imds_enforcer_cli.audit.findings import Audited
from imds_enforcer_cli.audit.judge import Status
from imds_enforcer_cli.audit.launch_defaults import Outlook, Recipe, outlook
from imds_enforcer_cli.audit.launches import Launches, LaunchReader

_BAD_NEWS_FIRST = (True, None, False)


@dataclass(frozen=True, slots=True)
class SourceAudit:
    """What one source launched in a region: how many instances, which of them are findings, and what is to come."""

    region: str
    source: Source
    instances: int
    findings: tuple[str, ...]
    outlook: Outlook

    def as_json(self) -> dict[str, Any]:
        """The source in the document of an audit."""
        template = self.source.launch_template
        return {
            "auto_scaling_group": self.source.auto_scaling_group,
            "launch_template": template and template._asdict(),
            "image_id": self.source.image_id,
            "region": self.region,
            "instances": self.instances,
            "findings": len(self.findings),
            "instance_ids": list(self.findings),
            "launches_imdsv1": self.outlook.launches_imdsv1,
            "why": self.outlook.why,
        }


def sources(instances: Sequence[Audited], reader: LaunchReader) -> list[SourceAudit]:
    """The sources of one region's instances."""
    by_source: dict[Source, list[Audited]] = defaultdict(list)
    for each in instances:
        by_source[each.source].append(each)
    if not by_source:
        return []
    launches = reader.read(
        [each.auto_scaling_group for each in by_source if each.auto_scaling_group],
        [each.launch_template for each in by_source if each.launch_template],
        [each.image_id for each in by_source],
    )
    return [
        SourceAudit(
            group[0].region,
            source,
            len(group),
            tuple(each.instance_id for each in group if each.status is Status.DRIFT),
            _outlook(source, launches),
        )
        for source, group in by_source.items()
    ]


def _outlook(source: Source, launches: Launches) -> Outlook:
    """What the next launch comes to: of a group by what it launches with now, else by what the instances came from."""
    if source.auto_scaling_group and "groups" in launches.failures:
        return Outlook(None, f"Auto Scaling group {source.auto_scaling_group}: {launches.failures['groups']}")
    group = launches.groups.get(source.auto_scaling_group or "")
    if group and group.configuration:
        return _of_configuration(group.configuration, source, launches)
    if group and group.templates:
        outlooks = [_of_template(template, source, launches) for template in group.templates]
        return min(outlooks, key=lambda each: _BAD_NEWS_FIRST.index(each.launches_imdsv1))
    if source.launch_template:
        return _of_template(source.launch_template, source, launches)
    return _of_recipe(Recipe(), source, launches)


def _of_configuration(name: str, source: Source, launches: Launches) -> Outlook:
    recipe = launches.configurations.get(name)
    if recipe is None:
        why = launches.failures.get("configurations", "it is not there any more")
        return Outlook(None, f"launch configuration {name}: {why}")
    return _of_recipe(recipe, source, launches)


def _of_template(template: LaunchTemplate, source: Source, launches: Launches) -> Outlook:
    recipe = launches.templates.get(template)
    if recipe:
        return _of_recipe(recipe, source, launches)
    named = f"launch template {template}"
    if failure := launches.failures.get("templates"):
        return Outlook(None, f"{named}: {failure}")
    return Outlook(launches_imdsv1=False, why=f"{named} is not there any more")


def _of_recipe(recipe: Recipe, source: Source, launches: Launches) -> Outlook:
    recipe = replace(recipe, image_id=recipe.image_id or source.image_id)
    failure = launches.failures.get("images")
    unknown = f"image {recipe.image_id}{f': {failure}' if failure else ' is not to be seen any more'}"
    image = launches.images.get(recipe.image_id, unknown)
    return outlook(recipe, launches.failures.get("defaults", launches.defaults), image)
