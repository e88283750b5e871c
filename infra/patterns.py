"""The EventBridge patterns: which events concern the enforcer, in one place for every bus and region.

Each pattern names the stack's account: an organization may send the events of all its accounts to one bus (EventBridge
User Guide, "Sending and receiving events between AWS accounts").
Forwarders and home rules share the patterns. Only the home rules know the enforcer's own role, and exclude it: its
changes come back as events, and reacting to those would never end.
"""

from typing import Any

from aws_cdk import Aws

Pattern = dict[str, Any]

_SUCCEEDED = [{"exists": False}]  # as errorCode: CloudTrail adds that field to failed calls only


def instance_events(*, but_by: str | None = None) -> dict[str, Pattern]:
    """The events that concern instances, launches or account defaults, by the name of their rule.

    See `options_changed` for `but_by`.
    """
    return {
        "Launched": launched(),
        "LaunchRefused": launch_refused(),
        "Running": running(),
        "OptionsChanged": options_changed(but_by=but_by),
    }


def launched() -> Pattern:
    """RunInstances by any caller: EC2 Fleet, Spot and Auto Scaling launch through it too."""
    return _call("RunInstances")


def launch_refused() -> Pattern:
    """RunInstances that EC2 refused, certainly or possibly because of its tokens, by the documented error texts.

    The function sorts out what a pattern cannot, dry runs for example (`imds_enforcer.ledger.refused_launches`).
    """
    texts = (
        "httpTokensEnforced is enabled",
        "explicit deny in a service control policy",
        "organizational policy in effect",
    )
    pattern = _call("RunInstances")
    pattern["detail"] |= {
        "errorCode": [{"exists": True}],
        "errorMessage": [{"wildcard": f"*{text}*"} for text in texts],
    }
    return pattern


def running() -> Pattern:
    """An instance that starts to run. In an account without a trail, this event alone reveals launches."""
    return _own("aws.ec2", "EC2 Instance State-change Notification", {"state": ["running"]})


def options_changed(*, but_by: str | None = None) -> Pattern:
    """A change of an instance's options or the account's defaults, by any caller except sessions of `but_by`."""
    pattern = _call("ModifyInstanceMetadataOptions", "ModifyInstanceMetadataDefaults")
    if but_by is not None:
        # anything-but does not match a missing field, and events of IAM users and root have none.
        pattern["detail"]["$or"] = [_session_of([{"anything-but": [but_by]}]), _session_of([{"exists": False}])]
    return pattern


def parameter_changed(*names: str) -> Pattern:
    """A new value of one of the parameters, or its deletion; labels are left out, as they change no value."""
    detail = {"name": [*names], "operation": ["Create", "Update", "Delete"]}
    return _own("aws.ssm", "Parameter Store Change", detail)


def _call(*names: str) -> Pattern:
    detail = {"eventSource": ["ec2.amazonaws.com"], "eventName": [*names], "errorCode": _SUCCEEDED}
    return _own("aws.ec2", "AWS API Call via CloudTrail", detail)


def _own(source: str, detail_type: str, detail: dict[str, Any]) -> Pattern:
    return {"account": [Aws.ACCOUNT_ID], "source": [source], "detail-type": [detail_type], "detail": detail}


def _session_of(role: list[Any]) -> Pattern:
    return {"userIdentity": {"sessionContext": {"sessionIssuer": {"arn": role}}}}
