"""What launched the audited instances, and whether its next instances will allow IMDSv1 again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imds_enforcer.model import Source
from imds_enforcer_cli.audit.findings import Audited
from imds_enforcer_cli.audit.judge import Status
from imds_enforcer_cli.launches.inventory import Inventory
from imds_enforcer_cli.launches.precedence import Outlook, Recipe
from imds_enforcer_cli.launches.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class SourceAudit:
    """What one source launched in a region: how many instances, which are findings, and the outlook for the next."""

    region: str
    source: Source
    instances: int
    findings: tuple[str, ...]
    outlook: Outlook

    def as_json(self) -> dict[str, Any]:
        """The source as it appears in the audit document."""
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


def sources(instances: Sequence[Audited], inventory: Inventory) -> list[SourceAudit]:
    """Group one region's instances by what launched them."""
    by_source: dict[Source, list[Audited]] = defaultdict(list)
    for each in instances:
        by_source[each.source].append(each)
    verdicts = Verdicts(inventory)
    return [
        SourceAudit(
            group[0].region,
            source,
            len(group),
            tuple(each.instance_id for each in group if each.status is Status.DRIFT),
            _outlook(source, inventory, verdicts),
        )
        for source, group in by_source.items()
    ]


def _outlook(source: Source, inventory: Inventory, verdicts: Verdicts) -> Outlook:
    """The outlook for the next launch: by the group's current launch settings, else by what launched the instances."""
    name = source.auto_scaling_group
    if name and (failure := inventory.failures.get("groups")):
        return Outlook(None, f"Auto Scaling group {name}: {failure}")
    if group := inventory.groups.get(name or ""):
        return verdicts.of_group(group, source.image_id)
    if source.launch_template:
        return verdicts.of_template(source.launch_template, source.image_id)
    return verdicts.of_recipe(Recipe(), source.image_id)
