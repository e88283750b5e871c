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
    """EC2's own event that an instance runs."""
    detail = {"instance-id": instance_id, "state": "running"}
    return _event("EC2 Instance State-change Notification", detail, fields)


def launch(*instance_ids: str, **fields: Any) -> dict[str, Any]:
    """CloudTrail's record of a successful RunInstances."""
    items = [{"instanceId": instance_id, "currentState": {"name": "pending"}} for instance_id in instance_ids]
    answer = {"reservationId": "r-1", "instancesSet": {"items": items}}
    return _event("AWS API Call via CloudTrail", {"eventName": "RunInstances", "responseElements": answer}, fields)


def managed_launch(*instance_ids: str, operator: object = MANAGED, **fields: Any) -> dict[str, Any]:
    """CloudTrail's record of a launch by a service that manages the instances."""
    event = launch(*instance_ids, **fields)
    for item in event["detail"]["responseElements"]["instancesSet"]["items"]:
        item["operator"] = operator
    return event


def launch_without_ids(**fields: Any) -> dict[str, Any]:
    """CloudTrail's record of a launch whose answer was too large to be recorded."""
    event = launch(**fields)
    event["detail"]["responseElements"] = {"omitted": "true", "originalSize": 104_858}
    return event


TOKENS_ENFORCED = (
    "You can't launch instances with IMDSv1 because httpTokensEnforced is enabled for this account. Either launch the "
    "instance with httpTokens=required or contact your account owner to disable httpTokensEnforced using the "
    "ModifyInstanceMetadataDefaults API or the account settings in the EC2 console."
)
"""EC2's words (EC2 User Guide, "Troubleshoot instance launch issues")."""
AUTO_SCALING_ROLE = (
    f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
)
BY_AUTO_SCALING = {
    "type": "AssumedRole",
    "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSServiceRoleForAutoScaling/AutoScaling",
    "sessionContext": {"sessionIssuer": {"type": "Role", "arn": AUTO_SCALING_ROLE}},
    "invokedBy": "autoscaling.amazonaws.com",
}
ALICE = {"type": "IAMUser", "arn": f"arn:aws:iam::{ACCOUNT}:user/alice", "userName": "alice"}


def refused_launch(
    event_id: str = "e-1",
    *,
    code: str = "Client.UnsupportedOperation",
    message: str = TOKENS_ENFORCED,
    identity: dict[str, Any] = ALICE,
    request: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """CloudTrail's record of a RunInstances that failed; by default Alice's, with an image."""
    launched = {"instancesSet": {"items": [{"imageId": "ami-1", "minCount": 1, "maxCount": 1}]}}
    detail = {
        "eventName": "RunInstances",
        "eventID": event_id,
        "errorCode": code,
        "errorMessage": message,
        "userIdentity": identity,
        "requestParameters": launched if request is None else request,
        "responseElements": None,
    }
    return _event("AWS API Call via CloudTrail", detail, fields)


def of_group(group: str = "web", template: str | None = "lt-1", version: str = "3") -> dict[str, Any]:
    """The request of Auto Scaling when it launches an instance for a group."""
    tags = [{"key": "aws:autoscaling:groupName", "value": group}]
    named = {"launchTemplate": {"launchTemplateId": template, "version": version}} if template else {}
    return {
        "instancesSet": {"items": [{"minCount": 1, "maxCount": 1}]},
        "tagSpecificationSet": {"items": [{"resourceType": "instance", "tags": tags}]},
        **named,
    }


def options_change(request: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """CloudTrail's record of someone else's ModifyInstanceMetadataOptions."""
    detail = {"eventName": "ModifyInstanceMetadataOptions", "requestParameters": request}
    return _event("AWS API Call via CloudTrail", detail, fields)


def drift(instance_id: str = an_id(), **fields: Any) -> dict[str, Any]:
    """An options change in CloudTrail's nested form."""
    request = {"ModifyInstanceMetadataOptionsRequest": {"InstanceId": instance_id, "HttpTokens": "optional"}}
    return options_change(request, **fields)


def defaults_change(**fields: Any) -> dict[str, Any]:
    """CloudTrail's record of someone else's ModifyInstanceMetadataDefaults."""
    request = {"ModifyInstanceMetadataDefaultsRequest": {"HttpTokens": "no-preference"}}
    detail = {"eventName": "ModifyInstanceMetadataDefaults", "requestParameters": request}
    return _event("AWS API Call via CloudTrail", detail, fields)


def a_message(body: object, name: str = "m-1", receives: int = 1) -> QueuedMessage:
    """A message of the event queue; an event is written as JSON, text as it is."""
    return QueuedMessage(name, f"receipt-{name}", body if isinstance(body, str) else json.dumps(body), receives)


def a_batch(*messages: QueuedMessage) -> dict[str, Any]:
    """The event with which Lambda's event source mapping invokes the function."""
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
