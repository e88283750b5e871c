"""What an error of AWS means for the work: try again, gone, or final."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

READ_BACK_DIFFERS = "ReadBackDiffers"
"""The enforcer's own code for a change that EC2 accepted and does not show."""

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
    """How a failure is answered.

    CREDENTIALS: AWS does not accept the caller's credentials, and would refuse every other call, in any region.
    REGION: so would this region, which may not be enabled in the account.
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
    """An error of AWS: its own code, its own words, and what follows from it."""

    code: str
    message: str
    kind: Kind

    @property
    def may_work_later(self) -> bool:
        """Trying again may help; of a final failure the same answer is to be expected, and of a region that refuses.

        Credentials may be others in the next run.
        """
        return self.kind not in {Kind.FINAL, Kind.REGION}

    @property
    def of_credentials(self) -> bool:
        """AWS does not accept the caller's credentials, in this region or in any: other calls fail the same way."""
        return self.kind in {Kind.CREDENTIALS, Kind.REGION}

    @property
    def denied(self) -> bool:
        """EC2 does not let the caller make the call, for whatever reason (EC2 API Reference, "Error codes")."""
        return self.code == "UnauthorizedOperation"

    @property
    def denied_by_organization(self) -> bool:
        """A service control policy forbids the call: an intended state, not a fault.

        IAM names the kind of policy in the message of an access-denied error (IAM User
        Guide, "Troubleshoot access denied error messages").
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
    """What an error code of EC2 means (EC2 API Reference, "Error codes"), or one that all services share.

    A code that is not known here is final, unless its HTTP status says that the fault was
    the server's.
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
