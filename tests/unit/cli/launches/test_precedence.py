from __future__ import annotations

from dataclasses import replace

import pytest

from imds_enforcer_cli.launches.precedence import Outlook, Recipe, RegionDefaults, outlook

TEMPLATE = Recipe("launch template lt-1 version 3", image_id="ami-1")
OPTIONAL = replace(TEMPLATE, http_tokens="optional")
NONE = RegionDefaults()
UNSET = "launch template lt-1 version 3 does not set HttpTokens"


@pytest.mark.parametrize(
    ("recipe", "defaults", "image", "launches", "why"),
    [
        (OPTIONAL, NONE, True, True, "launch template lt-1 version 3 sets HttpTokens optional"),
        (
            replace(TEMPLATE, http_tokens="required"),
            RegionDefaults("optional"),
            False,
            False,
            "launch template lt-1 version 3 sets HttpTokens required",
        ),
        (TEMPLATE, RegionDefaults("required"), False, False, f"{UNSET}; the region's default is required"),
        (TEMPLATE, RegionDefaults("optional"), True, True, f"{UNSET}; the region's default is optional"),
        (TEMPLATE, NONE, True, False, f"{UNSET}, the region has no default; image ami-1 requires tokens"),
        (TEMPLATE, NONE, False, True, f"{UNSET}, the region has no default; image ami-1 does not require tokens"),
        (
            Recipe(image_id="ami-1"),
            NONE,
            False,
            True,
            "no launch template, the region has no default; image ami-1 does not require tokens",
        ),
    ],
)
def test_the_first_who_names_tokens_decides(
    recipe: Recipe, defaults: RegionDefaults, why: str, *, image: bool, launches: bool
) -> None:
    """What the launch says, else the region, else the image."""
    assert outlook(recipe, defaults, image) == Outlook(launches, why)


@pytest.mark.parametrize(
    ("recipe", "defaults", "why"),
    [
        (
            OPTIONAL,
            RegionDefaults(enforced=True),
            "launch template lt-1 version 3 sets HttpTokens optional, which the region refuses (HttpTokensEnforced)",
        ),
        (
            replace(OPTIONAL, http_endpoint="disabled"),
            NONE,
            "launch template lt-1 version 3 turns the metadata service off",
        ),
        (OPTIONAL, RegionDefaults(http_endpoint="disabled"), "the region's default turns the metadata service off"),
    ],
)
def test_what_keeps_optional_tokens_from_mattering(recipe: Recipe, defaults: RegionDefaults, why: str) -> None:
    """Such a launch fails, or its instance has no metadata service."""
    assert outlook(recipe, defaults, image=False) == Outlook(launches_imdsv1=False, why=why)


def test_a_template_may_turn_the_metadata_service_on() -> None:
    """Where the region's default is off."""
    recipe = replace(OPTIONAL, http_endpoint="enabled")
    assert outlook(recipe, RegionDefaults(http_endpoint="disabled"), image=False).launches_imdsv1


@pytest.mark.parametrize(
    ("recipe", "defaults", "image", "launches", "why"),
    [
        (TEMPLATE, "denied", False, None, f"{UNSET}; the region's defaults are not known (denied)"),
        (OPTIONAL, "denied", False, True, "launch template lt-1 version 3 sets HttpTokens optional"),
        (TEMPLATE, NONE, "denied", None, f"{UNSET}, the region has no default; denied"),
        (TEMPLATE, RegionDefaults("required"), "denied", False, f"{UNSET}; the region's default is required"),
    ],
)
def test_what_is_not_known_matters_only_where_it_decides(
    recipe: Recipe, defaults: RegionDefaults | str, why: str, *, image: bool | str, launches: bool | None
) -> None:
    """Nothing is guessed."""
    assert outlook(recipe, defaults, image) == Outlook(launches, why)
