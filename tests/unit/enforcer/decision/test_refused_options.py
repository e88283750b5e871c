from __future__ import annotations

from dataclasses import replace

import pytest

from imds_enforcer.decision.refused_options import made_after_all, refusals, without_refused
from imds_enforcer.model import (
    Change,
    Failure,
    HttpTokens,
    MetadataOptions,
    Outcome,
    PlannedChange,
    Refusal,
    Result,
    Switch,
)
from imds_enforcer.model.result import result_of
from tests.fakes.examples import (
    NO_IPV6,
    SERVER_FAULT,
    THROTTLED,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    a_failure,
    an_instance,
)

WHY = "as the policy says"
BAD_KEY = a_failure("InvalidParameterValue", "'Patch Group' is not a valid tag key. Tag keys must match pattern")
VAGUE = a_failure("InvalidParameterCombination", "These options cannot be combined.")
NO_TAGS = Refusal("InstanceMetadataTags", Switch.ENABLED, BAD_KEY)
NOTED = replace(NO_TAGS, noted=True)
TAGS_REFUSED = f"EC2 refused InstanceMetadataTags=enabled ({BAD_KEY})"

TOKENS = Change(http_tokens=HttpTokens.REQUIRED)
TAGS = replace(TOKENS, instance_metadata_tags=Switch.ENABLED)
BOTH = replace(TAGS, http_protocol_ipv6=Switch.ENABLED, http_put_response_hop_limit=2)


def planned(change: Change, options: MetadataOptions = V1_ALLOWED) -> PlannedChange:
    """The change of an instance that allows IMDSv1, unless given other options."""
    return PlannedChange(an_instance(1, options), change, change.applied_to(options), WHY)


@pytest.mark.parametrize("code", ["UnsupportedOperation", "InvalidParameterValue", "InvalidParameterCombination"])
def test_a_change_that_names_more_than_tokens_may_be_refused_for_that(code: str) -> None:
    """EC2 says it with one of three codes."""
    failure = a_failure(code)
    assert refusals(TAGS, failure) == (Refusal("InstanceMetadataTags", Switch.ENABLED, failure),)


@pytest.mark.parametrize(
    "failure",
    [
        UNAUTHORIZED,
        THROTTLED,
        SERVER_FAULT,
        a_failure("OperationNotPermitted"),
        a_failure("InvalidInstanceID.NotFound"),
    ],
    ids=lambda failure: failure.code,
)
def test_another_failure_is_about_something_else(failure: Failure) -> None:
    """A missing permission above all: another change would be a way around it."""
    assert refusals(BOTH, failure) == ()


def test_tokens_and_hop_limit_are_never_what_was_refused() -> None:
    """There is no change left without them."""
    assert refusals(replace(TOKENS, http_put_response_hop_limit=2), VAGUE) == ()


@pytest.mark.parametrize(
    ("failure", "options"),
    [
        (NO_IPV6, ["HttpProtocolIpv6"]),
        (BAD_KEY, ["InstanceMetadataTags"]),
        (a_failure("UnsupportedOperation", "InstanceMetadataTags is not supported."), ["InstanceMetadataTags"]),
        (VAGUE, ["HttpProtocolIpv6", "InstanceMetadataTags"]),
        (
            a_failure("InvalidParameterValue", "HttpProtocolIpv6 and InstanceMetadataTags do not go together."),
            ["HttpProtocolIpv6", "InstanceMetadataTags"],
        ),
    ],
)
def test_of_two_options_the_one_that_ec2_names_is_refused(failure: Failure, options: list[str]) -> None:
    """Both if it names neither of them alone."""
    assert [each.option for each in refusals(BOTH, failure)] == options


def test_after_a_refusal_tokens_and_hop_limit_are_left() -> None:
    """The other option goes too: with a refusal more, IMDSv1 would stay."""
    left = without_refused(planned(BOTH), [NO_TAGS])
    assert isinstance(left, PlannedChange)
    assert left.change == replace(TOKENS, http_put_response_hop_limit=2)
    assert left.wanted == replace(V2_ONLY, http_put_response_hop_limit=2)
    assert left.reason == (
        f"{WHY}; {TAGS_REFUSED}; HttpProtocolIpv6=enabled, sent in the same request, waits for the next run"
    )
    assert left.refused == (NO_TAGS,)
    assert left.begun


def test_what_is_noted_as_refused_takes_nothing_else_with_it() -> None:
    """Nothing was refused to this run yet."""
    left = without_refused(planned(BOTH), [NOTED])
    assert isinstance(left, PlannedChange)
    assert left.change == replace(BOTH, instance_metadata_tags=None)
    assert left.reason == f"{WHY}; {TAGS_REFUSED}"
    assert not left.begun


def test_with_one_refusal_of_two_options_ec2_is_quoted_once() -> None:
    """It said it once."""
    left = without_refused(planned(BOTH), refusals(BOTH, VAGUE))
    assert left.reason == f"{WHY}; EC2 refused HttpProtocolIpv6=enabled and InstanceMetadataTags=enabled ({VAGUE})"


@pytest.mark.parametrize("refused", [NO_TAGS, NOTED])
def test_if_nothing_else_is_to_be_changed_the_instance_is_skipped(refused: Refusal) -> None:
    """With EC2's words, and not as one that follows the policy."""
    left = without_refused(planned(TAGS, V2_ONLY), [refused])
    assert isinstance(left, Result)
    assert (left.outcome, left.reason) == (Outcome.SKIPPED, f"{WHY}; {TAGS_REFUSED}")
    assert (left.before, left.after, left.failure, left.refused) == (V2_ONLY, V2_ONLY, BAD_KEY, (refused,))
    assert not left.compliant


@pytest.mark.parametrize("change", [TOKENS, replace(TAGS, instance_metadata_tags=Switch.DISABLED)])
def test_a_refusal_is_about_one_value_of_one_option(change: Change) -> None:
    """The other value was never refused."""
    plan = planned(change)
    assert without_refused(plan, [NO_TAGS]) is plan


def test_what_was_refused_before_stays_known() -> None:
    """First by a note, then by EC2."""
    noted = without_refused(planned(BOTH), [NOTED])
    assert isinstance(noted, PlannedChange)
    left = without_refused(noted, refusals(noted.change, NO_IPV6))
    assert [each.option for each in left.refused] == ["InstanceMetadataTags", "HttpProtocolIpv6"]
    assert left.reason == f"{WHY}; {TAGS_REFUSED}; EC2 refused HttpProtocolIpv6=enabled ({NO_IPV6})"


def test_a_change_made_after_all_is_told_from_one_that_someone_else_made() -> None:
    """Only what looks exactly as it was planned was made by this run."""
    plan = without_refused(planned(BOTH), [NO_TAGS])
    assert isinstance(plan, PlannedChange)
    shown = an_instance(1, plan.wanted)
    skipped = replace(result_of(shown, Outcome.SKIPPED, WHY, after=plan.wanted), refused=(NO_TAGS,))
    assert not made_after_all(plan, skipped), "it was answered"
    plan = replace(plan, unanswered=1)
    assert made_after_all(plan, skipped)
    assert not made_after_all(plan, replace(skipped, after=V2_ONLY))
    assert not made_after_all(plan, replace(skipped, refused=()))
    assert made_after_all(plan, result_of(shown, Outcome.COMPLIANT, WHY, after=plan.wanted))
