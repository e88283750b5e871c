from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imds_enforcer.decision.account_defaults import DefaultsVerdict, decide_defaults
from imds_enforcer.model import HttpTokens, Switch
from imds_enforcer.model.region_defaults import DEFAULTS, RegionDefaults
from imds_enforcer.policy import AccountDefaults
from tests.fakes.examples import a_policy

REQUIRED, OPTIONAL = HttpTokens.REQUIRED, HttpTokens.OPTIONAL
ON, OFF = Switch.ENABLED, Switch.DISABLED
FLOOR = "this deployment's floor is HttpTokens required"
PLAIN = AccountDefaults()
UNSET = RegionDefaults()
KEPT = RegionDefaults(http_tokens=REQUIRED, http_put_response_hop_limit=2)
ENFORCED = replace(KEPT, http_tokens_enforced=ON)
EVERYTHING = RegionDefaults(
    http_tokens=REQUIRED, http_put_response_hop_limit=3, instance_metadata_tags=OFF, http_tokens_enforced=ON
)


def sent(
    seen: RegionDefaults,
    wanted: AccountDefaults = PLAIN,
    toggle: HttpTokens = REQUIRED,
    original: dict[str, Any] | None = None,
    floor: HttpTokens = OPTIONAL,
) -> dict[str, Any]:
    """What the one call sets; empty if no call is made."""
    plan = decide_defaults(seen, a_policy(toggle), wanted, original or {}, floor).plan
    return {name: getattr(plan.wanted, name) for name in plan.named} if plan else {}


@pytest.mark.parametrize(
    ("seen", "wanted", "expected"),
    [
        (UNSET, PLAIN, {"http_tokens": REQUIRED, "http_put_response_hop_limit": 2}),
        (replace(UNSET, http_tokens=OPTIONAL), PLAIN, {"http_tokens": REQUIRED, "http_put_response_hop_limit": 2}),
        (replace(UNSET, http_put_response_hop_limit=1), PLAIN, {"http_tokens": REQUIRED}),
        (replace(UNSET, http_tokens=REQUIRED), PLAIN, {"http_put_response_hop_limit": 2}),
        (KEPT, PLAIN, {}),
        (KEPT, AccountDefaults(http_put_response_hop_limit=1), {"http_put_response_hop_limit": 1}),
        (KEPT, AccountDefaults(instance_metadata_tags=OFF), {"instance_metadata_tags": OFF}),
        (EVERYTHING, PLAIN, {}),
        (
            KEPT,
            AccountDefaults(enforce_tokens=True),
            {"http_tokens": REQUIRED, "http_tokens_enforced": ON},
        ),
        (
            UNSET,
            AccountDefaults(http_put_response_hop_limit=3, instance_metadata_tags=OFF, enforce_tokens=True),
            {name: getattr(EVERYTHING, name) for name in DEFAULTS.values()},
        ),
    ],
)
def test_required_defaults(seen: RegionDefaults, wanted: AccountDefaults, expected: dict[str, Any]) -> None:
    """Only what differs is sent; but a call that enables HttpTokensEnforced requires tokens too."""
    assert sent(seen, wanted) == expected


@pytest.mark.parametrize(
    ("seen", "original", "expected"),
    [
        (KEPT, {"http_tokens": None, "http_put_response_hop_limit": None}, "both"),
        (KEPT, {"http_tokens": OPTIONAL}, "tokens"),
        (KEPT, {}, "none"),
        # The hop limit that was set with required tokens stays as long as they do.
        (KEPT, {"http_put_response_hop_limit": None}, "none"),
        (ENFORCED, {"http_tokens": None, "http_put_response_hop_limit": None}, "none"),
        (ENFORCED, {"http_tokens_enforced": None}, "enforced"),
    ],
)
def test_what_is_reverted_when_tokens_become_optional(
    seen: RegionDefaults, original: dict[str, Any], expected: str
) -> None:
    """The enforcer reverts what it has set. But required tokens stay as long as HttpTokensEnforced does."""
    back = {
        "both": {"http_tokens": None, "http_put_response_hop_limit": None},
        "tokens": {"http_tokens": OPTIONAL},
        "enforced": {"http_tokens_enforced": None},
        "none": {},
    }
    assert sent(seen, toggle=OPTIONAL, original=original) == back[expected]


def test_what_the_policy_names_stays_when_tokens_become_optional() -> None:
    """Hop limit and tags do not follow the toggle."""
    wanted = AccountDefaults(http_put_response_hop_limit=3, instance_metadata_tags=OFF)
    original = dict.fromkeys(DEFAULTS.values())
    assert sent(EVERYTHING, wanted, OPTIONAL, original) == {"http_tokens": None, "http_tokens_enforced": None}


@pytest.mark.parametrize(
    ("seen", "floor", "reason"),
    [
        (KEPT, OPTIONAL, "left unchanged: HttpTokens is required (not set by the enforcer)"),
        (
            ENFORCED,
            REQUIRED,
            f"left unchanged: HttpTokens is required and HttpTokensEnforced is enabled ({FLOOR})",
        ),
    ],
)
def test_defaults_that_still_require_tokens_are_named(seen: RegionDefaults, floor: HttpTokens, reason: str) -> None:
    """The toggle is `optional`, but something else requires tokens."""
    decision = decide_defaults(
        seen, a_policy(OPTIONAL), PLAIN, dict.fromkeys(DEFAULTS.values()) if floor is REQUIRED else {}, floor
    )
    assert (decision.verdict, decision.reason, decision.plan) == (DefaultsVerdict.LEFT, reason, None)


def test_required_tokens_of_the_enforcer_stay_while_someone_elses_enforcement_needs_them() -> None:
    """The reason names HttpTokensEnforced as someone else's, and not the required tokens."""
    decision = decide_defaults(ENFORCED, a_policy(OPTIONAL), PLAIN, {"http_tokens": None}, OPTIONAL)
    assert (decision.verdict, decision.reason) == (
        DefaultsVerdict.LEFT,
        (
            "left unchanged: HttpTokens is required and HttpTokensEnforced is enabled "
            "(the enforcer did not set HttpTokensEnforced, which needs required tokens)"
        ),
    )


@pytest.mark.parametrize(
    ("seen", "verdict", "reason"),
    [
        (KEPT, DefaultsVerdict.COMPLIANT, "the defaults match the policy"),
        (
            replace(KEPT, http_tokens=OPTIONAL),
            DefaultsVerdict.MANAGED,
            "managed by ours; HttpTokens is optional, not required",
        ),
    ],
)
def test_a_declarative_policy_is_compared_and_left(seen: RegionDefaults, verdict: DefaultsVerdict, reason: str) -> None:
    """The reason names a difference."""
    decision = decide_defaults(replace(seen, managed="managed by ours"), a_policy(), PLAIN, {}, OPTIONAL)
    assert (decision.verdict, decision.reason, decision.plan) == (verdict, reason, None)


def test_the_reason_names_what_differs() -> None:
    """It uses EC2's own names."""
    decision = decide_defaults(UNSET, a_policy(), AccountDefaults(enforce_tokens=True), {}, OPTIONAL)
    assert decision.reason == (
        "HttpTokens is no-preference, not required, HttpPutResponseHopLimit is no-preference, not 2, "
        "HttpTokensEnforced is no-preference, not enabled"
    )


HOPS = st.sampled_from([None, 1, 2, 64])
SWITCHES = st.sampled_from([None, ON, OFF])
SEEN = st.builds(
    RegionDefaults,
    http_tokens=st.sampled_from([None, OPTIONAL, REQUIRED]),
    http_put_response_hop_limit=HOPS,
    instance_metadata_tags=SWITCHES,
    http_tokens_enforced=SWITCHES,
    managed=st.sampled_from([None, None, "a declarative policy"]),
)
WANTED = st.builds(
    AccountDefaults,
    http_put_response_hop_limit=HOPS,
    instance_metadata_tags=SWITCHES,
    enforce_tokens=st.sampled_from([None, True]),
)
ORIGINALS = st.fixed_dictionaries(
    {},
    optional={
        "http_tokens": st.sampled_from([None, OPTIONAL]),
        "http_put_response_hop_limit": HOPS,
        "instance_metadata_tags": SWITCHES,
        "http_tokens_enforced": st.sampled_from([None, OFF]),
    },
)
TOGGLES = st.sampled_from(HttpTokens)


@given(SEEN, WANTED, TOGGLES, ORIGINALS, TOGGLES)
def test_no_decision_breaks_a_safety_rule(
    seen: RegionDefaults, wanted: AccountDefaults, toggle: HttpTokens, original: dict[str, Any], floor: HttpTokens
) -> None:
    """This holds for all defaults of the region, all policies and all ledger entries."""
    decision = decide_defaults(seen, a_policy(toggle), wanted, original, floor)
    if decision.plan is None:
        return
    after = decision.plan.wanted
    call = {name: getattr(after, name) for name in decision.plan.named}
    assert not seen.managed
    assert call
    if call.get("http_tokens_enforced") is ON:
        assert call["http_tokens"] is REQUIRED
    loosened = [
        name
        for name, tight in (("http_tokens", REQUIRED), ("http_tokens_enforced", ON))
        if getattr(seen, name) == tight and getattr(after, name) != tight
    ]
    assert all(toggle is OPTIONAL and floor is OPTIONAL and name in original for name in loosened)
    if "http_tokens" in loosened:
        assert not after.enforces_tokens, "every launch that does not name HttpTokens would fail"
    assert all(getattr(after, name) == getattr(seen, name) for name in DEFAULTS.values() if name not in call)
    if after.http_tokens is REQUIRED and seen.http_tokens is not REQUIRED:
        assert after.http_put_response_hop_limit is not None
    lowered = (after.http_put_response_hop_limit or 0) < (seen.http_put_response_hop_limit or 0)
    named = wanted.http_put_response_hop_limit is not None
    assert not lowered or named or (toggle is OPTIONAL and "http_put_response_hop_limit" in original)


@given(SEEN, WANTED, TOGGLES, ORIGINALS, TOGGLES)
def test_a_second_look_changes_nothing(
    seen: RegionDefaults, wanted: AccountDefaults, toggle: HttpTokens, original: dict[str, Any], floor: HttpTokens
) -> None:
    """Set defaults are as wanted by then, and reverted ones are no longer the enforcer's."""
    decision = decide_defaults(seen, a_policy(toggle), wanted, original, floor)
    if decision.plan:
        after = decision.plan.wanted
        rest = {name: value for name, value in original.items() if getattr(after, name) == getattr(seen, name)}
        assert sent(after, wanted, toggle, rest, floor) == {}
