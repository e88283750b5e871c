"""What `make demo-lifecycle` sets by hand, and the checks that it is still there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.demo.acts import console, expect, put_in_force
from infra.demo.fleet import HOME
from infra.local import operator
from infra.local.deployment import HTTP_TOKENS, POLICY

if TYPE_CHECKING:
    from infra.local.client import LocalAws
    from infra.local.deployment import Deployment

EXEMPTION = {"match": {"tag": {"key": "imds", "value": "v1"}}, "reason": "vendor appliance", "owner": "network team"}
WHY = "moves next week"


@dataclass
class Kept:
    """Four instances launched with optional tokens, and toggle and policy as set by hand."""

    aws: LocalAws
    exempt: str
    held: str
    first: str
    second: str
    stored: dict[str, str]

    @classmethod
    def set_by_hand(cls, aws: LocalAws, enforcer: Deployment) -> Kept:
        """Launch them while the toggle is `optional`; exempt one, hold one, then set the toggle to `required`."""
        [exempt] = aws.launch(tags={"imds": "v1"}, HttpTokens="optional")
        held, first, second = aws.launch(count=3, HttpTokens="optional")
        put_in_force(enforcer, {"exemptions": [EXEMPTION]})
        operator.answer(aws, "hold", held, "--reason", WHY)
        report = enforcer.settle(http_tokens=enforcer.set_http_tokens("required"))
        console.print(f"  {report['outcomes']}")
        expect(report["outcomes"], {"REMEDIATED": 2, "EXEMPT": 1, "HELD": 1})
        return cls(aws, exempt, held, first, second, stored(aws))

    def revert_without_enforcer(self) -> None:
        """Check that `history` and `revert` work without an enforcer."""
        history = operator.answer(self.aws, "history")
        console.print(f"  imds-enforcer history: {len(history)} changes")
        self._revert(self.first, "the shop is down")

    def expect_all(self, enforcer: Deployment) -> None:
        """Check that toggle, policy, holds, exemptions and history are still there, and that the function uses them."""
        self.expect_values()
        report = enforcer.invoke({})
        console.print(f"  a sweep: {report['outcomes']}")
        expect(report["outcomes"], {"EXEMPT": 1, "HELD": 2})
        self._revert(self.second, "so is this one")
        instances = (self.exempt, self.held, self.first, self.second)
        expect([self._tokens(each) for each in instances], ["optional"] * 4)

    def expect_values(self) -> None:
        """Check that toggle and policy are as they were set by hand."""
        expect(stored(self.aws), self.stored)
        for name, value in self.stored.items():
            console.print(f"  {name} = {value}", markup=False)

    def _revert(self, instance_id: str, reason: str) -> None:
        operator.answer(self.aws, "revert", instance_id, "--yes", "--reason", reason)
        expect(self._tokens(instance_id), "optional")

    def _tokens(self, instance_id: str) -> str:
        return str(self.aws.metadata_options(instance_id)["HttpTokens"])


def stored(aws: LocalAws) -> dict[str, str]:
    """Toggle and policy."""
    found = aws.client("ssm").get_parameters(Names=[HTTP_TOKENS, POLICY])["Parameters"]
    return {each["Name"]: each["Value"] for each in found}


def stacks(aws: LocalAws) -> set[str]:
    """The stacks of the home region."""
    return {each["StackName"] for each in aws.client("cloudformation", HOME).describe_stacks()["Stacks"]}
