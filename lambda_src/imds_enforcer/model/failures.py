"""What an AWS error means for a run: retry, gone, or final."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

READ_BACK_DIFFERS = "ReadBackDiffers"
"""The enforcer's own code for a change that EC2 accepted but does not show."""

_SERVER_ERROR = 500

_THROTTLING = frozenset(
    {
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
        "ProvisionedThroughputExceededException",
    }
)
_UNAVAILABLE = frozenset({"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "RequestTimeout"})
_CREDENTIALS = frozenset(
    {
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
    }
)
_REGION = frozenset({"AuthFailure"})
_UNKNOWN_INSTANCE = frozenset({"InvalidInstanceID.NotFound"})
_WRONG_STATE = frozenset({"IncorrectInstanceState", "IncorrectState"})


class Kind(Enum):
    """What a failure means for the calls that follow.

    CREDENTIALS: AWS does not accept the caller's credentials, so every other call fails too, in every region.
    REGION: this region does not accept them, so every other call fails here; perhaps it is not enabled in the account.
    """

    THROTTLED = auto()
    UNAVAILABLE = auto()
    UNKNOWN_INSTANCE = auto()
    WRONG_STATE = auto()
    CREDENTIALS = auto()
    REGION = auto()
    FINAL = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """An AWS error: its code, its message, and what follows from it."""

    code: str
    message: str
    kind: Kind

    @property
    def may_work_later(self) -> bool:
        """True if a retry may help: not after a final failure, nor in a region that does not accept the credentials.

        Credentials that no region accepts may be replaced before the next run.
        """
        return self.kind not in {Kind.FINAL, Kind.REGION}

    @property
    def of_credentials(self) -> bool:
        """AWS does not accept the caller's credentials, in this region or in any: other calls fail too."""
        return self.kind in {Kind.CREDENTIALS, Kind.REGION}

    @property
    def denied(self) -> bool:
        """EC2 denies the caller this call, for whatever reason (EC2 API Reference, "Error codes")."""
        return self.code == "UnauthorizedOperation"

    @property
    def denied_by_organization(self) -> bool:
        """A service control policy forbids the call: this is intended, not a fault.

        The message of an access-denied error names the kind of policy (IAM User Guide, "Troubleshoot access denied
        error messages").
        """
        return self.kind is Kind.FINAL and "service control policy" in self.message.lower()

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class AwsError(Exception):
    """Raised by the adapters for a call that AWS refused, or that never reached it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


def classify(code: str, http_status: int = 400) -> Kind:  # noqa: PLR0911  # one for each kind
    """What an error code means, whether EC2's own (EC2 API Reference, "Error codes") or common to all services.

    An unknown code is final, unless its HTTP status is that of a server error.
    """
    if code in _THROTTLING:
        return Kind.THROTTLED
    if code in _CREDENTIALS:
        return Kind.CREDENTIALS
    if code in _REGION:
        return Kind.REGION
    if code in _UNKNOWN_INSTANCE:
        return Kind.UNKNOWN_INSTANCE
    if code in _WRONG_STATE:
        return Kind.WRONG_STATE
    if code in _UNAVAILABLE or http_status >= _SERVER_ERROR:
        return Kind.UNAVAILABLE
    return Kind.FINAL
