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
def test_ec2_may_refuse_a_change_for_an_option_beyond_tokens(code: str) -> None:
    """It answers with one of three codes."""
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
def test_no_other_failure_counts_as_a_refused_option(failure: Failure) -> None:
    """A missing permission above all does not count: another change would be a way around it."""
    assert refusals(BOTH, failure) == ()


def test_tokens_and_hop_limit_are_never_what_was_refused() -> None:
    """Without them no change would be left."""
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
    """If EC2 names none or both, both count as refused."""
    assert [each.option for each in refusals(BOTH, failure)] == options


def test_after_a_refusal_tokens_and_hop_limit_are_left() -> None:
    """The other option is left out too: if EC2 refused it as well, IMDSv1 would stay."""
    left = without_refused(planned(BOTH), [NO_TAGS])
    assert isinstance(left, PlannedChange)
    assert left.change == replace(TOKENS, http_put_response_hop_limit=2)
    assert left.wanted == replace(V2_ONLY, http_put_response_hop_limit=2)
    assert left.reason == (
        f"{WHY}; {TAGS_REFUSED}; HttpProtocolIpv6=enabled, sent in the same request, waits for the next run"
    )
    assert left.refused == (NO_TAGS,)
    assert left.begun


def test_an_option_noted_as_refused_is_left_out_alone() -> None:
    """EC2 has refused nothing to this run yet."""
    left = without_refused(planned(BOTH), [NOTED])
    assert isinstance(left, PlannedChange)
    assert left.change == replace(BOTH, instance_metadata_tags=None)
    assert left.reason == f"{WHY}; {TAGS_REFUSED}"
    assert not left.begun


def test_one_refusal_of_two_options_is_quoted_once() -> None:
    """EC2 gave a single answer for both."""
    left = without_refused(planned(BOTH), refusals(BOTH, VAGUE))
    assert left.reason == f"{WHY}; EC2 refused HttpProtocolIpv6=enabled and InstanceMetadataTags=enabled ({VAGUE})"


@pytest.mark.parametrize("refused", [NO_TAGS, NOTED])
def test_an_instance_without_another_change_is_skipped(refused: Refusal) -> None:
    """The reason has EC2's words. The instance does not count as compliant."""
    left = without_refused(planned(TAGS, V2_ONLY), [refused])
    assert isinstance(left, Result)
    assert (left.outcome, left.reason) == (Outcome.SKIPPED, f"{WHY}; {TAGS_REFUSED}")
    assert (left.before, left.after, left.failure, left.refused) == (V2_ONLY, V2_ONLY, BAD_KEY, (refused,))
    assert not left.compliant


@pytest.mark.parametrize("change", [TOKENS, replace(TAGS, instance_metadata_tags=Switch.DISABLED)])
def test_a_refusal_is_about_one_value_of_one_option(change: Change) -> None:
    """EC2 never refused the other value."""
    plan = planned(change)
    assert without_refused(plan, [NO_TAGS]) is plan


def test_earlier_refusals_are_kept() -> None:
    """The first is from a note, the second from EC2."""
    noted = without_refused(planned(BOTH), [NOTED])
    assert isinstance(noted, PlannedChange)
    left = without_refused(noted, refusals(noted.change, NO_IPV6))
    assert [each.option for each in left.refused] == ["InstanceMetadataTags", "HttpProtocolIpv6"]
    assert left.reason == f"{WHY}; {TAGS_REFUSED}; EC2 refused HttpProtocolIpv6=enabled ({NO_IPV6})"


def test_a_change_made_after_all_is_distinguished_from_someone_elses() -> None:
    """Only options exactly as planned are this run's change."""
    plan = without_refused(planned(BOTH), [NO_TAGS])
    assert isinstance(plan, PlannedChange)
    shown = an_instance(1, plan.wanted)
    skipped = replace(result_of(shown, Outcome.SKIPPED, WHY, after=plan.wanted), refused=(NO_TAGS,))
    assert not made_after_all(plan, skipped), "EC2 answered it"
    plan = replace(plan, unanswered=1)
    assert made_after_all(plan, skipped)
    assert not made_after_all(plan, replace(skipped, after=V2_ONLY))
    assert not made_after_all(plan, replace(skipped, refused=()))
    assert made_after_all(plan, result_of(shown, Outcome.COMPLIANT, WHY, after=plan.wanted))
