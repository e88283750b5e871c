"""Which tokens a launch comes to: what it is launched with says so, else the region's default, else the image."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_OPTIONAL, _REQUIRED, _DISABLED = "optional", "required", "disabled"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a launch template's version or a launch configuration says; without a name it is nothing but an image.

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
        """True if others decide whether its instances answer IMDSv1: it sets no tokens, and leaves the service on."""
        return self.http_tokens is None and self.http_endpoint != _DISABLED


@dataclass(frozen=True, slots=True)
class RegionDefaults:
    """The account's metadata defaults in a region; None is no preference. `enforced` refuses optional tokens.

    `managed` says that only a declarative policy of the organization can change them.
    """

    http_tokens: str | None = None
    http_endpoint: str | None = None
    enforced: bool = False
    managed: bool = False
    hop_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether the next launch will allow IMDSv1, None if that is not known; and why."""

    launches_imdsv1: bool | None
    why: str


BAD_NEWS_FIRST = (True, None, False)
"""The answers to whether a launch allows IMDSv1, by how much of a concern they are."""


def outlook(recipe: Recipe, defaults: RegionDefaults | str, image: bool | str) -> Outlook:  # noqa: FBT001  # an answer
    """What the next launch comes to.

    Each option is what the launch itself says, else the region's default, else the image's, which can only require
    tokens (EC2 User Guide, "Order of precedence for instance metadata options"). `image` says whether it does.
    Of the defaults and the image a text says why they are not known.

    A launch configuration has defaults of its own, enabled and optional (CloudFormation User Guide,
    "AWS::AutoScaling::LaunchConfiguration MetadataOptions"). Whether the region's defaults or the image prevail over
    them is not documented, so where they would keep IMDSv1 away, it is not known.
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
        return Outlook(None, f"{why}; whether that holds for launch configurations is not documented")
    return Outlook(None if tokens is None else tokens == _OPTIONAL, why)


def outlook_of_rest(defaults: RegionDefaults) -> Outlook:
    """What the region's defaults make of a launch that says nothing, from an image that does not require tokens."""
    if defaults.http_endpoint == _DISABLED:
        return Outlook(launches_imdsv1=False, why="the region's default turns the metadata service off")
    if defaults.enforced:
        return Outlook(launches_imdsv1=False, why="the region refuses optional tokens (HttpTokensEnforced)")
    if defaults.http_tokens:
        return Outlook(defaults.http_tokens == _OPTIONAL, f"the region's default is {defaults.http_tokens}")
    return Outlook(
        launches_imdsv1=True, why="the region has no default: what neither launch nor image says is optional"
    )


def _tokens(recipe: Recipe, defaults: RegionDefaults, image: bool | str) -> tuple[str | None, str]:  # noqa: FBT001
    """The tokens of an instance that is launched so, and who says so."""
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
