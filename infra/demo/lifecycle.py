"""`make demo-lifecycle`: what people set by hand outlives every deployment, and the end of one.

Deployed, changed by hand, deployed again, destroyed, deployed once more: toggle, holds, exemptions and the way back
are still there. Anything that is not as it should be ends the demo with exit code 1.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from infra.demo.acts import act, console, ended_well, expect, put_in_force
from infra.demo.fleet import HOME
from infra.local import operator
from infra.local.deployment import HTTP_TOKENS, POLICY, STATE, command, deploy

if TYPE_CHECKING:
    from infra.local.client import LocalAws

EXEMPTION = {"match": {"tag": {"key": "imds", "value": "v1"}}, "reason": "vendor appliance", "owner": "network team"}
WHY = "moves next week"


def main() -> int:
    """Play every act; 0 only if each ended as it should."""
    return ended_well(play)


def play(aws: LocalAws) -> None:
    """The story, act by act."""
    with act("Deploy: make deploy CDK_ARGS='-c http_tokens=optional --tags team=platform'"):
        enforcer = deploy(aws, "-c", "http_tokens=optional", "--tags", "team=platform")
        expect(stored(aws), {HTTP_TOKENS: "optional", POLICY: "{}"})
        [exempt] = aws.launch(tags={"imds": "v1"}, HttpTokens="optional")
        held, first, second = aws.launch(count=3, HttpTokens="optional")

    with act("By hand: an exemption, a hold, then the toggle: required"):
        put_in_force(enforcer, {"exemptions": [EXEMPTION]})
        operator.answer(aws, "hold", held, "--reason", WHY)
        report = enforcer.settle(http_tokens=enforcer.set_http_tokens("required"))
        console.print(f"  {report['outcomes']}")
        expect(report["outcomes"], {"REMEDIATED": 2, "EXEMPT": 1, "HELD": 1})
        before = stored(aws)

    with act("Deploy again, with -c mode=audit: refused, as it would not be used"):
        refusal = command(aws, "deploy", "-c", "mode=audit")
        console.print(f"  {refusal.stderr.strip()}", markup=False)
        expect(refusal.returncode, 1)

    with act("Deploy again, with another tag: what was set by hand stays"):
        deploy(aws, "--tags", "team=security")
        expect(stored(aws), before)
        show(aws)

    with act("make destroy: the enforcer is gone, its state is not"):
        done = command(aws, "destroy")
        console.print(f"  {done.stdout.splitlines()[-1]}", markup=False)
        expect((done.returncode, stacks(aws)), (0, {"CDKToolkit", STATE}))
        history = operator.answer(aws, "history")
        console.print(f"  imds-enforcer history: {len(history)} changes")
        operator.answer(aws, "revert", first, "--yes", "--reason", "the shop is down")
        expect(tokens(aws, first), "optional")

    with act("Deploy once more: toggle, holds, exemptions and the way back are still there"):
        enforcer = deploy(aws)
        expect(stored(aws), before)
        show(aws)
        report = enforcer.invoke({})
        console.print(f"  a sweep: {report['outcomes']}")
        expect(report["outcomes"], {"EXEMPT": 1, "HELD": 2})
        operator.answer(aws, "revert", second, "--yes", "--reason", "so is this one")
        expect([tokens(aws, each) for each in (exempt, held, first, second)], ["optional"] * 4)

    with act("make destroy, make destroy-state CONFIRM=ImdsEnforcerState: nothing is left"):
        expect(command(aws, "destroy").returncode, 0)
        expect(command(aws, "destroy-state").returncode, 1)
        done = command(aws, "destroy-state", confirm=STATE)
        console.print(f"  {done.stdout.strip()}", markup=False)
        expect((done.returncode, stacks(aws), stored(aws)), (0, {"CDKToolkit"}, {}))
    console.print("\n[bold green]Everything is as it should be.[/]")


def stored(aws: LocalAws) -> dict[str, str]:
    """Toggle and policy."""
    found = aws.client("ssm").get_parameters(Names=[HTTP_TOKENS, POLICY])["Parameters"]
    return {each["Name"]: each["Value"] for each in found}


def show(aws: LocalAws) -> None:
    """Both, as they are."""
    for name, value in stored(aws).items():
        console.print(f"  {name} = {value}", markup=False)


def stacks(aws: LocalAws) -> set[str]:
    """The stacks of the home region."""
    return {each["StackName"] for each in aws.client("cloudformation", HOME).describe_stacks()["Stacks"]}


def tokens(aws: LocalAws, instance_id: str) -> str:
    """The instance's HttpTokens."""
    return str(aws.metadata_options(instance_id)["HttpTokens"])


if __name__ == "__main__":
    sys.exit(main())
