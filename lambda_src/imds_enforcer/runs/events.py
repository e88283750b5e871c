"""Parse the function's input into typed requests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from imds_enforcer.ledger.refused_launches import RefusedLaunch
from imds_enforcer.model import Trigger
from imds_enforcer.model.wording import shown
from imds_enforcer.runs.event_fields import (
    MalformedEventError,
    instance_id,
    list_of,
    mapping,
    matching,
    moment,
    region,
    text,
)
from imds_enforcer.runs.refused_launches import launcher_of

if TYPE_CHECKING:
    from datetime import datetime

_ACCOUNT = re.compile(r"[0-9]{12}")
_COUNT = re.compile(r"[1-9][0-9]{0,5}")
_CALLS = "RunInstances, ModifyInstanceMetadataOptions, ModifyInstanceMetadataDefaults"
_EVENT_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class ForeignEventError(ValueError):
    """An event of another account, which the enforcer of this account does not handle."""

    def __init__(self, account: str) -> None:
        super().__init__(f"the event belongs to the account {account}")
        self.account = account


@dataclass(frozen=True, slots=True)
class InstanceEvent:
    """An event about instances of one region or, with `of_defaults`, about the region's account defaults.

    `whole_region` is set if CloudTrail's record of a launch omits the ids. `time` is when the event happened, by AWS's
    clock. `principal` is the caller, if the event names one.
    """

    trigger: Trigger
    region: str
    time: datetime
    instance_ids: tuple[str, ...]
    whole_region: bool = False
    of_defaults: bool = False
    principal: str = "an unknown caller"


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """A sweep of every region. An inventory reads all instances, not only those that differ from the policy."""

    trigger: Trigger

    @property
    def inventory(self) -> bool:
        """True for the daily count."""
        return self.trigger is Trigger.INVENTORY


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """One message of the event queue; `receives` counts its deliveries, this one included."""

    message_id: str
    receipt_handle: str
    body: str
    receives: int


def parse_invocation(event: object, account: str) -> SweepRequest | tuple[QueuedMessage, ...]:
    """The work that an invocation asks for: a sweep, or a batch of the event queue.

    Raises:
        MalformedEventError: if it is neither.
        ForeignEventError: if it is an event of another account.
    """
    if isinstance(event, Mapping):
        if "Records" in event:
            return tuple(_parse_record(record) for record in list_of(event, "Records"))
        if event.get("source") == "aws.ssm":
            if (of := event.get("account", account)) != account:
                raise ForeignEventError(str(of))
            return SweepRequest(Trigger.POLICY_CHANGE)
        if event == {}:
            return SweepRequest(Trigger.MANUAL)
        if list(event) == ["inventory"] and event["inventory"] is True:
            return SweepRequest(Trigger.INVENTORY)
        if event == {"trigger": Trigger.SCHEDULE}:
            return SweepRequest(Trigger.SCHEDULE)
    raise MalformedEventError(
        f"the function was invoked with {shown(event)}; allowed: an SQS batch, a Parameter Store Change event, "
        f'{{}}, {{"trigger": "schedule"}}, {{"inventory": true}}'
    )


def parse_event(body: str, account: str) -> InstanceEvent | RefusedLaunch | None:
    """The EventBridge event in a message's body; None for a launch that failed for a reason other than tokens.

    Raises:
        ForeignEventError: if it is of another account.
        MalformedEventError: if it is not an event that the rules let through.
    """
    try:
        event = json.loads(body)
    except ValueError as error:  # a number with thousands of digits raises a plain ValueError
        raise MalformedEventError(f"the body is not JSON ({error}): {shown(body)}") from None
    except RecursionError:
        raise MalformedEventError(f"the body is nested too deeply: {shown(body)}") from None
    if not isinstance(event, Mapping):
        raise MalformedEventError(f"the body is {shown(event)}; allowed: an EventBridge event")
    if (of := matching(event, "account", _ACCOUNT, "12 digits")) != account:
        raise ForeignEventError(of)
    kind, detail = event.get("detail-type"), mapping(event, "detail")
    if kind == "EC2 Instance State-change Notification":
        return _state_change(event, detail)
    if kind == "AWS API Call via CloudTrail":
        match detail.get("eventName"):
            case "RunInstances":
                return _launch(event, detail)
            case "ModifyInstanceMetadataOptions":
                return _options_change(event, detail)
            case "ModifyInstanceMetadataDefaults":
                return _drift(event, detail)
            case name:
                raise MalformedEventError(f"detail.eventName is {shown(name)}; allowed: {_CALLS}")
    raise MalformedEventError(
        f"detail-type is {shown(kind)}; allowed: EC2 Instance State-change Notification, AWS API Call via CloudTrail"
    )


def _state_change(event: Mapping[str, Any], detail: Mapping[str, Any]) -> InstanceEvent:
    if detail.get("state") != "running":
        raise MalformedEventError(f"detail.state is {shown(detail.get('state'))}; allowed: running")
    return _instance_event(event, Trigger.RUNNING, (detail.get("instance-id"),))


def _launch(event: Mapping[str, Any], detail: Mapping[str, Any]) -> InstanceEvent | RefusedLaunch | None:
    """The launched ids, or the whole region: CloudTrail omits `responseElements` over 100 KB.

    Instances that a service manages are left out: EC2 hides them, and the account cannot change them.
    """
    if detail.get("errorCode"):
        launcher = launcher_of(detail, region(event))
        if launcher is None:
            return None
        event_id = matching(detail, "eventID", _EVENT_ID, "the id of a CloudTrail event")
        return RefusedLaunch(event_id=event_id, at=moment(event), launcher=launcher)
    answer = detail.get("responseElements")
    instances = answer.get("instancesSet") if isinstance(answer, Mapping) else None
    if not isinstance(instances, Mapping) or "items" not in instances:
        return _instance_event(event, Trigger.LAUNCH, (), whole_region=True)
    items = list_of(instances, "items")
    ids = [item.get("instanceId") if isinstance(item, Mapping) else item for item in items if not _is_managed(item)]
    return _instance_event(event, Trigger.LAUNCH, ids, whole_region=not items)


def _is_managed(item: object) -> bool:
    operator = item.get("operator") if isinstance(item, Mapping) else None
    return isinstance(operator, Mapping) and operator.get("managed") in (True, "true")


def _options_change(event: Mapping[str, Any], detail: Mapping[str, Any]) -> InstanceEvent:
    """CloudTrail records the request either nested under the action's name or flat."""
    request = mapping(detail, "requestParameters")
    nested = request.get("ModifyInstanceMetadataOptionsRequest")
    if isinstance(nested, Mapping):
        request = nested
    return _drift(event, detail, request.get("InstanceId", request.get("instanceId")))


def _drift(event: Mapping[str, Any], detail: Mapping[str, Any], *ids: object) -> InstanceEvent:
    """The drift of the named instances, or of the account defaults if no id is given.

    The event does not have the values: EC2 shows them.
    """
    caller = identity.get("arn") if isinstance(identity := detail.get("userIdentity"), Mapping) else None
    drift = replace(_instance_event(event, Trigger.DRIFT, ids), of_defaults=not ids)
    return replace(drift, principal=caller) if isinstance(caller, str) else drift


def _instance_event(
    event: Mapping[str, Any], trigger: Trigger, ids: Sequence[object], *, whole_region: bool = False
) -> InstanceEvent:
    return InstanceEvent(
        trigger=trigger,
        region=region(event),
        time=moment(event),
        instance_ids=tuple(dict.fromkeys(map(instance_id, ids))),
        whole_region=whole_region,
    )


def _parse_record(record: object) -> QueuedMessage:
    if not isinstance(record, Mapping) or record.get("eventSource") != "aws:sqs":
        raise MalformedEventError(f"a record is {shown(record)}; allowed: messages of an SQS queue")
    receives = text(mapping(record, "attributes"), "ApproximateReceiveCount")
    if not _COUNT.fullmatch(receives):
        raise MalformedEventError(f"ApproximateReceiveCount is {shown(receives)}; allowed: a number")
    return QueuedMessage(
        message_id=text(record, "messageId"),
        receipt_handle=text(record, "receiptHandle"),
        body=text(record, "body"),
        receives=int(receives),
    )
