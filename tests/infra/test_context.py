from datetime import timedelta
from typing import Any

import pytest

from infra.account_rules import AccountRules, ContextError
from infra.context import Context

DEFAULTS: dict[str, Any] = {
    "regions": [],
    "schedule": "rate(15 minutes)",
    "notification_email": "",
}


def parse(home_region: str = "eu-central-1", **values: object) -> Context:
    """The context with these values, and the defaults for the rest."""
    return Context.parse(DEFAULTS | values, home_region=home_region)


def test_the_defaults_are_a_sweep_every_quarter_hour_and_no_forwarders() -> None:
    """As in cdk.json."""
    assert parse() == Context(
        regions=(),
        period=timedelta(minutes=15),
        notification_email=None,
        floor="optional",
        account_defaults=False,
        rules=AccountRules.parse({}),
    )


@pytest.mark.parametrize("received", [["us-east-1", "eu-west-1"], "us-east-1,eu-west-1", " eu-west-1 , us-east-1, "])
def test_regions_are_a_list_or_separated_by_commas(received: object) -> None:
    """Both forms mean the same, in any order."""
    assert parse(regions=received).regions == ("eu-west-1", "us-east-1")


def test_all_regions_are_the_commercial_ones_that_need_no_opt_in() -> None:
    """A forwarder in a region that the account has not opted into could not be deployed."""
    assert parse(regions="all", home_region="us-east-1").regions == (
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-southeast-1",
        "ap-southeast-2",
        "ca-central-1",
        "eu-central-1",
        "eu-north-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "sa-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
    )


@pytest.mark.parametrize("received", ["all,-ap-south-1, -us-east-1", ["-us-east-1", "all", "-ap-south-1"]])
def test_all_may_leave_some_out(received: object) -> None:
    """For example regions that a service control policy denies; both forms, in any order."""
    every = {*parse(regions="all").regions}
    assert {*parse(regions=received).regions} == every - {"ap-south-1", "us-east-1"}
    assert every > {"ap-south-1", "us-east-1"}


def test_a_region_that_needs_an_opt_in_can_be_named_beside_all() -> None:
    """`all` leaves out only these."""
    assert {*parse(regions="all,af-south-1").regions} == {*parse(regions="all").regions, "af-south-1"}


def test_the_home_region_needs_no_forwarder() -> None:
    """So the same list of regions serves any of them as home."""
    assert parse(regions=["eu-central-1", "af-south-1"]).regions == ("af-south-1",)


@pytest.mark.parametrize(("home", "other"), [("cn-north-1", "cn-northwest-1"), ("us-gov-west-1", "us-gov-east-1")])
def test_regions_are_of_the_home_regions_partition(home: str, other: str) -> None:
    """China and GovCloud have forwarders too, among themselves."""
    assert parse(regions=other, home_region=home).regions == (other,)


@pytest.mark.parametrize(
    ("rate", "period", "schedule"),
    [
        ("rate(15 minutes)", timedelta(minutes=15), "rate(15 minutes)"),
        ("rate(1 hour)", timedelta(hours=1), "rate(60 minutes)"),
        ("rate(12 hours)", timedelta(hours=12), "rate(720 minutes)"),
        ("rate(1 day)", timedelta(days=1), "rate(1440 minutes)"),
    ],
)
def test_the_schedule_is_a_rate(rate: str, period: timedelta, schedule: str) -> None:
    """The alarm on missing sweeps needs the period, the schedule its expression."""
    context = parse(schedule=rate)
    assert (context.period, context.schedule) == (period, schedule)


@pytest.mark.parametrize(
    ("received", "wanted"), [(None, False), (False, False), ("false", False), (True, True), ("true", True)]
)
def test_account_defaults_is_true_or_false(received: object, wanted: bool) -> None:  # noqa: FBT001  # an example
    """On the command line it is text."""
    assert parse(account_defaults=received).account_defaults is wanted


def test_the_floor_is_required_or_absent() -> None:
    """No other floor would mean anything."""
    assert parse(floor="required").floor == "required"
    assert parse(floor=None).floor == "optional"


def test_an_address_is_subscribed() -> None:
    """The deployer is usually the person to notify."""
    assert parse(notification_email="ops@example.com").notification_email == "ops@example.com"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"regions": "us-esat-1"}, "context 'regions': received 'us-esat-1'; allowed: 'all' .*us-east-1"),
        ({"regions": ["cn-north-1"]}, "context 'regions': received 'cn-north-1'; allowed: "),
        ({"regions": 3}, "context 'regions': received 3; allowed: a list, names separated by commas, or 'all'"),
        ({"regions": None}, "context 'regions': received None; allowed: "),
        ({"regions": "all", "home_region": "cn-north-1"}, "received 'all'; allowed: .*cn-northwest-1"),
        ({"regions": "-us-east-1"}, "received '-us-east-1'; allowed: '-' before a region only together with 'all'"),
        ({"regions": ["eu-west-1", "-us-east-1"]}, "allowed: '-' before a region only together with 'all'"),
        ({"regions": "all,-us-esat-1"}, "context 'regions': received '-us-esat-1'; allowed: 'all' .*us-east-1"),
        ({"regions": "all,-cn-north-1"}, "context 'regions': received '-cn-north-1'; allowed: "),
        ({"regions": ["all", ["us-east-1"]]}, r"context 'regions': received \['us-east-1'\]; allowed: "),
        ({"schedule": "cron(0 * * * ? *)"}, r"context 'schedule': received 'cron\(.*; allowed: rate\(N minutes\)"),
        ({"schedule": "rate(14 minutes)"}, "allowed: .* from 15 minutes to 1 day"),
        ({"schedule": "rate(25 hours)"}, "allowed: .* from 15 minutes to 1 day"),
        ({"schedule": 15}, "context 'schedule': received 15; allowed: "),
        (
            {"floor": "optional"},
            "context 'floor': received 'optional'; allowed: required; for no floor, omit it",
        ),
        ({"account_defaults": "yes"}, "context 'account_defaults': received 'yes'; allowed: true | false"),
        ({"floor": ""}, "context 'floor': received ''; allowed: required; "),
        ({"floor": True}, "context 'floor': received True; allowed: required; "),
        ({"notification_email": "ops"}, "context 'notification_email': received 'ops'; allowed: one e-mail address"),
    ],
)
def test_an_error_names_key_value_and_what_is_allowed(values: dict[str, Any], message: str) -> None:
    """Before anything is synthesized."""
    with pytest.raises(ContextError, match=message):
        parse(**values)
