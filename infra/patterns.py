"""The EventBridge patterns: which events concern the enforcer, in one place for every bus and region.

Each names the own account: organizations send the events of all their accounts to one bus (EventBridge User Guide,
"Sending and receiving events between AWS accounts").
Forwarders and home rules share them. Only the home rules know the enforcer's own role, and shut it out: its
changes come back as events, and answering those would never end.
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
    """RunInstances, by anyone and through any service: EC2 Fleet, Spot and Auto Scaling come as it too."""
    return _call("RunInstances")


def launch_refused() -> Pattern:
    """RunInstances that EC2 refused because of its tokens, or may have, by the documented texts of its refusals.

    What a pattern cannot tell, such as dry runs, the function does (`imds_enforcer.ledger.refused_launches`).
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
    """An instance that starts to run; needs no trail, so that it alone enforces launches without one."""
    return _own("aws.ec2", "EC2 Instance State-change Notification", {"state": ["running"]})


def options_changed(*, but_by: str | None = None) -> Pattern:
    """The options of an instance or the account's defaults, changed by anyone, or anyone but sessions of `but_by`."""
    pattern = _call("ModifyInstanceMetadataOptions", "ModifyInstanceMetadataDefaults")
    if but_by is not None:
        # anything-but does not match where the field is missing, as it is for IAM users and root.
        pattern["detail"]["$or"] = [_session_of([{"anything-but": [but_by]}]), _session_of([{"exists": False}])]
    return pattern


def parameter_changed(*names: str) -> Pattern:
    """A new value or the loss of one of the parameters; a label moves no value and is left out."""
    detail = {"name": [*names], "operation": ["Create", "Update", "Delete"]}
    return _own("aws.ssm", "Parameter Store Change", detail)


def _call(*names: str) -> Pattern:
    detail = {"eventSource": ["ec2.amazonaws.com"], "eventName": [*names], "errorCode": _SUCCEEDED}
    return _own("aws.ec2", "AWS API Call via CloudTrail", detail)


def _own(source: str, detail_type: str, detail: dict[str, Any]) -> Pattern:
    return {"account": [Aws.ACCOUNT_ID], "source": [source], "detail-type": [detail_type], "detail": detail}


def _session_of(role: list[Any]) -> Pattern:
    return {"userIdentity": {"sessionContext": {"sessionIssuer": {"arn": role}}}}
