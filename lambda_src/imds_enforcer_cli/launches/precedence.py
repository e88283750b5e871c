"""Decides which HttpTokens a launch gets: from the launch itself, else the region's default, else the image."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_OPTIONAL, _REQUIRED, _DISABLED = "optional", "required", "disabled"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a template version or a launch configuration sets; without a name, a launch that sets only an image.

    `tags` are those that it gives its instances.
    """

    named: str = ""
    http_tokens: str | None = None
    http_endpoint: str | None = None
    image_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    is_configuration: bool = False

    @property
    def silent(self) -> bool:
        """True if the region or the image decides about IMDSv1: it sets no HttpTokens and leaves the service on."""
        return self.http_tokens is None and self.http_endpoint != _DISABLED


@dataclass(frozen=True, slots=True)
class RegionDefaults:
    """The account's metadata defaults in a region; None means no preference.

    `enforced` means that EC2 refuses optional tokens, `managed` that only a declarative policy of the organization can
    change the defaults.
    """

    http_tokens: str | None = None
    http_endpoint: str | None = None
    enforced: bool = False
    managed: bool = False
    hop_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether the next launch will allow IMDSv1 (None if unknown), and why."""

    launches_imdsv1: bool | None
    why: str


BAD_NEWS_FIRST = (True, None, False)
"""The values of `launches_imdsv1`, those of most concern first."""


def outlook(recipe: Recipe, defaults: RegionDefaults | str, image: bool | str) -> Outlook:  # noqa: FBT001  # an answer
    """The outlook for the next launch.

    Each option comes from the launch itself, else from the region's default, else from the image, which can only
    require tokens (EC2 User Guide, "Order of precedence for instance metadata options"); `image` is True if it does.
    If `defaults` or `image` is a text, it says why they are unknown.

    A launch configuration has defaults of its own, enabled and optional (CloudFormation User Guide,
    "AWS::AutoScaling::LaunchConfiguration MetadataOptions"). AWS does not document whether the region's defaults or the
    image override them, so the outlook is unknown if these alone would prevent IMDSv1.
    """
    if recipe.http_endpoint == _DISABLED:
        return Outlook(launches_imdsv1=False, why=f"{recipe.named} turns the metadata service off")
    if isinstance(defaults, str):
        if recipe.http_tokens is None:
            return Outlook(None, f"{_unset(recipe)}; the region's defaults are not known ({defaults})")
        defaults = RegionDefaults()
    off = recipe.http_endpoint is None and defaults.http_endpoint == _DISABLED
    if off and not recipe.is_configuration:
        return Outlook(launches_imdsv1=False, why="the region's default turns the metadata service off")
    tokens, why = _tokens(recipe, defaults, image)
    if tokens != _REQUIRED and defaults.enforced:
        why = f"{why}; the region refuses optional tokens (HttpTokensEnforced)"
    if recipe.http_tokens == _REQUIRED or defaults.enforced:
        return Outlook(launches_imdsv1=False, why=why)
    if off:
        why = f"{why}; the region's default turns the metadata service off"
    if recipe.is_configuration and (off or tokens == _REQUIRED):
        return Outlook(None, f"{why}; AWS does not document whether that applies to launch configurations")
    return Outlook(None if tokens is None else tokens == _OPTIONAL, why)


def outlook_of_rest(defaults: RegionDefaults) -> Outlook:
    """The outlook for a launch that sets nothing, from an image that does not require tokens."""
    if defaults.http_endpoint == _DISABLED:
        return Outlook(launches_imdsv1=False, why="the region's default turns the metadata service off")
    if defaults.enforced:
        return Outlook(launches_imdsv1=False, why="the region refuses optional tokens (HttpTokensEnforced)")
    if defaults.http_tokens:
        return Outlook(defaults.http_tokens == _OPTIONAL, f"the region's default is {defaults.http_tokens}")
    return Outlook(
        launches_imdsv1=True,
        why="the region has no default: tokens are optional unless the launch or the image requires them",
    )


def _tokens(recipe: Recipe, defaults: RegionDefaults, image: bool | str) -> tuple[str | None, str]:  # noqa: FBT001
    """The HttpTokens of the launch (None if unknown), and what sets them."""
    if recipe.http_tokens:
        return recipe.http_tokens, f"{recipe.named} sets HttpTokens {recipe.http_tokens}"
    if defaults.http_tokens:
        return defaults.http_tokens, f"{_unset(recipe)}; the region's default is {defaults.http_tokens}"
    without = f"{_unset(recipe)}, the region has no default"
    if isinstance(image, str):
        return None, f"{without}; {image}"
    if image:
        return _REQUIRED, f"{without}; image {recipe.image_id} requires tokens"
    return _OPTIONAL, f"{without}; image {recipe.image_id} does not require tokens"


def _unset(recipe: Recipe) -> str:
    return f"{recipe.named} does not set HttpTokens" if recipe.named else "no launch template"
