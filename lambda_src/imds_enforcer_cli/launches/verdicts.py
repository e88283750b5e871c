"""Judges whether a region's launchers will launch instances that allow IMDSv1."""

from collections.abc import Iterable
from dataclasses import replace

from imds_enforcer.model import LaunchTemplate
from imds_enforcer_cli.launches.inventory import Group, Inventory
from imds_enforcer_cli.launches.precedence import BAD_NEWS_FIRST, Outlook, Recipe, outlook


class Verdicts:
    """Judges by one inventory. Every `image_id` is the image of a launch that names none itself."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def of_group(self, group: Group, image_id: str = "") -> Outlook:
        """The worst outlook of a group's possible launches."""
        if group.configuration:
            return self.of_configuration(group.configuration, image_id)
        return worst(
            self.of_template(each.template, image_id, instead=each.image_id) for each in group.launches
        ) or Outlook(None, f"Auto Scaling group {group.name} names no launch template or launch configuration")

    def of_configuration(self, name: str, image_id: str = "") -> Outlook:
        """The outlook of a launch configuration."""
        found = self._inventory.configurations.get(name)
        if found:
            return self.of_recipe(found.recipe, image_id)
        why = self._inventory.failures.get("configurations", "it no longer exists")
        return Outlook(None, f"launch configuration {name}: {why}")

    def of_template(self, template: LaunchTemplate, image_id: str = "", *, instead: str = "") -> Outlook:
        """The outlook of a template version; the image `instead` overrides the version's own."""
        version = self._inventory.version(template)
        if version:
            recipe = replace(version.recipe, image_id=instead) if instead else version.recipe
            return self.of_recipe(recipe, image_id)
        named = f"launch template {template}"
        if failure := self._inventory.failures.get("versions"):
            return Outlook(None, f"{named}: {failure}")
        return Outlook(launches_imdsv1=False, why=f"{named} no longer exists")

    def of_recipe(self, recipe: Recipe, image_id: str = "") -> Outlook:
        """The outlook of a recipe; an empty one stands for a launch that sets only its image."""
        recipe = replace(recipe, image_id=recipe.image_id or image_id)
        defaults = self._inventory.defaults or str(self._inventory.failures.get("defaults", "not asked"))
        return outlook(recipe, defaults, self._image(recipe.image_id))

    def _image(self, image_id: str) -> bool | str:
        """Whether the image requires tokens, or why that is unknown."""
        if not image_id:
            return "it names no image by its id"
        if image := self._inventory.images.get(image_id):
            return image.requires_tokens
        failure = self._inventory.failures.get("images")
        return f"image {image_id}{f': {failure}' if failure else ' is no longer visible'}"


def worst(outlooks: Iterable[Outlook]) -> Outlook | None:
    """The outlook of most concern, the first of equals; None if there are no outlooks."""
    return min(outlooks, key=lambda each: BAD_NEWS_FIRST.index(each.launches_imdsv1), default=None)
