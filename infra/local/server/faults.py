"""Injected faults, and the token buckets by which AWS limits requests."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Self

from infra.local.server.calls import Call
from infra.local.server.errors import AwsError
from infra.local.server.knobs import KNOBS, ControlError

KINDS = ("error", "reset", "hang", "truncate")

EVERY_CALL = "*:*"

_EXPIRED = "The security token included in the request is expired"
_INVALID = "The security token included in the request is invalid."
CREDENTIALS: Mapping[str, tuple[int, str]] = {
    "AuthFailure": (401, "AWS was not able to validate the provided access credentials"),
    "ExpiredToken": (403, _EXPIRED),
    "ExpiredTokenException": (400, _EXPIRED),
    "UnrecognizedClientException": (400, _INVALID),
}
"""AWS's errors for credentials that it does not accept, by code (EC2 API Reference, "Error codes").

ministack translates the two codes of JSON services for the others: EC2 answers RequestExpired to an expired token and
AuthFailure to an unknown key; other XML services answer ExpiredToken and InvalidClientTokenId.
"""


@dataclasses.dataclass
class Fault:
    """A fault in calls to one action.

    Attributes:
        action: for example `ec2:ModifyInstanceMetadataOptions`; `*:*` for every call.
        code: the code that kind `error` answers, with `status` and `message`; `CREDENTIALS` has those of its codes.
        kind: `error`; `reset`: the connection is cut before the call is executed; `hang`: the answer takes `seconds`,
            whether the client still waits or not; `truncate`: the call is executed, but only half the answer arrives.
        region: only calls to this region; empty: to all.
        instance_id: only calls that name this instance.
        caller: only calls by this caller, for example `role/NAME`.
        parameters: only calls that have these, for example `{"MaxResults": "1000"}`.
        first: the first call that fails, counted from 1 among the matching ones.
        calls: how many fail; None: all from the first.
        seconds: how long the fault lasts (for `hang`, how long a call hangs); None: until it is cleared.
    """

    action: str
    code: str = "InternalError"
    status: int = 500
    message: str = "An internal error has occurred."
    kind: str = "error"
    region: str = ""
    instance_id: str = ""
    caller: str = ""
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    first: int = 1
    calls: int | None = None
    seconds: float | None = None
    seen: int = dataclasses.field(default=0, init=False)
    began: float = dataclasses.field(default_factory=time.monotonic, init=False)

    @classmethod
    def of(cls, wish: Mapping[str, Any]) -> Self:
        """A fault from what a client sent."""
        known = {field.name for field in dataclasses.fields(cls) if field.init}
        if unknown := wish.keys() - known:
            raise ControlError(f"the fault has {', '.join(sorted(unknown))}; allowed: {', '.join(sorted(known))}")
        if ":" not in wish.get("action", ""):
            raise ControlError(f"action is {wish.get('action')!r}; allowed: service:Action")
        if wish.get("kind", "error") not in KINDS:
            raise ControlError(f"kind is {wish['kind']!r}; allowed: {', '.join(KINDS)}")
        status, message = CREDENTIALS.get(wish.get("code", ""), (cls.status, cls.message))
        return cls(**{"status": status, "message": message, **wish})

    def strikes(self, call: Call) -> bool:
        """Whether this call fails; counts each matching call."""
        if not self._fits(call):
            return False
        self.seen += 1
        if self.kind != "hang" and self.seconds is not None and time.monotonic() - self.began > self.seconds:
            return False
        return self.seen >= self.first and (self.calls is None or self.seen < self.first + self.calls)

    def _fits(self, call: Call) -> bool:
        return (
            self.action in (EVERY_CALL, call.action)
            and self.region in ("", call.region)
            and self.caller in ("", call.caller.name)
            and (not self.instance_id or self.instance_id in call.parameters.values())
            and self.parameters.items() <= call.parameters.items()
        )


class RequestBuckets:
    """A bucket for each action, account and region; the knob `request_buckets` names the actions that are limited."""

    def __init__(self) -> None:
        self._levels: dict[tuple[str, str, str], tuple[float, float]] = {}

    def take(self, call: Call) -> None:
        """Take a token for one request, or raise AWS's error if the bucket is empty."""
        name = bucket_name(call)
        if name not in KNOBS.request_buckets:
            return
        capacity, refill = KNOBS.request_buckets[name]
        now = time.monotonic()
        key = (name, call.account, call.region)
        level, then = self._levels.get(key, (capacity, now))
        level = min(capacity, level + (now - then) * refill)
        self._levels[key] = (level - 1 if level >= 1 else level, now)
        if level < 1:
            if call.service == "ec2":
                raise AwsError("RequestLimitExceeded", "Request limit exceeded.", 503)
            raise AwsError("ThrottlingException", "Rate exceeded")

    def reset(self) -> None:
        """Fill every bucket."""
        self._levels.clear()


def bucket_name(call: Call) -> str:
    """The bucket that a call takes a token from."""
    whole = call.action == "ec2:DescribeInstances" and not any(
        name == "MaxResults" or name.startswith(("Filter.", "InstanceId.")) for name in call.parameters
    )
    return f"{call.action} (whole region)" if whole else call.action
