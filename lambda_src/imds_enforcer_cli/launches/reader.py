"""Reads the inventory of one region, in pages rather than one request for each item."""

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
"""Templates or versions on a page, the most that EC2 returns (EC2 API Reference, "DescribeLaunchTemplateVersions")."""

_RECORDS = 100
"""Groups or configurations on a page, the most that Auto Scaling returns (Auto Scaling API Reference)."""

_AT_ONCE = 4
"""Threads of a pool; the node groups, which are read one by one, have another pool."""

_GONE = ("InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.VersionNotFound")
"""The prefixes of EC2's error codes for a template, or one of several versions, that does not exist."""

_GONE_FROM_EKS = "ResourceNotFoundException"

_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")


class LaunchReader:
    """Reads with boto3's clients of EC2, Auto Scaling and EKS in one region.

    It does not ask for hidden resources that AWS services manage: the account cannot change them.
    """

    def __init__(self, ec2: Any, autoscaling: Any, eks: Any) -> None:
        self._ec2 = ec2
        self._autoscaling = autoscaling
        self._eks = eks

    def read(self, templates: Iterable[LaunchTemplate] = (), images: Iterable[str] = ()) -> Inventory:
        """Read the whole inventory, and of templates the versions in use: default, latest, and those named by number.

        Groups and node groups name versions by number. `templates` are further versions to read; `images` are those in
        use besides the images that templates, groups and configurations name. Deleted resources are left out.

        Raises:
            AwsError: if AWS does not accept the credentials; the inventory records all other failures.
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
        """Read only what names versions of launch templates: groups and node groups.

        Raises:
            AwsError: if AWS does not accept the credentials; the inventory records all other failures.
        """
        found = Inventory()
        self._read_groups(found)
        self._read_node_groups(found)
        return found

    def _read_defaults(self, found: Inventory) -> None:
        """Read the account defaults."""
        with _noted(found, "defaults"):
            level = asked(self._ec2.get_instance_metadata_defaults).get("AccountLevel", {})
            found.defaults = described.defaults(level)

    def _read_groups(self, found: Inventory) -> None:
        """Read the Auto Scaling groups."""
        with _noted(found, "groups"):
            groups = listed(self._autoscaling.describe_auto_scaling_groups, "AutoScalingGroups", MaxRecords=_RECORDS)
            found.groups = {each.name: each for each in map(described.group, groups)}

    def _read_configurations(self, found: Inventory) -> None:
        """Read the launch configurations."""
        with _noted(found, "configurations"):
            ask = self._autoscaling.describe_launch_configurations
            configurations = listed(ask, "LaunchConfigurations", MaxRecords=_RECORDS)
            found.configurations = {each.name: each for each in map(described.configuration, configurations)}

    def _read_templates(self, found: Inventory) -> None:
        """Read the launch templates."""
        with _noted(found, "templates"):
            listing = listed(self._ec2.describe_launch_templates, "LaunchTemplates", MaxResults=_PAGE_SIZE)
            found.templates = {each.template_id: each for each in map(described.template, listing)}

    def _read_aliases(self, found: Inventory) -> None:
        """Read the default and the latest version of every template."""
        by_template: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        with _noted(found, "versions"):
            ask = self._ec2.describe_launch_template_versions
            for each in listed(ask, "LaunchTemplateVersions", Versions=[DEFAULT, LATEST], MaxResults=_PAGE_SIZE):
                by_template[each["LaunchTemplateId"]].append(each)
            for template, versions in by_template.items():
                _add(found, template, [DEFAULT, LATEST], versions)

    def _read_versions(self, found: Inventory, others: Iterable[LaunchTemplate]) -> None:
        """Read the named versions that are still unknown: EC2 accepts numbers only with a template's id."""
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
        """These versions of a template, by number or alias, without deleted ones."""
        ask = self._ec2.describe_launch_template_versions
        with _if_there(*_GONE):
            return [
                each
                for some in batched(versions, _PAGE_SIZE)
                for each in listed(ask, "LaunchTemplateVersions", LaunchTemplateId=template, Versions=some)
            ]
        # One deleted version fails the call for all: ask for each alone.
        alone = versions if len(versions) > 1 else ()
        return [each for version in alone for each in self._versions(template, [version])]

    def _read_node_groups(self, found: Inventory) -> None:
        """Read the managed node groups of every cluster."""
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
        """The node group; empty if it was deleted after it was listed."""
        cluster, name = named
        with _if_there(_GONE_FROM_EKS):
            answer = asked(self._eks.describe_nodegroup, clusterName=cluster, nodegroupName=name)
            return [described.node_group(answer["nodegroup"])]
        return []

    def _read_images(self, found: Inventory, others: Iterable[str]) -> None:
        """Read every image in use, and which of those that do not require tokens the account owns."""
        configured = (each.recipe.image_id for each in found.configurations.values())
        templated = (each.recipe.image_id for each in found.versions.values())
        overrides = (each.image_id for group in found.groups.values() for each in group.launches)
        in_use = {*others, *configured, *templated, *overrides} - {""}
        found.images = {each["ImageId"]: described.image(each, own=False) for each in self._images(in_use)}
        lax = [each.image_id for each in found.images.values() if not each.requires_tokens]
        own = self._images(lax, Owners=["self"])
        found.images |= {each["ImageId"]: described.image(each, own=True) for each in own}

    def _images(self, image_ids: Iterable[str], **owners: list[str]) -> Iterator[Mapping[str, Any]]:
        """Describe images by a filter: with ImageIds, one deleted image would fail the whole call."""
        for some in batched(sorted(image_ids), FILTER_VALUES):
            filters = [{"Name": "image-id", "Values": some}]
            ask = self._ec2.describe_images
            yield from asked(ask, Filters=filters, IncludeDeprecated=True, IncludeDisabled=True, **owners)["Images"]


def _each(
    found: Inventory, kind: str, read: Callable[[_Asked], _Found], items: Sequence[_Asked]
) -> list[tuple[_Asked, _Found]]:
    """Read each item, several in parallel; record a failure and go on with the others."""
    answers = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for item, future in [(each, pool.submit(read, each)) for each in items]:
                with _noted(found, kind):
                    answers.append((item, future.result()))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # if AWS rejects the credentials
    return answers


@contextmanager
def _noted(found: Inventory, kind: str) -> Iterator[None]:
    """Record why one kind could not be read, and go on with the others."""
    try:
        yield
    except AwsError as error:
        if error.failure.kind is Kind.CREDENTIALS:
            raise
        found.failures[kind] = error


@contextmanager
def _if_there(*gone: str) -> Iterator[None]:
    """Ignore AWS errors whose codes begin with one of these: the resource no longer exists."""
    try:
        yield
    except AwsError as error:
        if not error.failure.code.startswith(gone):
            raise


def _add(found: Inventory, template: str, wanted: Sequence[str], versions: Iterable[Mapping[str, Any]]) -> None:
    """Add versions of a template; if `$Default` or `$Latest` was `wanted`, also the number it stands for."""
    items = {int(each["VersionNumber"]): each for each in versions}
    found.versions |= {each.template: each for each in map(described.version, items.values())}
    if LATEST in wanted and items:
        found.numbers[LaunchTemplate(template, LATEST)] = LaunchTemplate(template, str(max(items)))
    for number, each in items.items():
        if DEFAULT in wanted and each.get("DefaultVersion"):
            found.numbers[LaunchTemplate(template, DEFAULT)] = LaunchTemplate(template, str(number))
