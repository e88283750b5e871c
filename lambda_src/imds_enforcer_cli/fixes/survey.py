"""Gathers what a fix must know about a region: templates, their instances, and which must not lose IMDSv1."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from imds_enforcer.enforcement.gate import LegacyCallGate
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import Instance, InstanceState, LaunchTemplate
from imds_enforcer.policy import Policy
from imds_enforcer_cli.fixes.subject import Subject
from imds_enforcer_cli.launches.inventory import DEFAULT, LATEST, Group, Template
from imds_enforcer_cli.launches.kept import Kept, kept_instances
from imds_enforcer_cli.launches.launcher import Launcher, LauncherKind
from imds_enforcer_cli.launches.listing import RegionLaunchers

_TO_BE = "i-00000000000000000"
"""The id of an instance that does not exist yet: no exemption names it."""

_NEEDED = frozenset({"instances", "defaults", "groups", "templates", "versions"})
"""What must be readable in a region: holds, exemptions and hop limits depend on it."""


def is_known(seen: RegionLaunchers) -> bool:
    """True if everything on which a fix depends could be read."""
    return not {each.kind for each in seen.unread} & _NEEDED


class Subjects:
    """The templates of one region, each with everything on which its plan depends."""

    def __init__(self, seen: RegionLaunchers, policy: Policy, now: datetime) -> None:
        self._seen = seen
        self._policy = policy
        self._now = now
        self._launchers: dict[str, list[Launcher]] = defaultdict(list)
        for launcher in seen.launchers:
            if launcher.kind is LauncherKind.TEMPLATE:
                self._launchers[launcher.id].append(launcher)
        self._instances: dict[str, list[Instance]] = defaultdict(list)
        for instance in seen.instances:
            if instance.launch_template:
                self._instances[instance.launch_template.id].append(instance)
        self._groups: dict[str, list[Group]] = defaultdict(list)
        for group in seen.inventory.groups.values():
            for template_id in {each.template.id for each in group.launches}:
                self._groups[template_id].append(group)
        self._of_groups = {each.id: each for each in seen.launchers if each.kind is LauncherKind.GROUP}

    def of(
        self, templates: Iterable[Template], holds: Mapping[str, Hold], gate: LegacyCallGate | None
    ) -> list[Subject]:
        """The subjects of these templates."""
        subjects = [found for each in templates if (found := self._subject(each))]
        lax = [instance for each in subjects if each.lax for instance in self._instances[each.template_id]]
        kept = kept_instances(lax, self._policy, self._now, holds, gate)
        held = {each: keeping.why for each, keeping in kept.items() if keeping.how is not Kept.EXEMPT}
        return [
            replace(each, held={i: held[i] for i in each.instance_ids if i in held}) if each.lax else each
            for each in subjects
        ]

    def _subject(self, template: Template) -> Subject | None:
        """The subject; None for a template that is just being created or deleted."""
        found, template_id = self._seen.inventory, template.template_id
        default = found.version(LaunchTemplate(template_id, DEFAULT))
        latest = found.version(LaunchTemplate(template_id, LATEST))
        if default is None or latest is None:
            return None
        in_use = self._launchers[template_id]
        numbers = [each.version for each in in_use if each.outlook.launches_imdsv1 is not False]
        return Subject(
            region=self._seen.region,
            template_id=template_id,
            name=template.name,
            default=default,
            latest=latest,
            lax={number: found.versions[LaunchTemplate(template_id, number)] for number in numbers},
            owner=next((each.owner for each in in_use if each.owner), None),
            launches=tuple(self._launches(template_id)),
            hop_limit=self._hop_limit(latest.recipe.image_id),
            instance_ids=tuple(each.instance_id for each in self._instances[template_id]),
            groups=tuple(
                (group, launch.template.version)
                for group in self._groups[template_id]
                for launch in dict.fromkeys(replace(each, image_id="") for each in group.launches)
                if launch.template.id == template_id and launch.template not in found.numbers
            ),
            node_groups=tuple(
                (each, each.template.version)
                for each in found.node_groups
                if each.template and each.template.id == template_id and each.template not in found.numbers
            ),
        )

    def _launches(self, template_id: str) -> Iterator[Instance]:
        """The instances that the template may launch next: one for each combination of image and tags."""
        of_groups = [self._of_groups[each.name] for each in self._groups[template_id]]
        shown = [(each.image_id, each.tags) for each in (*self._launchers[template_id], *of_groups)]
        shown += [(each.image_id, each.tags) for each in self._instances[template_id]]
        kinds = {(image_id, *sorted(tags.items())): tags for image_id, tags in shown}
        for (image_id, *_), tags in kinds.items():
            yield Instance(
                instance_id=_TO_BE,
                region=self._seen.region,
                state=InstanceState.PENDING,
                options=None,
                observed_at=0.0,
                image_id=str(image_id),
                tags=tags,
            )

    def _hop_limit(self, image_id: str) -> int:
        """The hop limit of an instance whose launch sets none: the region's, else the image's, else 1.

        EC2 User Guide, "Order of precedence for instance metadata options", and "Configure the AMI": an image that
        requires tokens sets it to 2.
        """
        defaults, image = self._seen.inventory.defaults, self._seen.inventory.images.get(image_id)
        if defaults and defaults.hop_limit:
            return defaults.hop_limit
        return 2 if image and image.requires_tokens else 1
