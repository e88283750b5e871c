"""Which refusals are about tokens, and what is reported about a refused launcher."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.ledger.refused_launches import (
    MOST,
    Cause,
    RefusedLaunch,
    RefusedLauncher,
    cause_of,
    refused_lately,
)
from imds_enforcer.model import LaunchTemplate, Source
from tests.fakes.clock import START
from tests.fakes.entries import a_launcher
from tests.fakes.example_events import TOKENS_ENFORCED
from tests.fakes.examples import HOME

if TYPE_CHECKING:
    from collections.abc import Iterator

DENIED = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/a is not authorized to perform: "
BY_SCP = " with an explicit deny in a service control policy"
OF_INSTANCE = f"{DENIED}ec2:RunInstances on resource: arn:aws:ec2:eu-west-1:1:instance/*{BY_SCP}"
NEWER = f"{OF_INSTANCE}: arn:aws:organizations::2:policy/o-1/service_control_policy/p-1. Encoded failure message: x"
OF_VOLUME = f"{DENIED}ec2:RunInstances on resource: arn:aws:ec2:eu-west-1:1:volume/*{BY_SCP}"
IDENTITY = f"{DENIED}ec2:RunInstances because no identity-based policy allows the ec2:RunInstances action"
ORGANIZATION = "This action is denied due to an organizational policy in effect"
UNAUTHORIZED = "Client.UnauthorizedOperation"
UNSUPPORTED = "Client.UnsupportedOperation"


@pytest.mark.parametrize(
    ("code", "message", "tokens", "cause"),
    [
        pytest.param(UNSUPPORTED, TOKENS_ENFORCED, "optional", Cause.TOKENS_ENFORCED, id="enforced"),
        pytest.param(UNSUPPORTED, TOKENS_ENFORCED, None, Cause.TOKENS_ENFORCED, id="enforced, template's tokens"),
        pytest.param(UNSUPPORTED, "The requested configuration is not supported", None, None, id="unsupported"),
        pytest.param("Client.DryRunOperation", TOKENS_ENFORCED, None, None, id="dry run"),
        pytest.param(UNAUTHORIZED, OF_INSTANCE, None, Cause.SERVICE_CONTROL_POLICY, id="SCP"),
        pytest.param(UNAUTHORIZED, NEWER, "optional", Cause.SERVICE_CONTROL_POLICY, id="SCP, named"),
        pytest.param(UNAUTHORIZED, f"{DENIED}ec2:RunInstances{BY_SCP}", None, Cause.SERVICE_CONTROL_POLICY, id="short"),
        pytest.param(UNAUTHORIZED, OF_INSTANCE, "required", None, id="SCP, though tokens are required"),
        pytest.param(UNAUTHORIZED, OF_VOLUME, None, None, id="SCP, about a volume"),
        pytest.param(UNAUTHORIZED, IDENTITY, "optional", None, id="no permission"),
        pytest.param("Client.OperationNotPermitted", ORGANIZATION, None, Cause.ORGANIZATION, id="declarative"),
        pytest.param(
            "Client.OperationNotPermitted", ORGANIZATION, "required", None, id="declarative, of another thing"
        ),
        pytest.param("Client.InstanceLimitExceeded", "You have requested more", None, None, id="limit"),
        pytest.param("", "", None, None, id="nothing"),
    ],
)
def test_what_refused_a_launch(code: str, message: str, tokens: str | None, cause: Cause | None) -> None:
    """AWS's documented messages show it.

    A message that does not name tokens counts only if tokens may be the reason.
    """
    assert cause_of(code, message, tokens) is cause


WEB = Source("web", LaunchTemplate("lt-1", "3"))
NEW_VERSION = (
    "set MetadataOptions.HttpTokens=required in a new version of launch template lt-1, and launch from that version"
)


@pytest.mark.parametrize(
    ("source", "asked_optional", "change"),
    [
        (WEB, False, NEW_VERSION),
        (WEB, True, NEW_VERSION),
        (Source(None, LaunchTemplate("lt-1", "$Default")), False, NEW_VERSION),
        # The request's own value takes precedence over the template's.
        (Source(None, LaunchTemplate("lt-1", "1")), True, "set MetadataOptions.HttpTokens=required in the request"),
        (
            Source("web"),
            True,
            "give Auto Scaling group web a launch template with MetadataOptions.HttpTokens=required",
        ),
        (Source(image_id="ami-1"), False, "set MetadataOptions.HttpTokens=required in the request"),
    ],
)
def test_what_to_change(source: Source, asked_optional: bool, change: str) -> None:  # noqa: FBT001  # a parameter
    """The line names the field and where it is."""
    assert a_launcher(source, asked_optional=asked_optional).change == change


def test_a_launcher_in_one_line() -> None:
    """The line says who launches what, how often, since when, why EC2 refuses it, and what to do."""
    launcher = a_launcher(WEB, principal="role", invoked_by="autoscaling.amazonaws.com")
    refused = RefusedLauncher(launcher=launcher, times=4, first=START - timedelta(hours=30), last=START)
    assert str(refused) == (
        "role through autoscaling.amazonaws.com in eu-west-1, with Auto Scaling group web, launch template lt-1 "
        "version 3: refused 4 times since 2026-11-21 06:00 UTC, last at 2026-11-22 12:00 UTC; HttpTokensEnforced is "
        f"enabled. To do: {NEW_VERSION}."
    )
    assert refused.as_json() == {
        "region": HOME,
        "principal": "role",
        "invoked_by": "autoscaling.amazonaws.com",
        "auto_scaling_group": "web",
        "launch_template": "lt-1",
        "launch_template_version": "3",
        "image_id": None,
        "cause": "HttpTokensEnforced is enabled",
        "launches": 4,
        "first": "2026-11-21T06:00:00+00:00",
        "last": "2026-11-22T12:00:00+00:00",
        "change": NEW_VERSION,
        "line": str(refused),
    }


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        (
            Cause.SERVICE_CONTROL_POLICY,
            "a service control policy denies them, possibly because they do not require tokens",
        ),
        (Cause.ORGANIZATION, "an organizational policy denies them, possibly because they do not require tokens"),
    ],
)
def test_a_cause_that_may_be_another_is_called_possible(cause: Cause, why: str) -> None:
    """A policy may deny a launch for any reason, and EC2 does not say which."""
    refused = RefusedLauncher(launcher=a_launcher(cause=cause), times=1, first=START, last=START)
    assert str(refused) == (
        f"alice in eu-west-1, with image ami-1: refused once, at 2026-11-22 12:00 UTC; {why}. "
        "To do: set MetadataOptions.HttpTokens=required in the request."
    )


def test_launches_are_counted_by_launcher_the_latest_first() -> None:
    """A launcher that was not refused lately has changed its launches, or has stopped."""
    alice, web, earlier = a_launcher(), a_launcher(WEB), a_launcher(principal="bob")
    launches = [
        RefusedLaunch(event_id=str(number), at=START - timedelta(hours=hours), launcher=launcher)
        for number, (hours, launcher) in enumerate(((1, web), (3, alice), (26, earlier), (40, web), (50, alice)))
    ]
    found = refused_lately(launches, START)
    assert [(each.launcher, each.times, each.first, each.last) for each in found] == [
        (web, 2, launches[3].at, launches[0].at),
        (alice, 2, launches[4].at, launches[1].at),
    ]
    assert not any(each.uncounted for each in found)


def test_no_more_than_the_latest_launches_are_counted() -> None:
    """A launcher that retries all the time does not hold up the digest."""
    read: list[int] = []

    def tries() -> Iterator[RefusedLaunch]:
        for number in range(3 * MOST):
            read.append(number)
            yield RefusedLaunch(event_id=str(number), at=START - timedelta(seconds=number), launcher=a_launcher())

    [launcher] = refused_lately(tries(), START)
    assert (len(read), launcher.times) == (MOST + 1, MOST)
    assert ": refused at least 10000 times since 2026-11-22 09:13 UTC, last at 2026-11-22 12:00 UTC; " in str(launcher)


def test_a_slightly_late_digest_misses_no_launcher() -> None:
    """The inventory runs once a day, but not to the second."""
    late = RefusedLaunch(event_id="1", at=START - timedelta(days=1, hours=1), launcher=a_launcher())
    assert len(refused_lately([late], START)) == 1
    assert refused_lately([late], START + timedelta(seconds=1)) == []
