"""`make demo-prevention`: stop launches that allow IMDSv1 in the first place.

A group keeps launching instances that allow IMDSv1; `imds-enforcer launches` names what launches them, `fix` makes the
launch template require tokens, and `undo` reverts that. Then the enforcer sets the account's defaults, and
`imds-enforcer status` names a launch that EC2 refuses because of them. Anything that is not as it should be ends the
demo with exit code 1.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from infra.demo.acts import act, console, ended_well, expect, put_in_force
from infra.demo.fleet import HOME
from infra.local import operator
from infra.local.deployment import deploy
from infra.local.waiting import until

if TYPE_CHECKING:
    from infra.local.client import LocalAws
    from infra.local.deployment import Deployment

NAME = "web"
TEMPLATE = {
    "ImageId": "ami-0abcdef1234567890",
    "InstanceType": "t3.micro",
    "MetadataOptions": {"HttpTokens": "optional", "HttpPutResponseHopLimit": 2},
}
ENFORCED = {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpTokensEnforced": "enabled"}
CHANGE = "ec2:ModifyInstanceMetadataOptions"


def main() -> int:
    """Play every act; returns 0 only if each ended as it should."""
    return ended_well(play)


def play(aws: LocalAws) -> None:
    """The story, act by act."""
    with act("Deploy: make deploy CDK_ARGS='-c account_defaults=true'; a group that launches with HttpTokens optional"):
        enforcer = deploy(aws, "-c", "account_defaults=true")
        group = Group(aws)

    with act("The group grows, twice: the enforcer fixes each instance, and the next one allows IMDSv1 again"):
        for _ in range(2):
            instance_id, tokens = group.grow()
            seconds = enforcer.wait_for([instance_id], HttpTokens="required")
            console.print(f"  {instance_id} launched with {tokens}, required after {seconds:.1f} s")
            expect(tokens, "optional")

    with act("imds-enforcer launches"):
        named = [each for each in operator.answer(aws, "launches")["launchers"] if NAME in each["launcher"]]
        for each in named:
            console.print(f"  {each['launcher']}: {each['why']}\n    to change: {each['advice']}", markup=False)
        expect({each["id"] for each in named if each["launches_imdsv1"]}, {NAME, group.template})

    with act(f"imds-enforcer launches fix {NAME}: a new version that requires tokens, and the group grows"):
        fixed = operator.answer(aws, "launches", "fix", NAME, "--regions", HOME, "--yes")
        console.print(f"  {[each['outcome'] for each in fixed['launchers']]}")
        changes = enforcer.calls()[CHANGE]
        instance_id, tokens = group.grow()
        enforcer.drain()
        console.print(f"  {instance_id} launched with {tokens}; the enforcer had nothing to fix")
        expect((tokens, enforcer.calls()[CHANGE]), ("required", changes))
        expect(group.versions(), {"1": "optional", "2": "required"})

    with act(f"imds-enforcer launches undo {NAME}: the template is as before"):
        operator.answer(aws, "launches", "undo", NAME, "--yes")
        _, tokens = group.grow()
        console.print(f"  the next instance is launched with {tokens}")
        expect((tokens, group.versions()), ("optional", {"1": "optional"}))

    with act("The policy sets the account's defaults, and makes EC2 refuse launches that do not require tokens"):
        put_in_force(enforcer, {"account_defaults": {"enforce_tokens": True}})
        expect_defaults(aws)

    with act("An operator switches that off by hand: the enforcer switches it on again at once"):
        aws.client("ec2").modify_instance_metadata_defaults(HttpTokensEnforced="disabled")
        expect_defaults(aws)

    with act("The group grows: EC2 refuses the launch, and imds-enforcer status names the launcher"):
        expect(group.refused(), 1)
        console.print(f"  {refused_launch(enforcer)}", markup=False)

    console.print("\n[bold green]Everything is as it should be.[/]")


class Group:
    """An Auto Scaling group; `template` is the id of the launch template that it uses."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws, self._ec2, self._groups = aws, aws.client("ec2"), aws.client("autoscaling")
        made = self._ec2.create_launch_template(LaunchTemplateName=NAME, LaunchTemplateData=TEMPLATE)
        self.template = made["LaunchTemplate"]["LaunchTemplateId"]
        self._groups.create_auto_scaling_group(
            AutoScalingGroupName=NAME,
            LaunchTemplate={"LaunchTemplateId": self.template, "Version": "$Default"},
            MinSize=0,
            MaxSize=9,
            AvailabilityZones=[f"{HOME}a"],
        )

    def grow(self) -> tuple[str, str]:
        """Launch one more instance; returns its id and the HttpTokens that it was launched with."""
        before = self._members()
        self._ask_for(len(before) + 1)
        [instance_id] = self._members() - before
        return instance_id, str(self._launched_with(instance_id))

    def refused(self) -> int:
        """Request one more instance; returns how many launches have failed."""
        self._ask_for(len(self._members()) + 1)
        activities = self._groups.describe_scaling_activities(AutoScalingGroupName=NAME)["Activities"]
        return sum(each["StatusCode"] == "Failed" for each in activities)

    def versions(self) -> dict[str, str]:
        """HttpTokens by version of the template."""
        answer = self._ec2.describe_launch_template_versions(LaunchTemplateId=self.template)
        return {
            str(each["VersionNumber"]): each["LaunchTemplateData"]["MetadataOptions"]["HttpTokens"]
            for each in answer["LaunchTemplateVersions"]
        }

    def _ask_for(self, instances: int) -> None:
        self._groups.set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=instances)

    def _members(self) -> set[str]:
        [group] = self._groups.describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])["AutoScalingGroups"]
        return {each["InstanceId"] for each in group["Instances"]}

    def _launched_with(self, instance_id: str) -> Any:
        """The HttpTokens in the version of the template that the instance's tags name."""
        answer = self._ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
        tags = {each["Key"]: each["Value"] for each in answer["Tags"]}
        return self.versions()[tags["aws:ec2launchtemplate:version"]]


def expect_defaults(aws: LocalAws) -> None:
    """Wait until the home region has the defaults of the policy."""

    def defaults() -> dict[str, Any]:
        level = aws.client("ec2").get_instance_metadata_defaults()["AccountLevel"]
        return {name: level.get(name) for name in ENFORCED}

    until(defaults, lambda found: found == ENFORCED, seconds=60)
    console.print(f"  {HOME}: {json.dumps(ENFORCED)}")


def refused_launch(enforcer: Deployment) -> str:
    """The line of `status` about the one refused launch."""

    def lines() -> list[str]:
        done = operator.run(enforcer.aws, "status", "--output", "json")
        return [each["line"] for each in json.loads(done.stdout)["refused_launchers"]]

    [line] = until(lines, lambda found: len(found) == 1, seconds=60)
    return str(line)


if __name__ == "__main__":
    sys.exit(main())
