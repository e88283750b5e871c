from __future__ import annotations

import pytest

from imds_enforcer.model import AwsError, Failure, Kind
from imds_enforcer.model.failures import classify
from tests.fakes.examples import DENIED_BY_SCP, a_failure

EXPECTED = {
    Kind.THROTTLED: [
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
    ],
    Kind.UNAVAILABLE: ["InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "RequestTimeout"],
    Kind.UNKNOWN_INSTANCE: ["InvalidInstanceID.NotFound"],
    Kind.WRONG_STATE: ["IncorrectInstanceState", "IncorrectState"],
    Kind.CREDENTIALS: [
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
    ],
    Kind.REGION: ["AuthFailure"],
    Kind.FINAL: [
        "UnauthorizedOperation",
        "UnsupportedOperation",
        "OperationNotPermitted",
        "InvalidParameterValue",
        "InvalidInstanceID.Malformed",
        "OptInRequired",
        "NeverHeardOf",
    ],
}


@pytest.mark.parametrize(("code", "kind"), [(code, kind) for kind, codes in EXPECTED.items() for code in codes])
def test_an_error_code_decides_what_to_do(code: str, kind: Kind) -> None:
    """EC2 answers all of these with status 400 or 503; the code decides."""
    assert classify(code, 400) is kind


@pytest.mark.parametrize(("status", "kind"), [(499, Kind.FINAL), (500, Kind.UNAVAILABLE), (503, Kind.UNAVAILABLE)])
def test_an_unknown_code_is_final_unless_the_server_was_at_fault(status: int, kind: Kind) -> None:
    """A retry does not correct the caller's mistake."""
    assert classify("NeverHeardOf", status) is kind


def test_the_code_takes_precedence_over_the_status() -> None:
    """EC2 throttles with a 503."""
    assert classify("RequestLimitExceeded", 503) is Kind.THROTTLED


@pytest.mark.parametrize("kind", Kind)
def test_only_final_failures_are_not_worth_a_retry(kind: Kind) -> None:
    """Nor are those of a region that does not accept the credentials: the answer would be the same."""
    assert Failure("Code", "", kind).may_work_later == (kind not in {Kind.FINAL, Kind.REGION})


@pytest.mark.parametrize("kind", Kind)
def test_credentials_are_not_accepted_in_one_region_or_in_all(kind: Kind) -> None:
    """Every other call would then fail the same way."""
    assert Failure("Code", "", kind).of_credentials == (kind in {Kind.CREDENTIALS, Kind.REGION})


def test_a_denial_by_a_service_control_policy_is_recognized_by_its_message() -> None:
    """IAM names the kind of policy in the message; EC2 has no code of its own for it."""
    assert DENIED_BY_SCP.denied_by_organization
    assert a_failure("AccessDenied", "explicit deny in a Service Control Policy").denied_by_organization
    denied = a_failure("UnauthorizedOperation", "no identity-based policy allows the action")
    assert not denied.denied_by_organization


def test_a_denial_is_recognized_by_its_code() -> None:
    """Whichever policy denied it."""
    assert DENIED_BY_SCP.denied
    assert a_failure("UnauthorizedOperation").denied
    assert not a_failure("AuthFailure", "explicit deny in a service control policy").denied


def test_a_failure_that_may_pass_is_not_a_denial_whatever_its_message_says() -> None:
    """A denial is final."""
    assert not a_failure("RequestLimitExceeded", "service control policy").denied_by_organization


def test_a_failure_reads_as_its_code_and_message() -> None:
    """In EC2's own words, and so does the error raised for it."""
    failure = Failure("AuthFailure", "not for you", Kind.FINAL)
    error = AwsError(failure)
    assert str(failure) == str(error) == "AuthFailure: not for you"
    assert error.failure is failure
