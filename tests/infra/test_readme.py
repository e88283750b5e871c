"""infra/README.md lists the actual permissions, context, outputs, outcomes and alarms."""

import json
import re
from collections.abc import Iterable

import pytest
from aws_cdk.cx_api import CloudAssembly

from imds_enforcer.model import Outcome
from infra import app, arguments
from infra.arguments import ROOT
from tests.e2e.test_permissions import ASSERTED_IN_THE_TEMPLATE, SEEN_WITHOUT
from tests.infra.synthesized import FORWARDED, HOME, Stack, Synthesize

README = (ROOT / "infra" / "README.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")
NAMES = {
    "partition": "${AWS::Partition}",
    "region": "${AWS::Region}",
    "account": "${AWS::AccountId}",
    "home region": HOME,
    "event queue": "${EventsQueue.Arn}",
    "lost invocations": "${LostInvocationsDeadLetters.Arn}",
    "topic": "${NotificationsTopic}",
    "key": "${Key.Arn}",
    "function": "${EnforcerFunction.Arn}",
}
"""How the templates refer to what the README writes as `<…>`."""


def rows(before: str) -> list[list[list[str]]]:
    """The first table after this text: the code in each cell, row by row."""
    table = re.search(r"\|---[-|]*\n((?:\|.*\n)+)", README[README.index(before) :])
    assert table
    return [[CODE.findall(cell) for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def first_column(before: str) -> set[str]:
    """The names in the first column of the table after this text."""
    return {name for row in rows(before) for name in row[0]}


ROLES = [
    ("### Role of the function", "keeping", "EnforcerRole"),
    ("### Role of the schedules", "home", "TriggersSchedulerRole"),
    ("### Role of a forwarder", "forwarder", "Role"),
]
"""The table of each role: its heading, the stack, and the role's name there."""


def test_every_role_has_its_table(home: Stack, forwarder: Stack, assembly: CloudAssembly) -> None:
    """Nothing else in the stacks gives a role permissions: no separate policy, no managed one."""
    stacks = {"home": home, "forwarder": forwarder}
    roles = [("home" if stack == "keeping" else stack, role) for _, stack, role in ROLES]
    assert len(assembly.stacks) == len(stacks)
    assert re.findall("^### Role .*$", README, re.MULTILINE) == [heading for heading, _, _ in ROLES]
    found = {
        (stack, name, resource["Type"])
        for stack, template in stacks.items()
        for name, resource in template.resources.items()
        if resource["Type"].startswith("AWS::IAM::")
    }
    assert found == {(stack, role, "AWS::IAM::Role") for stack, role in roles}
    for stack, role in roles:
        assert {*stacks[stack].properties(role)} == {"AssumeRolePolicyDocument", "Policies"}


def test_a_test_removes_every_statement_of_the_functions_role() -> None:
    """An end-to-end test does, or a reason says why not."""
    sids = [sid for [sid], *_ in rows("### Role of the function")]
    assert {*sids} == SEEN_WITHOUT.keys() | ASSERTED_IN_THE_TEMPLATE.keys()
    assert not SEEN_WITHOUT.keys() & ASSERTED_IN_THE_TEMPLATE.keys()


@pytest.fixture
def keeping(synthesize: Synthesize) -> Stack:
    """The home stack with the context that adds permissions."""
    return Stack(synthesize(account_defaults=True).get_stack_by_name("ImdsEnforcer").template)


@pytest.mark.parametrize(("heading", "stack", "role"), ROLES)
def test_permissions(request: pytest.FixtureRequest, heading: str, stack: str, role: str) -> None:
    """Every statement of the role with its actions and resources, in the template's order."""
    template: Stack = request.getfixturevalue(stack)
    statements = [
        statement
        for policy in template.properties(role)["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    for statement in statements:
        statement.pop("Condition", None)
    assert [
        {"Sid": sid, "Effect": "Allow", "Action": one_or_all(actions), "Resource": one_or_all(map(named, resources))}
        for [sid], actions, resources, _why in rows(heading)
    ] == statements


def test_conditions(synthesize: Synthesize) -> None:
    """Every statement with a condition; here with the floor, which adds one."""
    assembly = synthesize(regions=[FORWARDED], floor="required")
    conditions = {
        statement["Sid"]: statement["Condition"]
        for template in assembly.stacks
        for role in Stack(template.template).of_type("AWS::IAM::Role").values()
        for policy in role["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        if "Condition" in statement
    }
    assert {sid: json.loads(condition) for [sid], [condition], _why in rows("Conditions of these")} == conditions


def one_or_all(values: Iterable[str]) -> str | list[str]:
    """A list as the CDK writes it: a single value stands alone."""
    listed = [*values]
    return listed[0] if len(listed) == 1 else listed


def named(resource: str) -> str:
    """A resource as the template refers to it."""
    return re.sub(r"<([^>]+)>", lambda name: NAMES[name[1]], resource)


def test_context_and_outcomes() -> None:
    """Every context key, and every outcome."""
    assert first_column("Context, in `cdk.json`") == {*app.KEYS, *arguments.KEYS}
    assert first_column("### Outcomes") == {*Outcome}


def test_outputs_and_alarms(home: Stack) -> None:
    """Every output, and every alarm by its name in the stack."""
    assert first_column("Outputs of `ImdsEnforcer`") == {*home.outputs()}
    alarms = {name.removeprefix("Alarms") for name in home.of_type("AWS::CloudWatch::Alarm")}
    assert first_column("### Alarms") == alarms
