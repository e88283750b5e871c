from __future__ import annotations

from dataclasses import replace

import pytest

from imds_enforcer_cli.launches.precedence import Outlook, Recipe, RegionDefaults, outlook, outlook_of_rest

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
def test_the_first_setting_of_tokens_decides(
    recipe: Recipe, defaults: RegionDefaults, why: str, *, image: bool, launches: bool
) -> None:
    """That of the launch, else of the region, else of the image."""
    assert outlook(recipe, defaults, image) == Outlook(launches, why)


@pytest.mark.parametrize(
    ("recipe", "defaults", "why"),
    [
        (
            OPTIONAL,
            RegionDefaults(enforced=True),
            (
                "launch template lt-1 version 3 sets HttpTokens optional; "
                "the region refuses optional tokens (HttpTokensEnforced)"
            ),
        ),
        (
            replace(OPTIONAL, http_endpoint="disabled"),
            NONE,
            "launch template lt-1 version 3 turns the metadata service off",
        ),
        (OPTIONAL, RegionDefaults(http_endpoint="disabled"), "the region's default turns the metadata service off"),
    ],
)
def test_optional_tokens_that_do_not_matter(recipe: Recipe, defaults: RegionDefaults, why: str) -> None:
    """Because the launch fails, or the instance has no metadata service."""
    assert outlook(recipe, defaults, image=False) == Outlook(launches_imdsv1=False, why=why)


def test_a_template_may_turn_the_metadata_service_on() -> None:
    """Even if the region's default turns it off."""
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
def test_unknown_settings_matter_only_if_they_decide(
    recipe: Recipe, defaults: RegionDefaults | str, why: str, *, image: bool | str, launches: bool | None
) -> None:
    """Then the outlook is unknown."""
    assert outlook(recipe, defaults, image) == Outlook(launches, why)


CONFIGURATION = Recipe("launch configuration lc", image_id="ami-1", is_configuration=True)
UNDOCUMENTED = "; AWS does not document whether that applies to launch configurations"


@pytest.mark.parametrize(
    ("recipe", "defaults", "image", "launches", "why"),
    [
        (CONFIGURATION, NONE, False, True, "image ami-1 does not require tokens"),
        (CONFIGURATION, RegionDefaults("optional"), True, True, "the region's default is optional"),
        (CONFIGURATION, NONE, True, None, f"image ami-1 requires tokens{UNDOCUMENTED}"),
        (CONFIGURATION, RegionDefaults("required"), False, None, f"the region's default is required{UNDOCUMENTED}"),
        (CONFIGURATION, RegionDefaults("required", enforced=True), False, False, "the region's default is required"),
        (CONFIGURATION, RegionDefaults(enforced=True), False, False, "refuses optional tokens (HttpTokensEnforced)"),
        (
            replace(CONFIGURATION, http_tokens="optional"),
            RegionDefaults(http_endpoint="disabled"),
            False,
            None,
            f"the region's default turns the metadata service off{UNDOCUMENTED}",
        ),
        (
            replace(CONFIGURATION, http_tokens="required"),
            RegionDefaults(http_endpoint="disabled"),
            False,
            False,
            "launch configuration lc sets HttpTokens required",
        ),
    ],
)
def test_a_launch_configuration_whose_precedence_is_undocumented(
    recipe: Recipe, defaults: RegionDefaults, why: str, *, image: bool, launches: bool | None
) -> None:
    """Its outlook is known only if it does not depend on whose defaults prevail."""
    found = outlook(recipe, defaults, image)
    assert found.launches_imdsv1 is launches
    assert found.why.endswith(why)


@pytest.mark.parametrize(
    ("defaults", "image", "launches"),
    [(RegionDefaults(enforced=True), "ami-1 is gone", False), (NONE, "ami-1 is gone", None)],
)
def test_if_tokens_are_enforced_the_image_does_not_matter(
    defaults: RegionDefaults, image: str, *, launches: bool | None
) -> None:
    """A launch with optional tokens fails (EC2 User Guide, "Troubleshoot launch issues")."""
    assert outlook(TEMPLATE, defaults, image).launches_imdsv1 is launches


@pytest.mark.parametrize(
    ("defaults", "launches", "why"),
    [
        (NONE, True, "the region has no default: tokens are optional unless the launch or the image requires them"),
        (RegionDefaults("optional"), True, "the region's default is optional"),
        (RegionDefaults("required"), False, "the region's default is required"),
        (RegionDefaults(enforced=True), False, "the region refuses optional tokens (HttpTokensEnforced)"),
        (RegionDefaults(http_endpoint="disabled"), False, "the region's default turns the metadata service off"),
    ],
)
def test_the_outlook_of_the_defaults_alone(defaults: RegionDefaults, why: str, *, launches: bool) -> None:
    """For a launch that sets nothing, from an image that does not require tokens."""
    assert outlook_of_rest(defaults) == Outlook(launches, why)
