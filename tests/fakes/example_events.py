"""The events that the rules let through, as EventBridge delivers them, and the queue's messages around them."""

from __future__ import annotations

import json
from typing import Any

from imds_enforcer.runs.events import QueuedMessage
from tests.fakes.examples import ACCOUNT, HOME, an_id

TIME = "2026-11-22T12:00:00Z"
MANAGED = {"managed": True, "principal": "eks.amazonaws.com"}


def _event(kind: str, detail: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    source = {"version": "0", "id": "e-1", "source": "aws.ec2", "account": ACCOUNT, "region": HOME, "time": TIME}
    return source | {"detail-type": kind, "detail": detail} | fields


def running(instance_id: str = an_id(), **fields: Any) -> dict[str, Any]:
    """EC2's own notice that an instance runs."""
    detail = {"instance-id": instance_id, "state": "running"}
    return _event("EC2 Instance State-change Notification", detail, fields)


def launch(*instance_ids: str, **fields: Any) -> dict[str, Any]:
    """CloudTrail's record of a successful RunInstances."""
    items = [{"instanceId": instance_id, "currentState": {"name": "pending"}} for instance_id in instance_ids]
    answer = {"reservationId": "r-1", "instancesSet": {"items": items}}
    return _event("AWS API Call via CloudTrail", {"eventName": "RunInstances", "responseElements": answer}, fields)


def managed_launch(*instance_ids: str, operator: object = MANAGED, **fields: Any) -> dict[str, Any]:
    """CloudTrail's record of a launch by a service whose instances these are."""
    event = launch(*instance_ids, **fields)
    for item in event["detail"]["responseElements"]["instancesSet"]["items"]:
        item["operator"] = operator
    return event


def launch_without_ids(**fields: Any) -> dict[str, Any]:
    """CloudTrail's record of a launch so large that its answer was cut."""
    event = launch(**fields)
    event["detail"]["responseElements"] = {"omitted": "true", "originalSize": 104_858}
    return event


def options_change(request: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """CloudTrail's record of somebody else's ModifyInstanceMetadataOptions."""
    detail = {"eventName": "ModifyInstanceMetadataOptions", "requestParameters": request}
    return _event("AWS API Call via CloudTrail", detail, fields)


def drift(instance_id: str = an_id(), **fields: Any) -> dict[str, Any]:
    """An options change in CloudTrail's nested form."""
    request = {"ModifyInstanceMetadataOptionsRequest": {"InstanceId": instance_id, "HttpTokens": "optional"}}
    return options_change(request, **fields)


def a_message(body: object, name: str = "m-1", receives: int = 1) -> QueuedMessage:
    """A message of the event queue; an event becomes its JSON, text stays as it is."""
    return QueuedMessage(name, f"receipt-{name}", body if isinstance(body, str) else json.dumps(body), receives)


def a_batch(*messages: QueuedMessage) -> dict[str, Any]:
    """What Lambda's event source mapping invokes the function with."""
    return {
        "Records": [
            {
                "messageId": message.message_id,
                "receiptHandle": message.receipt_handle,
                "body": message.body,
                "attributes": {"ApproximateReceiveCount": str(message.receives)},
                "eventSource": "aws:sqs",
            }
            for message in messages
        ]
    }
