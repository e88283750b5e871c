"""What a fix has to know of a region: its templates, the instances they have launched, and who may not lose IMDSv1."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from imds_enforcer.aws.ec2 import Ec2Region
from imds_enforcer.decision.decision import decide
from imds_enforcer.enforcement.gate import LegacyCallGate
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import (
    AwsError,
    HttpTokens,
    Instance,
    InstanceState,
    Kind,
    LaunchTemplate,
    PlannedChange,
    Result,
)
from imds_enforcer.policy import Policy
from imds_enforcer_cli.fixes.subject import Subject
from imds_enforcer_cli.launches.inventory import DEFAULT, LATEST, Group, Inventory, Template
from imds_enforcer_cli.launches.launcher import Launcher, LauncherKind
from imds_enforcer_cli.launches.launchers import Launched, launchers
from imds_enforcer_cli.launches.listing import Unread, unread_in
from imds_enforcer_cli.launches.reader import LaunchReader

_TO_BE = "i-00000000000000000"
"""Stands for the id of an instance that is not there yet: no exemption names it."""

_NEEDED = frozenset({"instances", "defaults", "groups", "templates", "versions"})
"""What has to be known of a region: holds, exemptions and hop limits go by it."""


@dataclass(slots=True)
class RegionSurvey:
    """The launchers of a region, the instances that launch templates have launched, and what could not be read."""

    region: str
    inventory: Inventory = field(default_factory=Inventory)
    instances: list[Instance] = field(default_factory=list)
    launchers: list[Launcher] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    @property
    def known(self) -> bool:
        """True if nothing is missing that a fix goes by."""
        return not {each.kind for each in self.unread} & _NEEDED


def survey(ec2: Ec2Region, reads: LaunchReader) -> RegionSurvey:
    """Read a region.

    Raises:
        AwsError: if AWS does not accept the credentials.
    """
    found = RegionSurvey(ec2.name)
    launched: list[Launched] = []
    try:
        for page in ec2.find({}):
            launched += [(each.instance_id, each.source) for each in page]
            found.instances += [each for each in page if each.launch_template]
    except AwsError as error:
        if error.failure.kind is Kind.CREDENTIALS:
            raise
        found.unread.append(Unread(ec2.name, "instances", error))
        return found
    found.inventory = reads.read(images={source.image_id for _, source in launched})
    found.launchers = launchers(ec2.name, found.inventory, launched)
    found.unread += unread_in(ec2.name, found.inventory)
    return found


class Subjects:
    """The templates of one region, each with what its plan depends on."""

    def __init__(self, seen: RegionSurvey, policy: Policy, now: datetime) -> None:
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
        """The subjects of these templates.

        Raises:
            AwsError: if AWS does not accept the credentials.
        """
        subjects = [found for each in templates if (found := self._subject(each))]
        lax = [instance for each in subjects if each.lax for instance in self._instances[each.template_id]]
        held = {each.instance_id: str(holds[each.instance_id]) for each in lax if each.instance_id in holds}
        held |= self._gated(lax, gate) if gate else {}
        return [
            replace(each, held={i: held[i] for i in each.instance_ids if i in held}) if each.lax else each
            for each in subjects
        ]

    def _subject(self, template: Template) -> Subject | None:
        """The subject; None of a template that is being made or deleted."""
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
        """The instances to be, each kind once."""
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
        """That of an instance whose launch names none: the region's, else the image's, else 1.

        EC2 User Guide, "Order of precedence for instance metadata options", and "Configure the AMI": an image that
        requires tokens sets it to 2.
        """
        defaults, image = self._seen.inventory.defaults, self._seen.inventory.images.get(image_id)
        if defaults and defaults.hop_limit:
            return defaults.hop_limit
        return 2 if image and image.requires_tokens else 1

    def _gated(self, instances: Sequence[Instance], gate: LegacyCallGate) -> dict[str, str]:
        """Why the policy's gate holds some of them back; those are asked about that would lose IMDSv1."""
        in_full = replace(self._policy, rollout_percent=100, launch_grace_seconds=0)
        plans = []
        for each in instances:
            decision = decide(each, in_full, self._now)
            if decision.change and each.options and each.options.http_tokens is HttpTokens.OPTIONAL:
                wanted = decision.change.applied_to(each.options)
                plans.append(PlannedChange(each, decision.change, wanted, decision.reason))
        return {each.instance_id: each.reason for each in gate.hold_back(plans) if isinstance(each, Result)}
