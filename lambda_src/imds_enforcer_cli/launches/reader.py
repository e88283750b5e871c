"""Reads the inventory of one region: few requests for all of a kind, whatever their number."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from imds_enforcer.aws.boto import batched
from imds_enforcer.aws.ec2 import FILTER_VALUES
from imds_enforcer.model import AwsError, Kind, LaunchTemplate
from imds_enforcer_cli.launches import described
from imds_enforcer_cli.launches.inventory import DEFAULT, LATEST, Inventory, NodeGroup
from imds_enforcer_cli.launches.pages import asked, listed

_PAGE_SIZE = 200
"""Templates or versions a page, the most that EC2 gives (EC2 API Reference, "DescribeLaunchTemplateVersions")."""

_RECORDS = 100
"""Groups or configurations a page, the most that Auto Scaling gives (Auto Scaling API Reference)."""

_AT_ONCE = 4
"""Requests at the same time: more would mainly be throttled."""

_GONE = ("InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.VersionNotFound")
"""How the codes begin by which EC2 says that a template, or one of several versions, is not there."""

_GONE_FROM_EKS = "ResourceNotFoundException"

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")


class LaunchReader:
    """Reads with boto3's clients of EC2, Auto Scaling and EKS in one region.

    What AWS services manage and EC2 or Auto Scaling hides is not asked for: the account cannot change it.
    """

    def __init__(self, ec2: Any, autoscaling: Any, eks: Any) -> None:
        self._ec2 = ec2
        self._autoscaling = autoscaling
        self._eks = eks

    def read(self, templates: Iterable[LaunchTemplate] = (), images: Iterable[str] = ()) -> Inventory:
        """All that there is now, of the templates the versions in use: default, latest, and those named by a number.

        Groups and node groups name versions. `templates` are others to read, and `images` those in use beside what
        templates, groups and configurations name. What is not there any more is not in the answer.

        Raises:
            AwsError: if AWS does not accept the credentials; of other failures the inventory has the reason.
        """
        found = Inventory()
        kinds = (
            *(self._read_aliases, self._read_templates, self._read_groups, self._read_configurations),
            *(self._read_node_groups, self._read_defaults),
        )
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda read: read(found), kinds))
        if "versions" not in found.failures:
            self._read_versions(found, templates)
        with _noted(found, "images"):
            self._read_images(found, images)
        return found

    def read_users(self) -> Inventory:
        """What names versions of launch templates: groups and node groups alone.

        Raises:
            AwsError: if AWS does not accept the credentials; of other failures the inventory has the reason.
        """
        found = Inventory()
        self._read_groups(found)
        self._read_node_groups(found)
        return found

    def _read_defaults(self, found: Inventory) -> None:
        """The defaults of the account."""
        with _noted(found, "defaults"):
            level = asked(self._ec2.get_instance_metadata_defaults).get("AccountLevel", {})
            found.defaults = described.defaults(level)

    def _read_groups(self, found: Inventory) -> None:
        """The Auto Scaling groups."""
        with _noted(found, "groups"):
            groups = listed(self._autoscaling.describe_auto_scaling_groups, "AutoScalingGroups", MaxRecords=_RECORDS)
            found.groups = {each.name: each for each in map(described.group, groups)}

    def _read_configurations(self, found: Inventory) -> None:
        """The launch configurations."""
        with _noted(found, "configurations"):
            ask = self._autoscaling.describe_launch_configurations
            configurations = listed(ask, "LaunchConfigurations", MaxRecords=_RECORDS)
            found.configurations = {each.name: each for each in map(described.configuration, configurations)}

    def _read_templates(self, found: Inventory) -> None:
        """The launch templates."""
        with _noted(found, "templates"):
            listing = listed(self._ec2.describe_launch_templates, "LaunchTemplates", MaxResults=_PAGE_SIZE)
            found.templates = {each.template_id: each for each in map(described.template, listing)}

    def _read_aliases(self, found: Inventory) -> None:
        """The default and the latest version of every template."""
        by_template: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        with _noted(found, "versions"):
            ask = self._ec2.describe_launch_template_versions
            for each in listed(ask, "LaunchTemplateVersions", Versions=[DEFAULT, LATEST], MaxResults=_PAGE_SIZE):
                by_template[each["LaunchTemplateId"]].append(each)
            for template, versions in by_template.items():
                _add(found, template, [DEFAULT, LATEST], versions)

    def _read_versions(self, found: Inventory, others: Iterable[LaunchTemplate]) -> None:
        """The versions that are named and not known yet: EC2 takes numbers only beside the template's id."""
        used = (each.template for group in found.groups.values() for each in group.launches)
        copied = (each.template for each in found.node_groups if each.template)
        wanted: dict[str, list[str]] = defaultdict(list)
        for template, version in sorted({*used, *copied, *others}):
            if not found.version(LaunchTemplate(template, version)):
                wanted[template].append(version)

        def read(template: str) -> list[Mapping[str, Any]]:
            return self._versions(template, wanted[template])

        for template, versions in _each(found, "versions", read, list(wanted)):
            _add(found, template, wanted[template], versions)

    def _versions(self, template: str, versions: Sequence[str]) -> list[Mapping[str, Any]]:
        """These versions of a template, as far as they are there: numbers, `$Latest` and `$Default`."""
        ask = self._ec2.describe_launch_template_versions
        with _if_there(*_GONE):
            return [
                each
                for some in batched(versions, _PAGE_SIZE)
                for each in listed(ask, "LaunchTemplateVersions", LaunchTemplateId=template, Versions=some)
            ]
        # One that is gone fails the call for all.
        alone = versions if len(versions) > 1 else ()
        return [each for version in alone for each in self._versions(template, [version])]

    def _read_node_groups(self, found: Inventory) -> None:
        """The managed node groups of every cluster."""
        clusters: list[str] = []
        with _noted(found, "node_groups"):
            clusters += listed(self._eks.list_clusters, "clusters", token="nextToken")  # noqa: S106  # a name
        of_clusters = _each(found, "node_groups", self._node_group_names, clusters)
        names = [(cluster, name) for cluster, named in of_clusters for name in named]
        found.node_groups = [
            each for _, groups in _each(found, "node_groups", self._node_group, names) for each in groups
        ]

    def _node_group_names(self, cluster: str) -> list[str]:
        with _if_there(_GONE_FROM_EKS):
            return list(listed(self._eks.list_nodegroups, "nodegroups", token="nextToken", clusterName=cluster))  # noqa: S106  # a name
        return []

    def _node_group(self, named: tuple[str, str]) -> list[NodeGroup]:
        """The node group, unless it has been deleted since it was listed."""
        cluster, name = named
        with _if_there(_GONE_FROM_EKS):
            answer = asked(self._eks.describe_nodegroup, clusterName=cluster, nodegroupName=name)
            return [described.node_group(answer["nodegroup"])]
        return []

    def _read_images(self, found: Inventory, others: Iterable[str]) -> None:
        """Every image in use, and of those that do not require tokens, whether the account owns them."""
        configured = (each.recipe.image_id for each in found.configurations.values())
        templated = (each.recipe.image_id for each in found.versions.values())
        overrides = (each.image_id for group in found.groups.values() for each in group.launches)
        in_use = {*others, *configured, *templated, *overrides} - {""}
        found.images = {each["ImageId"]: described.image(each, own=False) for each in self._images(in_use)}
        lax = [each.image_id for each in found.images.values() if not each.requires_tokens]
        own = self._images(lax, Owners=["self"])
        found.images |= {each["ImageId"]: described.image(each, own=True) for each in own}

    def _images(self, image_ids: Iterable[str], **owners: list[str]) -> Iterator[Mapping[str, Any]]:
        """By a filter: the parameter ImageIds would fail the whole call for one that is gone."""
        for some in batched(sorted(image_ids), FILTER_VALUES):
            filters = [{"Name": "image-id", "Values": some}]
            ask = self._ec2.describe_images
            yield from asked(ask, Filters=filters, IncludeDeprecated=True, IncludeDisabled=True, **owners)["Images"]


def _each(
    found: Inventory, kind: str, read: Callable[[_Asked], _Found], items: Sequence[_Asked]
) -> list[tuple[_Asked, _Found]]:
    """What is read of each item, some at once; one that fails is noted, and stops no other."""
    answers = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for item, future in [(each, pool.submit(read, each)) for each in items]:
                with _noted(found, kind):
                    answers.append((item, future.result()))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # where the credentials are not accepted
    return answers


@contextmanager
def _noted(found: Inventory, kind: str) -> Iterator[None]:
    """Note why a kind of thing could not be asked about: the others may still be known."""
    try:
        yield
    except AwsError as error:
        if error.failure.kind is Kind.CREDENTIALS:
            raise
        found.failures[kind] = error


@contextmanager
def _if_there(*gone: str) -> Iterator[None]:
    """Go on where AWS says, by a code that begins so, that what is asked about is not there any more."""
    try:
        yield
    except AwsError as error:
        if not error.failure.code.startswith(gone):
            raise


def _add(found: Inventory, template: str, wanted: Sequence[str], versions: Iterable[Mapping[str, Any]]) -> None:
    """Add versions of a template, of which the default and the latest are known if they were `wanted`."""
    items = {int(each["VersionNumber"]): each for each in versions}
    found.versions |= {each.template: each for each in map(described.version, items.values())}
    if LATEST in wanted and items:
        found.numbers[LaunchTemplate(template, LATEST)] = LaunchTemplate(template, str(max(items)))
    for number, each in items.items():
        if DEFAULT in wanted and each.get("DefaultVersion"):
            found.numbers[LaunchTemplate(template, DEFAULT)] = LaunchTemplate(template, str(number))
