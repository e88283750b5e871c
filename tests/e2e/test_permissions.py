"""Each statement of the roles is needed: without it, its purpose fails visibly.

IAM is enforced in all e2e tests; these remove one statement at a time and restore it.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from infra.local import operator
from infra.local.waiting import until
from tests.e2e.organization import SCP
from tests.e2e.stage import FORWARDED, HOME, PATIENCE_SECONDS, Stage

Steps = Iterator[None]
"""Up to the first `yield`, what a test sees without the statement; after it, what it sees with it."""


def _read_policy(stage: Stage) -> Steps:
    with pytest.raises(RuntimeError, match=r"AccessDenied.*ssm:GetParameters"):
        stage.invoke({})
    yield
    assert stage.invoke({})["http_tokens"] == "required"


def _list_regions(stage: Stage) -> Steps:
    report = stage.invoke({})
    assert [*report["regions"]] == [HOME]
    [warning] = report["warnings"]
    assert warning.startswith("EC2 does not list the account's regions (UnauthorizedOperation: ")
    yield
    assert {HOME, FORWARDED} <= stage.invoke({})["regions"].keys()


def _read_instances(stage: Stage) -> Steps:
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    assert stage.wait_for_outcome(instance, "FAILED")["code"] == "UnauthorizedOperation"
    assert {region["status"] for region in stage.invoke({})["regions"].values()} == {"REGION_FAILED"}
    yield
    report = stage.invoke({})
    assert {region["status"] for region in report["regions"].values()} == {"DONE"}
    assert report["outcomes"] == {"REMEDIATED": 1}


def _modify_options(stage: Stage) -> Steps:
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    assert stage.wait_for_outcome(instance, "FAILED")["code"] == "UnauthorizedOperation"
    yield
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 1}


def _consume_events(stage: Stage) -> Steps:
    stage.send("poison")
    [line] = stage.wait_for_lines(code="AccessDenied")
    assert line["message"] == "messages come back only after the queue's visibility time-out"
    assert "sqs:ChangeMessageVisibility" in line["error"]
    yield
    stage.send("another poison")
    assert stage.dead_letters(1) == ["another poison"]


def _notify(stage: Stage) -> Steps:
    stage.set_policy({"mode": "enforce"})
    [line] = stage.wait_for_lines(message="a notification could not be sent")
    assert line["code"] == "AuthorizationError"
    yield
    version = stage.set_policy({})
    stage.mailbox.wait_for("imds-enforcer: The policy was changed", f"Policy (version {version})")


def _read_defaults(stage: Stage) -> Steps:
    with stage.unseen():
        stage.aws.launch(HOME, HttpTokens="required")
    stage.aws.client("ec2", HOME).modify_instance_metadata_defaults(HttpTokensEnforced="enabled")
    refused = stage.settle(http_tokens=stage.set_http_tokens("optional"))
    assert refused["outcomes"] == {"FAILED": 1}
    assert {each["code"] for each in refused["failures"]} == {"UnsupportedOperation"}
    yield
    assert stage.invoke({})["outcomes"] == {"SKIPPED": 1}
    stage.aws.client("ec2", HOME).modify_instance_metadata_defaults(HttpTokensEnforced="no-preference")


def _modify_defaults(stage: Stage) -> Steps:
    stage.prefer_nothing()
    with stage.unseen():
        stage.aws.launch(HOME, HttpTokens="optional")
    report = stage.settle(policy=stage.set_policy({"account_defaults": {}, "regions": {"include": [HOME]}}))
    assert report["regions"][HOME]["defaults"]["outcome"] == "FAILED"
    assert "UnauthorizedOperation" in report["regions"][HOME]["defaults"]["reason"]
    assert report["outcomes"] == {"REMEDIATED": 1}
    yield
    assert stage.invoke({})["regions"][HOME]["defaults"]["outcome"] == "REMEDIATED"
    stage.settle(policy=stage.set_policy({}))
    stage.prefer_nothing()


def _read_metrics(stage: Stage) -> Steps:
    stage.settle(policy=stage.set_policy({"legacy_calls": {}}))
    stage.aws.knobs(attached_seconds=24 * 3600)
    with stage.unseen():
        stage.aws.launch(HOME, HttpTokens="optional")
    report = stage.invoke({})
    assert report["outcomes"] == {"HELD": 1}
    assert "AccessDenied" in report["kept_back"][0]["reason"]
    yield
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 1}


def _use_ledger(stage: Stage) -> Steps:
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    assert "the ledger is out of reach (AccessDenied" in stage.wait_for_outcome(instance, "DEFERRED")["reason"]
    yield
    assert stage.invoke({})["outcomes"] == {"REMEDIATED": 1}


def _find_open_changes(stage: Stage) -> Steps:
    stage.invoke({})
    [line] = stage.wait_for_lines(message="open entries of the ledger could not be read")
    assert line["code"] == "AccessDeniedException"
    yield
    stage.forget_log()
    stage.invoke({})
    assert stage.log_lines(message="open entries of the ledger could not be read") == []


def _take_lease(stage: Stage) -> Steps:
    refused = "the lease could not be taken: this sweep begins without it"
    assert "outcomes" in stage.invoke({})
    [line] = stage.wait_for_lines(message=refused)
    assert line["code"] == "AccessDeniedException"
    yield
    stage.forget_log()
    assert "outcomes" in stage.invoke({})
    assert stage.log_lines(message=refused) == []


def _keep_lost_invocations(stage: Stage) -> Steps:
    stage.aws.fail("ssm:GetParameters", "AccessDeniedException", status=400, caller=stage.caller)
    before = stage.lambda_metric("DestinationDeliveryFailures")
    stage.begin_sweep("inventory")
    until(lambda: stage.lambda_metric("DestinationDeliveryFailures") == before + 1, seconds=PATIENCE_SECONDS)
    yield
    stage.begin_sweep()
    assert stage.lost_invocations(1) == [{"trigger": "schedule"}]


SEEN_WITHOUT: dict[str, Callable[[Stage], Steps]] = {
    "ReadPolicy": _read_policy,
    "ListRegions": _list_regions,
    "ReadInstances": _read_instances,
    "ModifyOptions": _modify_options,
    "ReadDefaults": _read_defaults,
    "ModifyDefaults": _modify_defaults,
    "ReadMetrics": _read_metrics,
    "ReadLedger": _use_ledger,
    "FindOpenChanges": _find_open_changes,
    "WriteLedger": _use_ledger,
    "TakeLease": _take_lease,
    "ConsumeEvents": _consume_events,
    "KeepLostInvocations": _keep_lost_invocations,
    "Notify": _notify,
}
FLOOR = {"StringEquals": {"ec2:Attribute/HttpTokens": "required"}}
"""The condition that the context `floor` puts on ModifyOptions; a test of the templates asserts the same."""

ASSERTED_IN_THE_TEMPLATE = {
    "UseMessageKey": "the local AWS does not encrypt messages and never calls KMS",
    "WriteLogs": "Lambda itself writes the log with it; the local one does not check it",
    "Trace": "Lambda itself sends the segments with it; the local AWS has no X-Ray",
}


@pytest.mark.parametrize("sid", SEEN_WITHOUT)
def test_without_a_statement_its_purpose_fails_visibly(stage: Stage, sid: str) -> None:
    """It works again as soon as the statement is back."""
    steps = SEEN_WITHOUT[sid](stage)
    with _without(stage, stage.caller.removeprefix("role/"), sid):
        next(steps)
    assert list(steps) == []


def test_every_statement_of_the_functions_role_is_accounted_for(stage: Stage) -> None:
    """A test here needs it, or the reason is known why none can."""
    policies = _policies(stage, stage.caller.removeprefix("role/"))
    sids = {statement["Sid"] for _, statements in policies for statement in statements}
    assert sids == SEEN_WITHOUT.keys() | ASSERTED_IN_THE_TEMPLATE.keys()


def test_without_its_statement_a_forwarder_sends_nothing_home(stage: Stage) -> None:
    """Its launch never arrives, while a later one at home is enforced."""
    roles = stage.aws.client("iam").list_roles()["Roles"]
    [forwarder] = [role["RoleName"] for role in roles if role["RoleName"].startswith("ImdsEnforcerForwarder-")]
    with _without(stage, forwarder, "SendHome"):
        [lost] = stage.aws.launch(FORWARDED, HttpTokens="optional")
        [later] = stage.aws.launch(HOME, HttpTokens="optional")
        stage.wait_for_outcome(later, "REMEDIATED")
        stage.drain()
    assert stage.outcomes(lost) == []
    [forwarded] = stage.aws.launch(FORWARDED, HttpTokens="optional")
    stage.wait_for([forwarded], FORWARDED, HttpTokens="required")
    assert stage.options([lost], FORWARDED)[lost]["HttpTokens"] == "optional"


def test_with_a_floor_the_toggle_loosens_nothing(stage: Stage) -> None:
    """IAM alone refuses it; with the floor in its settings, the function does not try. An operator can still revert."""
    [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    run_id = stage.wait_for_outcome(instance, "REMEDIATED")["run_id"]
    role = stage.caller.removeprefix("role/")
    [modify] = [each for _, listed in _policies(stage, role) for each in listed if each["Sid"] == "ModifyOptions"]
    with _without(stage, role, "ModifyOptions", modify | {"Condition": FLOOR}):
        refused = stage.settle(http_tokens=stage.set_http_tokens("optional"))
        assert [each["code"] for each in refused["failures"]] == ["UnauthorizedOperation"]
        stage.restart(HTTP_TOKENS_FLOOR="required")
        writes = stage.writes()
        assert stage.invoke({})["outcomes"] == {"SKIPPED": 1}
        assert stage.writes() == writes
        assert stage.options([instance])[instance]["HttpTokens"] == "required"
        operator.answer(stage.aws, "revert", instance, "--run", run_id, "--yes")
        assert stage.options([instance])[instance]["HttpTokens"] == "optional"
        stage.settle(http_tokens=stage.set_http_tokens("required"))
        [fresh] = stage.aws.launch(HOME, HttpTokens="optional")
        stage.wait_for_outcome(fresh, "REMEDIATED")
    stage.spoil()


@contextmanager
def _without(stage: Stage, role: str, sid: str, *instead: dict[str, Any]) -> Iterator[None]:
    """Replace a statement of the role, and restore it in any case."""
    [(name, statements)] = [
        (name, statements)
        for name, statements in _policies(stage, role)
        if sid in {statement["Sid"] for statement in statements}
    ]
    _put(stage, role, name, [*(each for each in statements if each["Sid"] != sid), *instead])
    try:
        yield
    finally:
        _put(stage, role, name, statements)


def _policies(stage: Stage, role: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    iam = stage.aws.client("iam")
    for name in {*iam.list_role_policies(RoleName=role)["PolicyNames"]} - {SCP}:
        yield name, iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]


def _put(stage: Stage, role: str, name: str, statements: list[dict[str, Any]]) -> None:
    # A policy cannot be empty, so this one allows nothing.
    nothing = {"Sid": "Nothing", "Effect": "Deny", "Action": "none:None", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": statements or [nothing]}
    stage.aws.client("iam").put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
