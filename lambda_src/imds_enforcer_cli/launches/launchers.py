"""Builds one region's launchers, each with its outlook, its instances, its owner and what to change."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

from imds_enforcer.model import LaunchTemplate, Source
from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG, LAUNCH_TEMPLATE_TAG, LAUNCH_TEMPLATE_VERSION_TAG
from imds_enforcer_cli.launches.advice import Situation, advice
from imds_enforcer_cli.launches.inventory import Group, Inventory, Marks, NodeGroup, Version
from imds_enforcer_cli.launches.launcher import Launcher, LauncherKind
from imds_enforcer_cli.launches.owners import Owner, OwnerKind, owner_of
from imds_enforcer_cli.launches.precedence import Outlook, Recipe, RegionDefaults, outlook_of_rest
from imds_enforcer_cli.launches.verdicts import Verdicts, worst

Launched = tuple[str, Source]
"""An instance's id, and what launched it."""


def launchers(region: str, inventory: Inventory, launched: Iterable[Launched]) -> list[Launcher]:
    """All launchers of a region; `launched` are the region's instances."""
    return list(_Launchers(region, inventory, launched))


class _Launchers:
    """Builds the launchers from one inventory."""

    def __init__(self, region: str, inventory: Inventory, launched: Iterable[Launched]) -> None:
        self._region = region
        self._inventory = inventory
        self._verdicts = Verdicts(inventory)
        self._used_as = _uses(inventory)
        self._instances: dict[object, list[str]] = defaultdict(list)
        self._images: dict[object, set[str]] = defaultdict(set)
        for instance_id, source in launched:
            for each in (source.auto_scaling_group, source.launch_template, source.image_id, _ALL):
                self._instances[each].append(instance_id)
                self._images[each].add(source.image_id)

    def __iter__(self) -> Iterator[Launcher]:
        return map(self._with_advice, self._all())

    def _all(self) -> Iterator[Launcher]:
        found = self._inventory
        for version in found.versions.values():
            if version.template in self._used_as:
                yield self._of_version(version)
        yield from map(self._of_group, found.groups.values())
        yield from map(self._of_configuration, found.configurations)
        for image_id, image in found.images.items():
            if image.own:
                yield self._of_image(image_id)
        if found.defaults:
            yield self._of_defaults(found.defaults)

    def _of_version(self, version: Version) -> Launcher:
        template = self._inventory.templates.get(version.template.id)
        marks = template.marks if template else Marks(created_by=version.created_by)
        uses = self._used_as[version.template]
        return Launcher(
            region=self._region,
            kind=LauncherKind.TEMPLATE,
            id=version.template.id,
            name=version.name,
            version=version.template.version,
            used_as=uses,
            instance_ids=self._ids(version.template),
            owner=owner_of(marks, version.name),
            outlook=self._outlook(partial(self._verdicts.of_template, version.template), version.template),
            silent=version.recipe.silent,
            image_id=version.recipe.image_id,
            tags=_template_tags(version.recipe, version.template),
        )

    def _of_group(self, group: Group) -> Launcher:
        recipes = list(self._recipes(group))
        images = {recipe.image_id for recipe, _ in recipes}
        tags = {key: value for recipe, template in recipes for key, value in _template_tags(recipe, template).items()}
        return Launcher(
            region=self._region,
            kind=LauncherKind.GROUP,
            id=group.name,
            arn=group.arn,
            instance_ids=self._ids(group.name),
            owner=owner_of(group.marks),
            outlook=self._outlook(partial(self._verdicts.of_group, group), group.name),
            silent=any(recipe.silent for recipe, _ in recipes),
            image_id=images.pop() if len(images) == 1 else "",
            tags={**tags, **group.instance_tags, AUTO_SCALING_GROUP_TAG: group.name},
        )

    def _of_configuration(self, name: str) -> Launcher:
        configuration = self._inventory.configurations[name]
        groups = [each for each in self._inventory.groups.values() if each.configuration == name]
        return Launcher(
            region=self._region,
            kind=LauncherKind.CONFIGURATION,
            id=name,
            arn=configuration.arn,
            used_as=tuple(sorted(_named(each) for each in groups)),
            instance_ids=tuple(each for group in groups for each in self._ids(group.name)),
            # It has no tags, but the same owner as its groups.
            owner=next((owner for each in groups if (owner := owner_of(each.marks))), None),
            outlook=self._verdicts.of_configuration(name),
            silent=configuration.recipe.silent,
            image_id=configuration.recipe.image_id,
        )

    def _of_image(self, image_id: str) -> Launcher:
        image = self._inventory.images[image_id]
        return Launcher(
            region=self._region,
            kind=LauncherKind.IMAGE,
            id=image_id,
            name=image.name,
            instance_ids=self._ids(image_id),
            owner=owner_of(image.marks),
            outlook=self._verdicts.of_recipe(Recipe(), image_id),
        )

    def _of_defaults(self, defaults: RegionDefaults) -> Launcher:
        return Launcher(
            region=self._region,
            kind=LauncherKind.DEFAULTS,
            id=self._region,
            instance_ids=self._ids(_ALL),
            outlook=outlook_of_rest(defaults),
        )

    def _with_advice(self, launcher: Launcher) -> Launcher:
        """The launcher with advice, unless its next instances will not allow IMDSv1."""
        if launcher.outlook.launches_imdsv1 is False:
            return launcher
        group = self._inventory.groups.get(launcher.id) if launcher.kind is LauncherKind.GROUP else None
        situation = Situation(
            kind=launcher.kind,
            region=self._region,
            subject=launcher.id,
            version=launcher.version,
            used_as=launcher.used_as,
            launches_with=_launches_with(group) if group else "",
            node_group=self._node_group(launcher.owner),
            managed=bool(self._inventory.defaults and self._inventory.defaults.managed),
        )
        return replace(launcher, advice=advice(situation, launcher.owner))

    def _node_group(self, owner: Owner | None) -> NodeGroup | None:
        """The node group that owns the launcher, if EKS described it."""
        if owner is None or owner.kind is not OwnerKind.EKS:
            return None
        return next((each for each in self._inventory.node_groups if str(each) == f"{owner.name}/{owner.part}"), None)

    def _recipes(self, group: Group) -> Iterator[tuple[Recipe, LaunchTemplate | None]]:
        """The recipes with which a group launches, if known."""
        if configuration := self._inventory.configurations.get(group.configuration or ""):
            yield configuration.recipe, None
        for each in group.launches:
            if version := self._inventory.version(each.template):
                yield replace(version.recipe, image_id=each.image_id or version.recipe.image_id), version.template

    def _outlook(self, judge: Callable[[str], Outlook], launched_by: object) -> Outlook:
        """The worst outlook over its instances' images. A launcher that names no image may launch any of them again."""
        outlooks = map(judge, sorted(self._images.get(launched_by, ())))
        return worst(outlooks) or judge("")

    def _ids(self, launched_by: object) -> tuple[str, ...]:
        return tuple(self._instances.get(launched_by, ()))


_ALL = object()
"""A key under which every instance is counted."""


def _uses(inventory: Inventory) -> dict[LaunchTemplate, tuple[str, ...]]:
    """The uses of each version: its aliases, and what names its number."""
    uses: dict[LaunchTemplate, list[str]] = defaultdict(list)
    for alias, numbered in sorted(inventory.numbers.items()):
        uses[numbered].append(alias.version)
    named = [(each.template, _named(group)) for group in inventory.groups.values() for each in group.launches]
    named += [(each.template, f"node group {each}") for each in inventory.node_groups if each.template]
    for template, user in sorted(set(named)):
        uses[template].append(user)
    return {template: tuple(names) for template, names in uses.items()}


def _named(group: Group) -> str:
    return f"group {group.name}"


def _launches_with(group: Group) -> str:
    if group.configuration:
        return f"launch configuration {group.configuration}"
    return ", ".join(dict.fromkeys(f"launch template {each.template}" for each in group.launches))


def _template_tags(recipe: Recipe, template: LaunchTemplate | None) -> dict[str, str]:
    """The tags of an instance launched with this recipe: the recipe's own, and those that EC2 adds."""
    if template is None:
        return dict(recipe.tags)
    return {**recipe.tags, LAUNCH_TEMPLATE_TAG: template.id, LAUNCH_TEMPLATE_VERSION_TAG: template.version}
