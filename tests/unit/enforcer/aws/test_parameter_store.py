from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError

from imds_enforcer.aws.parameter_store import PolicyStore
from imds_enforcer.model import AwsError, Failure, HttpTokens, Kind
from imds_enforcer.policy import PolicyVersions
from imds_enforcer.policy.parser import PolicyInvalidError
from tests.fakes.clients import FakeSsm
from tests.fakes.examples import POLICY_PARAMETER, TOKENS_PARAMETER

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from mypy_boto3_ssm import SSMClient

    from tests.fakes.clock import FakeClock
    from tests.fakes.transport import FakeTransport

THROTTLED = ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "GetParameters")


def _store(client: Any, clock: FakeClock) -> PolicyStore:
    return PolicyStore(cast("SSMClient", client), clock, TOKENS_PARAMETER, POLICY_PARAMETER)


@pytest.fixture
def ssm() -> FakeSsm:
    """Parameter Store with a valid policy."""
    ssm = FakeSsm()
    ssm.put(TOKENS_PARAMETER, "required")
    ssm.put(POLICY_PARAMETER, "{}")
    return ssm


@pytest.fixture
def store(ssm: FakeSsm, clock: FakeClock) -> PolicyStore:
    """The store to test."""
    return _store(ssm, clock)


def test_both_parameters_come_from_one_request(transport: FakeTransport, clock: FakeClock) -> None:
    """A policy never mixes two moments; the order in the answer does not matter."""
    parameters = [
        {"Name": POLICY_PARAMETER, "Value": '{"mode": "audit"}', "Version": 7},
        {"Name": TOKENS_PARAMETER, "Value": "optional", "Version": 3},
    ]
    transport.answer(json.dumps({"Parameters": parameters, "InvalidParameters": []}))
    policy = _store(transport.client("ssm"), clock).read()
    assert transport.requests == [{"Action": "GetParameters", "Names": [TOKENS_PARAMETER, POLICY_PARAMETER]}]
    assert (policy.http_tokens, policy.mode, policy.versions) == ("optional", "audit", PolicyVersions(3, 7))


def test_changes_within_two_seconds_share_one_read(store: PolicyStore, ssm: FakeSsm, clock: FakeClock) -> None:
    """Parameter Store allows the whole account 40 reads a second."""
    store.read()
    for _ in range(3):
        store.in_force(fresh=False)
    clock.advance(1.5)
    store.in_force(fresh=False)
    clock.advance(0.5)
    store.in_force(fresh=False)
    assert len(ssm.requests) == 1


def test_every_read_of_the_policy_makes_a_request(store: PolicyStore, ssm: FakeSsm) -> None:
    """It is an invocation's first step, which must not use what an earlier one knew."""
    store.read()
    ssm.put(TOKENS_PARAMETER, "optional")
    assert store.read().http_tokens is HttpTokens.OPTIONAL
    assert store.in_force(fresh=False) == PolicyVersions(2, 1)
    assert len(ssm.requests) == 2


def test_a_thread_that_waited_for_a_failed_read_does_not_ask_again(
    store: PolicyStore, ssm: FakeSsm, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen changes that each wait half a minute, one after another, would outlast the invocation."""
    waiting, monotonic = threading.Event(), clock.monotonic

    def watched() -> float:
        moment = monotonic()
        if threading.current_thread() is not threading.main_thread():
            waiting.set()
        return moment

    def hang() -> None:
        ssm.delay = None
        others.append(pool.submit(store.in_force, fresh=False))
        assert waiting.wait(timeout=10)
        clock.advance(30)

    monkeypatch.setattr(clock, "monotonic", watched)
    others: list[Future[PolicyVersions]] = []
    ssm.delay, ssm.error = hang, THROTTLED
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(AwsError, match="Rate exceeded"):
            store.in_force(fresh=False)
        with pytest.raises(AwsError, match="Rate exceeded"):
            others[0].result(timeout=10)
    assert len(ssm.requests) == 1


@pytest.mark.parametrize("slow", [1, 2])
def test_a_slow_answer_is_not_used(store: PolicyStore, ssm: FakeSsm, clock: FakeClock, slow: int) -> None:
    """It may be out of date: the store asks once more and then gives up."""
    answers = iter([7] * slow + [0] * 9)
    ssm.delay = lambda: clock.advance(next(answers))
    if slow == 1:
        assert store.in_force(fresh=False) == PolicyVersions(1, 1)
    else:
        with pytest.raises(AwsError, match=r"^SlowAnswer: the answer takes more than 2 s$"):
            store.in_force(fresh=False)
    assert len(ssm.requests) == 2


@pytest.mark.parametrize("age", [1.997, 1.998, 1.999, 2.0, 2.001])
def test_what_grows_too_old_between_two_looks_at_the_clock_is_read_again(
    store: PolicyStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    """A sweep that changes five instances each second asks at exactly that age, over and over."""
    store.read()
    clock.advance(age)
    monotonic = clock.monotonic

    def ticking() -> float:
        clock.advance(0.001)
        return monotonic()

    monkeypatch.setattr(clock, "monotonic", ticking)
    assert store.in_force(fresh=False) == PolicyVersions(1, 1)


def test_a_change_is_seen_after_two_seconds_at_most(store: PolicyStore, ssm: FakeSsm, clock: FakeClock) -> None:
    """Counted from the last request, not from the last use."""
    store.read()
    ssm.put(TOKENS_PARAMETER, "optional")
    clock.advance(1.9)
    assert store.in_force(fresh=False) == PolicyVersions(1, 1)
    clock.advance(0.2)
    assert store.in_force(fresh=False) == PolicyVersions(2, 1)


def test_the_age_of_a_reading_counts_from_the_request(
    store: PolicyStore, ssm: FakeSsm, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow answer is already old when it arrives."""
    read = ssm.get_parameters

    def slowly(**request: Any) -> dict[str, Any]:
        answer = read(**request)
        clock.advance(5.1)
        return answer

    monkeypatch.setattr(ssm, "get_parameters", slowly)
    store.read()
    monkeypatch.setattr(ssm, "get_parameters", read)
    store.in_force(fresh=False)
    assert len(ssm.requests) == 2


def test_an_invalid_policy_is_named_with_its_parameters_and_versions(store: PolicyStore, ssm: FakeSsm) -> None:
    """So that the operator knows what to fix."""
    ssm.put(POLICY_PARAMETER, '{"mode": "off"}')
    with pytest.raises(PolicyInvalidError) as refused:
        store.read()
    assert str(refused.value) == (
        'mode is "off"; allowed: enforce, audit '
        "(parameters /imds-enforcer/http-tokens and /imds-enforcer/policy, versions 1 and 2)"
    )
    assert store.versions == PolicyVersions(1, 2)


@pytest.mark.parametrize(
    ("name", "problem", "versions"),
    [
        (TOKENS_PARAMETER, "http-tokens is missing", PolicyVersions(0, 1)),
        (POLICY_PARAMETER, "policy is missing", PolicyVersions(1, 0)),
    ],
)
def test_a_parameter_that_was_deleted_makes_the_policy_invalid(
    store: PolicyStore, ssm: FakeSsm, name: str, problem: str, versions: PolicyVersions
) -> None:
    """It has no version any more."""
    del ssm.values[name]
    with pytest.raises(PolicyInvalidError, match=problem):
        store.read()
    assert store.versions == versions


@pytest.mark.parametrize("body", ['{"Parameters": [{"Name', "<html>", "", "{}"])
def test_a_truncated_answer_is_a_failed_call(transport: FakeTransport, clock: FakeClock, body: str) -> None:
    """It does not mean that the parameters were deleted, so the policy is not invalid."""
    transport.answer(body)
    with pytest.raises(AwsError) as raised:
        _store(transport.client("ssm"), clock).read()
    assert raised.value.failure == Failure("IncompleteAnswer", "the answer has no Parameters", Kind.UNAVAILABLE)


def test_a_failed_read_discards_the_earlier_policy(store: PolicyStore, ssm: FakeSsm) -> None:
    """Neither its versions nor whether they are in force are known, however fresh the earlier answer was."""
    store.read()
    ssm.error = THROTTLED
    with pytest.raises(AwsError):
        store.read()
    assert store.versions == PolicyVersions(0, 0)
    with pytest.raises(AwsError):
        store.in_force(fresh=False)
    assert len(ssm.requests) == 3


@pytest.mark.parametrize("ask", [PolicyStore.read, lambda store: store.in_force(fresh=False)])
def test_a_store_out_of_reach_is_an_error_and_not_an_old_policy(
    store: PolicyStore, ssm: FakeSsm, clock: FakeClock, ask: Callable[[PolicyStore], object]
) -> None:
    """The next read asks again."""
    store.read()
    clock.advance(6)
    ssm.error = THROTTLED
    with pytest.raises(AwsError) as raised:
        ask(store)
    assert raised.value.failure.kind is Kind.THROTTLED
    ssm.error = None
    ssm.put(TOKENS_PARAMETER, "optional")
    assert store.read().http_tokens is HttpTokens.OPTIONAL
