"""`imds-enforcer policy set` with account defaults: the next launch proves which launchers it names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imds_enforcer_cli.account.connection import HTTP_TOKENS_PARAMETER, LEDGER_TABLE, POLICY_PARAMETER, STATE_STACK
from infra.local import operator
from infra.local.client import LocalAws
from infra.local.ledger_table import create_ledger_table

IMAGE = "ami-0abcdef1234567890"
OPTIONAL = {"MetadataOptions": {"HttpTokens": "optional"}}


class Account:
    """An account with the enforcer's state and two templates, each with a group of one instance.

    Template `silent` does not name tokens; `spoken` sets them optional.
    """

    def __init__(self, aws: LocalAws) -> None:
        self.aws, self._groups = aws, aws.client("autoscaling")
        for name, value in ((HTTP_TOKENS_PARAMETER, "required"), (POLICY_PARAMETER, "{}")):
            aws.client("ssm").put_parameter(Name=name, Value=value, Type="String")
        create_ledger_table(aws, LEDGER_TABLE)
        nothing = {"Resources": {"Nothing": {"Type": "AWS::CloudFormation::WaitConditionHandle"}}}
        aws.client("cloudformation").create_stack(StackName=STATE_STACK, TemplateBody=json.dumps(nothing))
        self.instances = {name: self._launched(name, data) for name, data in (("silent", {}), ("spoken", OPTIONAL))}

    def _launched(self, name: str, data: Mapping[str, Any]) -> str:
        template = {"ImageId": IMAGE, "InstanceType": "t3.micro", **data}
        self.aws.client("ec2").create_launch_template(LaunchTemplateName=name, LaunchTemplateData=template)
        self._groups.create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=0,
            MaxSize=9,
            AvailabilityZones=[f"{self.aws.region}a"],
            LaunchTemplate={"LaunchTemplateName": name, "Version": "$Latest"},
        )
        return self.grown(name)

    def grown(self, name: str) -> str:
        """The next instance of a group."""
        before = self._members(name)
        self._groups.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=len(before) + 1)
        [new] = self._members(name) - before
        return new

    def _members(self, name: str) -> set[str]:
        [group] = self._groups.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return {each["InstanceId"] for each in group["Instances"]}

    def tokens(self, instance_id: str) -> str:
        """HttpTokens of an instance."""
        return str(self.aws.metadata_options(instance_id)["HttpTokens"])


def test_the_next_instance_of_a_named_launcher_requires_tokens(aws: LocalAws, tmp_path: Path) -> None:
    """A group that sets its tokens is not named, although an instance is exempt; its next one stays optional."""
    account = Account(aws)
    assert {account.tokens(each) for each in account.instances.values()} == {"optional"}
    exemptions = [{"match": {"instance_id": each}, "reason": "vendor"} for each in account.instances.values()]
    policy = tmp_path / "policy.json"
    policy.write_text(
        json.dumps({"regions": {"include": [aws.region]}, "account_defaults": {}, "exemptions": exemptions})
    )
    stored = operator.answer(aws, "policy", "set", str(policy), "--yes")
    assert {each["id"]: each["exempt"] for each in stored["launchers"] if each["kind"] == "auto_scaling_group"} == {
        "silent": 1
    }
    assert {account.tokens(account.grown(name)) for name in account.instances} == {"optional"}
    aws.client("ec2").modify_instance_metadata_defaults(HttpTokens="required")
    assert {name: account.tokens(account.grown(name)) for name in account.instances} == {
        "silent": "required",
        "spoken": "optional",
    }
