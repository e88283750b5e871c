"""Resources that block a deployment: recognized before anything changes, and moved into their stack."""

import itertools
import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra import deploy, state
from infra.arguments import DeployError
from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.infra import aws_commands
from tests.infra.conftest import lead_to
from tests.infra.test_state_stack import events, make, set_by_hand, stack, values

BEFORE = Path(__file__).with_name("home_0_1_0.template.json")
"""The home stack of version 0.1.0: the resources to keep, and the outputs that name them."""
QUICK = {"Delay": 1, "MaxAttempts": 30}
HOLD = {"pk": {"S": "hold"}, "sk": {"S": "i-0123456789abcdef0"}, "reason": {"S": "migration"}}
_accounts = itertools.count(340_987_654_001)


@pytest.fixture
def aws(local_aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalAws:
    """An empty account, which the environment points to; the files for the commands go to a temporary folder."""
    local_aws.reset()
    monkeypatch.setattr("infra.takeover.ROOT", tmp_path / "a b")
    return lead_to(local_aws.in_account(str(next(_accounts))), monkeypatch)


def refused(*arguments: str) -> list[str]:
    """The lines with which `make deploy` refuses."""
    with pytest.raises(DeployError, match=r"^nothing was deployed: ") as error:
        deploy.main(["deploy", *arguments])
    return [line.strip() for line in str(error.value).splitlines()]


def create_before(aws: LocalAws) -> str:
    """Create a stack of version 0.1.0, with toggle, policy and a hold set by hand; returns the name of its table."""
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(StackName="ImdsEnforcer", TemplateBody=BEFORE.read_text())
    cloudformation.get_waiter("stack_create_complete").wait(StackName="ImdsEnforcer", WaiterConfig=QUICK)
    for name, value in SET.items():
        aws.client("ssm").put_parameter(Name=name, Value=value, Overwrite=True, Tier="Intelligent-Tiering")
    table = aws.stack_outputs("ImdsEnforcer")["LedgerTableName"]
    aws.client("dynamodb").put_item(TableName=table, Item=HOLD)
    return table


SET = {state.HTTP_TOKENS: "optional", state.POLICY: json.dumps({"mode": "audit", "exemptions": []}) + " " * 5000}


def test_the_layout_of_version_0_1_0_is_taken_over(aws: LocalAws, cli: list[str]) -> None:
    """`make deploy` refuses and writes nothing until the printed commands have moved everything."""
    table = create_before(aws)
    stored, happened = values(aws), stack_events(aws)
    why, destroy, *steps, last = refused("-c", "mode=audit")
    wanted = "nothing was deployed: the stack ImdsEnforcer in eu-central-1 contains toggle, policy and ledger"
    assert why.startswith(wanted)
    assert (destroy.split("  #")[0], last.split("  #")[0]) == ("make destroy", "make deploy")
    assert (values(aws), stack_events(aws), cli) == (stored, happened, [])
    assert aws.client("dynamodb").list_tables()["TableNames"] == [table]

    aws.client("cloudformation").delete_stack(StackName="ImdsEnforcer")
    aws.client("cloudformation").get_waiter("stack_delete_complete").wait(StackName="ImdsEnforcer", WaiterConfig=QUICK)
    aws_commands.run(steps, aws)
    _, *adopt, last = refused("-c", "http_tokens=optional")
    assert last == "make deploy"
    aws_commands.run(adopt, aws)
    assert deploy.main(["deploy"]) == 0
    assert cli == ["bootstrap", "deploy"]
    assert {name: value for name, (value, _) in values(aws).items()} == SET
    assert aws.client("dynamodb").scan(TableName=state.TABLE)["Items"] == [HOLD]
    described = aws.client("dynamodb").describe_table(TableName=state.TABLE)["Table"]
    assert described["DeletionProtectionEnabled"]
    expiry = aws.client("dynamodb").describe_time_to_live(TableName=state.TABLE)["TimeToLiveDescription"]
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}
    assert aws.client("logs").describe_log_groups(logGroupNamePrefix=state.LOG_GROUP)["logGroups"]
    assert stack(aws)["EnableTerminationProtection"]


@pytest.mark.parametrize(
    "existing",
    [[each.name] for each in state.RESOURCES] + [[each.name for each in state.RESOURCES]],
    ids=[each.logical_id for each in state.RESOURCES] + ["all"],
)
def test_resources_without_their_stack_are_adopted_as_they_are(
    aws: LocalAws, cli: list[str], existing: list[str]
) -> None:
    """All or some of them: the next deployment adds the missing ones."""
    for name in existing:
        make(aws, name)
    before = values(aws)
    why, *adopt, last = refused()
    first = f"nothing was deployed: the stack ImdsEnforcerState does not exist in {aws.region}, but these resources do"
    assert why.startswith(f"{first}: ")
    assert all(name in why for name in existing)
    assert last == "make deploy"
    assert cli == []
    aws_commands.run(adopt, aws)
    assert deploy.main(["deploy"]) == 0
    found = values(aws)
    assert {name: found[name] for name in before} == before
    assert found.keys() == {state.HTTP_TOKENS, state.POLICY}
    assert aws.client("dynamodb").list_tables()["TableNames"] == [state.TABLE]
    happened = events(aws)
    before = set_by_hand(aws)
    assert deploy.main(["deploy"]) == 0
    assert (values(aws), events(aws)) == (before, happened)


def test_a_stack_whose_creation_failed_is_removed_first(aws: LocalAws, cli: list[str]) -> None:
    """An import cannot start from a stack that was rolled back."""
    make(aws, state.LOG_GROUP)
    template = json.dumps(state.template())
    first = [{"ParameterKey": "FirstHttpTokens", "ParameterValue": "required"}]
    first.append({"ParameterKey": "FirstPolicy", "ParameterValue": "{}"})
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(StackName=state.STACK, TemplateBody=template, Parameters=first)
    until(lambda: stack(aws)["StackStatus"] == "ROLLBACK_COMPLETE")
    _, delete, *adopt, _ = refused()
    assert delete == f"aws cloudformation delete-stack --region {aws.region} --stack-name ImdsEnforcerState"
    aws_commands.run([delete, *adopt], aws)
    assert deploy.main(["deploy"]) == 0
    assert cli == ["bootstrap", "deploy"]


def test_a_home_stack_that_cannot_be_checked_does_not_lose_its_parameters(
    aws: LocalAws, cli: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The state stack is created first, which fails because the parameters exist."""
    create_before(aws)
    before = values(aws)
    aws.fail("cloudformation:GetTemplate", "AccessDenied", status=403)
    aws.fail("ssm:GetParameters", "AccessDeniedException", status=400)
    with pytest.raises(DeployError, match=r"the stack ImdsEnforcerState failed: .*\n  .*: .*AlreadyExists"):
        deploy.main(["deploy"])
    assert "ImdsEnforcer was not checked for parameters of its own" in capsys.readouterr().err
    aws.clear_faults()
    assert (values(aws), cli) == (before, ["bootstrap"])


YAML = """Resources:
  Policy:
    Type: %s
    Properties:
      Name: /imds-enforcer/policy
"""


@pytest.mark.parametrize(
    ("kind", "theirs"), [("AWS::SSM::Parameter", True), ('"AWS::SSM::Parameter"', True), ("AWS::SNS::Topic", False)]
)
def test_a_template_submitted_as_yaml(aws: LocalAws, cli: list[str], kind: str, *, theirs: bool) -> None:
    """The CDK CLI submits small templates so."""
    cloudformation = aws.client("cloudformation")
    body = YAML % kind if theirs else (YAML % kind).replace("Name: /imds-enforcer/policy", "TopicName: other")
    cloudformation.create_stack(StackName="ImdsEnforcer", TemplateBody=body)
    cloudformation.get_waiter("stack_create_complete").wait(StackName="ImdsEnforcer", WaiterConfig=QUICK)
    if theirs:
        assert "contains toggle, policy and ledger" in refused()[0]
    else:
        assert deploy.main(["deploy"]) == 0
    assert cli == ([] if theirs else ["bootstrap", "deploy"])


def stack_events(aws: LocalAws) -> list[str]:
    """The events of both stacks."""
    cloudformation = aws.client("cloudformation")
    found = []
    for name in ("ImdsEnforcer", state.STACK):
        try:
            found += cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        except ClientError:
            continue
    return [event["EventId"] for event in found]
