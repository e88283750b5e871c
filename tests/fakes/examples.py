"""Instances, policies and settings that tests start from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from imds_enforcer.model import Failure, HttpTokens, Instance, InstanceState, MetadataOptions, Switch
from imds_enforcer.model.failures import classify
from imds_enforcer.policy import Exemption, Match, Policy, PolicyVersions
from imds_enforcer.settings import Settings

if TYPE_CHECKING:
    from datetime import date

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"
HOME = "eu-west-1"
AWAY = "us-east-1"

HUGE_NUMBER = "1" * 5_000
"""Well-formed JSON that Python's reader refuses with an error other than JSONDecodeError."""

V1_ALLOWED = MetadataOptions(
    http_tokens=HttpTokens.OPTIONAL, http_endpoint=Switch.ENABLED, http_put_response_hop_limit=1
)
V2_ONLY = replace(V1_ALLOWED, http_tokens=HttpTokens.REQUIRED)
IMDS_OFF = replace(V1_ALLOWED, http_endpoint=Switch.DISABLED)

TOKENS_PARAMETER = "/imds-enforcer/http-tokens"
POLICY_PARAMETER = "/imds-enforcer/policy"
SETTINGS = Settings(
    http_tokens_parameter=TOKENS_PARAMETER,
    policy_parameter=POLICY_PARAMETER,
    event_queue_url="https://sqs.eu-west-1.amazonaws.com/111122223333/events",
    notification_topic_arn="arn:aws:sns:eu-west-1:111122223333:topic",
    ledger_table="ledger",
)


def an_id(number: int = 1) -> str:
    """A well-formed instance id."""
    return f"i-{number:017x}"


def an_instance(number: int = 1, options: MetadataOptions | None = V1_ALLOWED, **fields: Any) -> Instance:
    """A running instance; by default it allows IMDSv1."""
    known: dict[str, Any] = {"region": HOME, "state": InstanceState.RUNNING, "observed_at": 0.0}
    return Instance(instance_id=an_id(number), options=options, **(known | fields))


def a_policy(http_tokens: HttpTokens = HttpTokens.REQUIRED, **fields: Any) -> Policy:
    """A policy; by default it requires tokens and nothing else."""
    return Policy(http_tokens=http_tokens, **({"versions": PolicyVersions(3, 7)} | fields))


def an_exemption(reason: str = "legacy SDK", expires: date | None = None, **match: Any) -> Exemption:
    """An exemption; without a match it fits every instance."""
    return Exemption(match=Match(**(match or {"instance_id": "*"})), reason=reason, expires=expires)


def a_failure(code: str, message: str = "EC2 said so") -> Failure:
    """A failure with the meaning that its code has."""
    return Failure(code, message, classify(code))


THROTTLED = a_failure("RequestLimitExceeded")
UNAUTHORIZED = a_failure("UnauthorizedOperation")
NOT_FOUND = a_failure("InvalidInstanceID.NotFound")
SERVER_FAULT = a_failure("InternalError")
WRONG_STATE = a_failure("IncorrectInstanceState")
NO_IPV6 = a_failure(
    "UnsupportedOperation", "The HttpProtocolIpv6 metadata option cannot be enabled for Xen-backed instance types."
)
EXPIRED = a_failure("ExpiredToken", "The security token included in the request is expired")
NOT_HERE = a_failure("AuthFailure", "AWS was not able to validate the provided access credentials")
DENIED_BY_SCP = a_failure("UnauthorizedOperation", "with an explicit deny in a service control policy")
