"""What an account's own rules require: checked before anything is deployed, and in every template."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from infra import deploy
from infra.account_rules import BOUNDARY, QUALIFIER, AccountRules, ContextError
from infra.arguments import Arguments, DeployError
from tests.infra.synthesized import FORWARDED, Stack, Synthesize

TAGS = {"team": "platform", "cost-center": "a=b c"}
POLICY = "arn:aws:iam::111122223333:policy/boundary"


def parse(**values: object) -> AccountRules:
    """The rules with these values; `boundary` and `qualifier` stand for the CDK's longer keys."""
    keys = {"boundary": BOUNDARY, "qualifier": QUALIFIER}
    return AccountRules.parse({keys.get(key, key): value for key, value in values.items()})


@pytest.mark.parametrize(
    "empty", [{}, {"tags": {}, "role_name": "", "role_path": "/", "boundary": "", "qualifier": ""}]
)
def test_nothing_is_required_by_default(empty: dict[str, Any]) -> None:
    """The template does not state the path `/`: that would replace the role of an earlier deployment."""
    assert parse(**empty) == AccountRules(
        tags={},
        role_name=None,
        role_path=None,
        termination_protection=False,
        boundary=None,
        qualifier="hnb659fds",
    )


def test_each_is_read_from_json_and_from_text() -> None:
    """The CDK does not parse values given with -c."""
    values: dict[str, Any] = {"tags": TAGS, "boundary": {"name": "b"}, "termination_protection": True}
    names = {"role_name": "imds+enforcer=,.@-_", "role_path": "/security/imds/", "qualifier": "Strict_-01"}
    rules = parse(**values, **names)
    assert rules == AccountRules(
        tags=TAGS,
        role_name="imds+enforcer=,.@-_",
        role_path="/security/imds/",
        termination_protection=True,
        boundary={"name": "b"},
        qualifier="Strict_-01",
    )
    assert parse(**{key: json.dumps(value) for key, value in values.items()}, **names) == rules
    assert parse(boundary=json.dumps({"arn": POLICY})).boundary == {"arn": POLICY}


LONGEST: dict[str, Any] = {
    "tags": {f"{n:0128}": "v" * 256 for n in range(50)},
    "role_name": "r" * 64,
    "role_path": f"/{'p' * 510}/",
    "qualifier": "q" * 10,
}


def test_the_longest_are_allowed() -> None:
    """Limits of CloudFormation, IAM and the bootstrap."""
    rules = parse(**LONGEST)
    assert {"tags": rules.tags, "role_path": rules.role_path} == {key: LONGEST[key] for key in ("tags", "role_path")}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"tags": "team=x"}, "context 'tags': received 'team=x'; allowed: an object of strings, as in {\"team\": \"x\"}"),
    ({"tags": ["team"]}, "context 'tags': received ['team']; allowed: an object of strings"),
    ({"tags": {"team": 1}}, "context 'tags': received {'team': 1}; allowed: an object of strings"),
    ({"tags": {str(n): "x" for n in range(51)}}, "context 'tags': received '51 tags'; allowed: 50 at most"),
    ({"tags": {"": "x"}}, "context 'tags': received ''; allowed: keys of 1 to 128 characters that do not begin with"),
    ({"tags": {"k" * 129: "x"}}, "allowed: keys of 1 to 128 characters"),
    ({"tags": {"AWS:x": "x"}}, "context 'tags': received 'AWS:x'; allowed: keys of 1 to 128 characters"),
    ({"tags": {"team": ""}}, "context 'tags': received ''; allowed: for 'team' a value of 1 to 256 characters"),
    ({"tags": {"team": "v" * 257}}, "allowed: for 'team' a value of 1 to 256 characters"),
    ({"role_name": "r" * 65}, "allowed: 1 to 64 letters, digits and _+=,.@-; empty for a generated name"),
    ({"role_name": "a/b"}, "context 'role_name': received 'a/b'; allowed: 1 to 64 letters"),
    ({"role_name": "rôle"}, "context 'role_name': received 'rôle'; allowed: "),
    ({"role_name": 3}, "context 'role_name': received 3; allowed: "),
    ({"role_path": "security/"}, "context 'role_path': received 'security/'; allowed: a path from / to /"),
    ({"role_path": "/security"}, "context 'role_path': received '/security'; allowed: "),
    ({"role_path": "/a b/"}, "context 'role_path': received '/a b/'; allowed: "),
    ({"role_path": f"/{'p' * 511}/"}, "without spaces, of 512 characters at most"),
    ({"termination_protection": "yes"}, "context 'termination_protection': received 'yes'; allowed: true | false"),
    ({"termination_protection": 1}, "context 'termination_protection': received 1; allowed: true | false"),
    ({"boundary": "boundary"}, f"context '{BOUNDARY}': received 'boundary'; allowed: "),
    ({"boundary": {"name": ""}}, '; allowed: {"name": "<policy>"} | {"arn": "<its ARN>"}'),
    ({"boundary": {"name": "b", "arn": POLICY}}, f"context '{BOUNDARY}': received {{'name'"),
    ({"boundary": {"arn": "boundary"}}, f"context '{BOUNDARY}': received {{'arn': 'boundary'}}; allowed: "),
    ({"boundary": {"name": 1}}, f"context '{BOUNDARY}': received {{'name': 1}}; allowed: "),
    ({"boundary": []}, f"context '{BOUNDARY}': received []; allowed: "),
    ({"qualifier": "q" * 11}, f"context '{QUALIFIER}': received 'qqqqqqqqqqq'; allowed: 1 to 10 letters, digits, _"),
    ({"qualifier": "a.b"}, f"context '{QUALIFIER}': received 'a.b'; allowed: "),
    ({"qualifier": 12}, f"context '{QUALIFIER}': received 12; allowed: "),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_an_error_names_key_value_and_what_is_allowed(values: dict[str, Any], message: str) -> None:
    """A boundary that the CDK would silently ignore is an error too."""
    with pytest.raises(ContextError) as error:
        parse(**values)
    assert message in str(error.value)


class TestArguments:
    """What `make deploy` itself reads of its arguments."""

    @pytest.fixture(autouse=True)
    def _no_variables(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in [name for name in os.environ if name.startswith("CDK_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))

    @pytest.mark.parametrize("command", ["deploy", "destroy", "destroy-state"])
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["-c", 'tags={"aws:x": "y"}'], "context 'tags': received 'aws:x'; allowed: "),
            (["--tags", "aws:x=y"], "context 'tags': received 'aws:x'; allowed: "),
            (["-c", f"{BOUNDARY}=boundary"], f"context '{BOUNDARY}': received 'boundary'; allowed: "),
            (["-c", f"{QUALIFIER}=a.b"], f"context '{QUALIFIER}': received 'a.b'; allowed: "),
            (["-c", "role_name=a/b"], "context 'role_name': received 'a/b'; allowed: "),
        ],
    )
    def test_they_are_checked_before_aws_is_asked(self, command: str, arguments: list[str], message: str) -> None:
        """This test has no AWS."""
        with pytest.raises(DeployError) as error:
            deploy.main([command, *arguments])
        assert message in str(error.value)

    def test_the_state_gets_both_kinds_of_tags(self) -> None:
        """Each tag of `--tags` overrides the context's; fifty are the maximum."""
        context = ["-c", f"tags={json.dumps(TAGS)}"]
        assert Arguments.parse(context).state_tags() == TAGS
        assert Arguments.parse([*context, "--tags", "team=a", "-t", "new=b=c"]).state_tags() == {
            **TAGS,
            "team": "a",
            "new": "b=c",
        }
        many = [word for n in range(49) for word in ("--tags", f"{n}=x")]
        with pytest.raises(DeployError, match="received '51 tags'; allowed: 50 at most"):
            Arguments.parse([*context, *many])

    def test_this_calls_values_override_standing_ones(self) -> None:
        """As for the CDK."""
        standing = {QUALIFIER: "standing", "role_name": "standing"}
        rules = Arguments(given={QUALIFIER: "given"}, standing=standing).rules()
        assert (rules.qualifier, rules.role_name) == ("given", "standing")

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([], []),
            (["-c", f"{QUALIFIER}=hnb659fds"], []),
            (["-c", f"{QUALIFIER}=st_1"], ["--qualifier", "st_1", "--toolkit-stack-name", "CDKToolkit-st-1"]),
            (["--toolkit-stack-name", "Own"], ["--toolkit-stack-name", "Own"]),
            (
                ["-c", f"{QUALIFIER}=strict", "--toolkit-stack-name=Own"],
                ["--qualifier", "strict", "--toolkit-stack-name", "Own"],
            ),
        ],
    )
    def test_the_bootstrap_of_another_qualifier_has_a_stack_of_its_own(
        self, arguments: list[str], expected: list[str]
    ) -> None:
        """Unless its name is given."""
        assert Arguments.parse(arguments).toolkit() == expected

    def test_the_name_of_that_stack_may_be_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The CLI reads its options from there too."""
        monkeypatch.setenv("CDK_TOOLKIT_STACK_NAME", "Own")
        assert Arguments.parse([]).toolkit() == ["--toolkit-stack-name", "Own"]


WITHOUT_TAGS = {
    "AWS::CloudFormation::WaitConditionHandle",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Permission",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
}
"""The types that cannot have tags (CloudFormation Template Reference)."""


OTHERWISE: dict[str, object] = {BOUNDARY: {"arn": POLICY}, QUALIFIER: ""}
"""Other forms of two values."""


class TestTemplates:
    """In every stack, with every rule at once."""

    @pytest.fixture(params=["ImdsEnforcer", f"ImdsEnforcerForwarder-{FORWARDED}"])
    def name(self, request: pytest.FixtureRequest) -> str:
        """The name of a stack."""
        return str(request.param)

    @pytest.fixture
    def context(self) -> dict[str, object]:
        """The context as `-c` gives it: text."""
        return {
            "regions": FORWARDED,
            "tags": json.dumps(TAGS),
            "role_name": "imds-enforcer",
            "role_path": "/security/",
            "termination_protection": "true",
            BOUNDARY: '{"name": "boundary"}',
            QUALIFIER: "strict",
        }

    def test_tags(self, synthesize: Synthesize, context: dict[str, object], name: str) -> None:
        """The stack has them for CloudFormation, and each resource has them in the template."""
        artifact = synthesize(**context).get_stack_by_name(name)
        assert artifact.tags == TAGS
        for resource in Stack(artifact.template).resources.values():
            listed = resource.get("Properties", {}).get("Tags", [])
            tags = {each["Key"]: each["Value"] for each in listed}
            assert tags == ({} if resource["Type"] in WITHOUT_TAGS else TAGS), resource["Type"]

    def test_the_boundary_of_every_role(self, synthesize: Synthesize, context: dict[str, object], name: str) -> None:
        """By the name of a policy of the account, or by an ARN."""
        for values, expected in (
            (context, "arn:${AWS::Partition}:iam::${AWS::AccountId}:policy/boundary"),
            (context | OTHERWISE, POLICY),
        ):
            template = synthesize(**values).get_stack_by_name(name).template
            roles = Stack(template).of_type("AWS::IAM::Role").values()
            assert roles
            assert {role["PermissionsBoundary"] for role in roles} == {expected}

    def test_the_qualifier(self, synthesize: Synthesize, context: dict[str, object], name: str) -> None:
        """It selects the roles that deploy and the bootstrap, and no other appears; if empty, it is the CDK's."""
        role = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/cdk-%s-%s-role-${AWS::AccountId}-eu-central-1"
        for values, qualifier in ((context, "strict"), (context | OTHERWISE, "hnb659fds")):
            artifact = synthesize(**values).get_stack_by_name(name)
            assert artifact.assume_role_arn == role % (qualifier, "deploy")
            assert artifact.cloud_formation_execution_role_arn == role % (qualifier, "cfn-exec")
            for parameter in artifact.template.get("Parameters", {}).values():
                assert parameter["Default"] == f"/cdk-bootstrap/{qualifier}/version"
            assert qualifier == "hnb659fds" or "hnb659fds" not in json.dumps(artifact.template)

    def test_termination_protection(self, synthesize: Synthesize, context: dict[str, object], name: str) -> None:
        """The CLI sets it."""
        assert synthesize(**context).get_stack_by_name(name).termination_protection
        assert not synthesize(regions=[FORWARDED]).get_stack_by_name(name).termination_protection

    def test_name_and_path_are_those_of_the_functions_role(
        self, synthesize: Synthesize, context: dict[str, object], name: str
    ) -> None:
        """Exceptions in service control policies name this role; the other roles keep generated names."""
        roles = Stack(synthesize(**context).get_stack_by_name(name).template).of_type("AWS::IAM::Role")
        named = {
            (role, properties.get("RoleName"), properties.get("Path"))
            for role, properties in roles.items()
            if {"RoleName", "Path"} & properties.keys()
        }
        assert named == ({("EnforcerRole", "imds-enforcer", "/security/")} if name == "ImdsEnforcer" else set())
