from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imds_enforcer.policy import Exemption, Match, PolicyVersions, RegionSelection
from imds_enforcer.policy.policy import reached_from
from tests.fakes.clock import START
from tests.fakes.examples import AWAY, HOME, a_policy, an_exemption, an_id, an_instance

if TYPE_CHECKING:
    from imds_enforcer.model import Instance

WEB = an_instance(
    image_id="ami-0123456789abcdef0",
    tags={
        "aws:autoscaling:groupName": "web-blue",
        "aws:ec2launchtemplate:id": "lt-0123456789abcdef0",
        "team": "payments",
        "Env": "prod",
    },
)
TEAM, PROD = Match(tag_key="team"), Match(tag_key="Env", tag_value="prod")


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        (Match(instance_id=an_id(1)), True),
        (Match(instance_id=an_id(2)), False),
        (Match(instance_id="i-*"), True),
        (Match(image_id="ami-0123*"), True),
        (Match(image_id="ami-9*"), False),
        (Match(auto_scaling_group="web-*"), True),
        (Match(auto_scaling_group="WEB-*"), False),
        (Match(auto_scaling_group="db-?"), False),
        (Match(region="eu-*"), True),
        (Match(region="[eu][us]-*"), True),
        (Match(region="us-*"), False),
        (Match(tag_key="team"), True),
        (Match(tag_key="team", tag_value="pay*"), True),
        (Match(tag_key="team", tag_value="platform"), False),
        (Match(tag_key="t*", tag_value="payments"), True),
        (Match(tag_key="env"), False),
        (Match(tag_key="team", tag_value="prod"), False),
        (Match(launch_template="lt-0123*"), True),
        (Match(launch_template="lt-9*"), False),
        (Match(launch_template="web"), False),
        (Match(tags=(TEAM, PROD)), True),
        (Match(tags=(TEAM, Match(tag_key="Env", tag_value="test"))), False),
        (Match(tags=(Match(tag_key="Env", tag_value="payments"),)), False),
        (Match(tag_key="team", tag_value="payments", tags=(PROD,)), True),
        (Match(tag_key="team", tag_value="platform", tags=(PROD,)), False),
        (Match(region="us-*", tags=(PROD,)), False),
    ],
)
def test_a_field_fits_as_a_shell_style_pattern(match: Match, *, fits: bool) -> None:
    """Case matters, as it does in AWS. A key and a value must fit the same tag."""
    assert match.fits(WEB) is fits


FITTING: dict[str, Any] = {
    "instance_id": "i-*",
    "image_id": "ami-*",
    "auto_scaling_group": "web-*",
    "launch_template": "lt-*",
    "region": HOME,
    "tag_key": "team",
}


@pytest.mark.parametrize("name", FITTING)
def test_every_given_field_must_fit(name: str) -> None:
    """A single field that does not fit rules the instance out."""
    assert Match(**FITTING).fits(WEB)
    assert not Match(**(FITTING | {name: "nothing-like-it"})).fits(WEB)


@pytest.mark.parametrize("match", [Match(auto_scaling_group="*"), Match(launch_template="*"), Match(tag_key="*")])
def test_a_wildcard_does_not_fit_a_missing_value(match: Match) -> None:
    """An instance without a group is in no group, whatever the pattern."""
    assert not match.fits(an_instance())


@given(st.text(), st.text(alphabet="[]!-*?\\^a"))
def test_no_pattern_is_an_error(value: str, pattern: str) -> None:
    """A pattern may be any text; at worst it fits nothing."""
    instance = an_instance(tags={value: value})
    assert Match(tag_key=pattern, tag_value=pattern).fits(instance) in {True, False}


@pytest.mark.parametrize(
    ("now", "expired"),
    [
        (datetime(2027, 3, 31, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2027, 4, 1, 0, 0, tzinfo=UTC), True),
        # Already April in Auckland, and still March in UTC; the other way round in New York.
        (datetime(2027, 4, 1, 9, 0, tzinfo=timezone(timedelta(hours=13))), False),
        (datetime(2027, 3, 31, 22, 0, tzinfo=timezone(-timedelta(hours=4))), True),
    ],
)
def test_an_exemption_protects_through_its_last_day_in_utc(now: datetime, *, expired: bool) -> None:
    """The time zone of the given moment does not matter."""
    exemption = an_exemption(expires=date(2027, 3, 31))
    policy = a_policy(exemptions=(exemption,))
    assert exemption.expired(now) is expired
    assert policy.expired_exemptions(now) == ((exemption,) if expired else ())
    assert policy.exemption_for(an_instance(), now) == (None if expired else exemption)


def test_an_exemption_without_a_date_does_not_expire() -> None:
    """The date is optional."""
    assert not an_exemption().expired(datetime.max.replace(tzinfo=UTC))


def test_the_first_exemption_in_force_is_the_one_named() -> None:
    """An exemption that has expired or is for other instances does not hide it."""
    expired, other = an_exemption(expires=date(2026, 1, 1)), an_exemption(region=AWAY)
    first, second = an_exemption("first"), an_exemption("second")
    policy = a_policy(exemptions=(expired, other, first, second))
    assert policy.exemption_for(an_instance(), START) is first


def test_an_exemption_reads_as_its_reason_its_owner_and_its_end() -> None:
    """A part that is not given is left out."""
    everyone = Match(instance_id="*")
    assert str(Exemption(match=everyone, reason="old SDK")) == "old SDK"
    full = Exemption(match=everyone, reason="old SDK", owner="payments", expires=date(2027, 3, 31))
    assert str(full) == "old SDK, owner payments, until 2027-03-31"


@pytest.mark.parametrize(
    ("selection", "covered"),
    [
        (RegionSelection(), [HOME, AWAY]),
        (RegionSelection(include=(HOME,)), [HOME]),
        (RegionSelection(exclude=(HOME,)), [AWAY]),
    ],
)
def test_regions_are_covered_unless_left_out(selection: RegionSelection, covered: list[str]) -> None:
    """Without a selection, every region is covered."""
    assert [region for region in (HOME, AWAY) if selection.covers(region)] == covered


def test_named_regions_that_the_account_does_not_have_are_reported() -> None:
    """A misspelt include list would silently leave a region unprotected."""
    assert RegionSelection(include=("us-west-9", HOME, "eu-west-11")).unknown([HOME, AWAY]) == (
        "eu-west-11",
        "us-west-9",
    )
    assert RegionSelection(exclude=("eu-wets-1",)).unknown([HOME]) == ("eu-wets-1",)
    assert RegionSelection().unknown([HOME]) == ()


def test_versions_are_logged_by_parameter() -> None:
    """Each parameter has its own version."""
    assert PolicyVersions(3, 7).as_log() == {"http_tokens": 3, "policy": 7}


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (RegionSelection(), "all"),
        (RegionSelection(include=(HOME,)), "only eu-west-1"),
        (RegionSelection(include=(HOME, AWAY)), "only eu-west-1, us-east-1"),
        (RegionSelection(exclude=(HOME, AWAY)), "all but eu-west-1, us-east-1"),
    ],
)
def test_regions_read_as_in_a_sentence(selection: RegionSelection, text: str) -> None:
    """People read the mail."""
    assert str(selection) == text


@pytest.mark.parametrize(
    ("match", "text"),
    [
        (Match(instance_id="i-1*"), "instance_id i-1*"),
        (Match(tag_key="legacy"), "tag legacy=*"),
        (Match(tag_key="team", tag_value=""), "tag team="),
        (
            Match(instance_id="*", image_id="ami-1", auto_scaling_group="web-*", region="eu-*", tag_key="team"),
            "instance_id *, image_id ami-1, auto_scaling_group web-*, region eu-*, tag team=*",
        ),
        (Match(launch_template="lt-1", tags=(TEAM, PROD)), "launch_template lt-1, tag team=*, tag Env=prod"),
    ],
)
def test_a_match_reads_as_the_fields_that_were_given(match: Match, text: str) -> None:
    """The fields have the names that they have in the policy."""
    assert str(match) == text


@pytest.mark.parametrize("instance", [an_instance(region=AWAY), an_instance(region=HOME)])
def test_exemptions_may_be_for_a_region(instance: Instance) -> None:
    """Every instance of that region is exempt, and no other."""
    policy = a_policy(exemptions=(an_exemption(region=AWAY),))
    assert bool(policy.exemption_for(instance, START)) == (instance.region == AWAY)


def test_from_which_percentage_an_instance_is_reached() -> None:
    """Places are spread evenly. An instance is reached from its own percentage on, and every instance at 100 %."""
    places = [reached_from(an_id(number)) for number in range(1_000)]
    for number, percent in enumerate(places):
        assert not a_policy(rollout_percent=percent - 1).has_reached(an_id(number))
        assert a_policy(rollout_percent=percent).has_reached(an_id(number))
    assert (min(places), max(places)) == (1, 100)
    assert reached_from("i-0123456789abcdef0") == 35  # its place, by its id's SHA-256, is 34.3
