"""Calls to EC2 that an AWS service makes for an account: a trail records them like any other."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import ec2

from infra.local.server import cloudtrail
from infra.local.server.calls import Answer, Call, read_answer
from infra.local.server.identity import Caller

_INSTANCE_ID = re.compile(rb"<instanceId>(i-[0-9a-f]+)</instanceId>")


def service_caller(principal: str, role: str) -> Caller:
    """A service-linked role, as CloudTrail records it: `invokedBy` is the service's principal."""
    account = get_account_id()
    session = role.removeprefix("AWSServiceRoleFor")
    issuer = {
        "type": "Role",
        "principalId": "AROAEXAMPLESERVICEROLE",
        "arn": f"arn:aws:iam::{account}:role/aws-service-role/{principal}/{role}",
        "accountId": account,
        "userName": role,
    }
    user_identity = {
        "type": "AssumedRole",
        "principalId": f"{issuer['principalId']}:{session}",
        "arn": f"arn:aws:sts::{account}:assumed-role/{role}/{session}",
        "accountId": account,
        "sessionContext": {"sessionIssuer": issuer, "attributes": {"mfaAuthenticated": "false"}},
        "invokedBy": principal,
    }
    return Caller(f"role/{role}", user_identity)


def run_one(parameters: Mapping[str, str], caller: Caller) -> tuple[str, Answer]:
    """RunInstances for one instance: its id, or "" if EC2 refuses, and the answer."""
    answer = call_ec2("RunInstances", {**parameters, "MinCount": "1", "MaxCount": "1"}, caller)
    launched = _INSTANCE_ID.search(answer.body)
    return launched.group(1).decode() if launched and not answer.error else "", answer


def call_ec2(action: str, parameters: Mapping[str, str], caller: Caller) -> Answer:
    """Make a call, and record it."""
    call = Call(
        service="ec2",
        name=action,
        region=get_region(),
        account=get_account_id(),
        caller=caller,
        parameters=parameters,
        headers={"user-agent": caller.user_identity["invokedBy"]},
        body=b"",
        request_id=new_uuid(),
        time=datetime.now(UTC),
    )
    answer = read_answer(*ec2._ACTION_MAP[action]({name: [value] for name, value in parameters.items()}))
    cloudtrail.record(call, answer)
    return answer
