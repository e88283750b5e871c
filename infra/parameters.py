"""The two parameters that people change by hand: the toggle and the policy."""

import json

from aws_cdk import CfnParameter, CfnResource
from constructs import Construct

HTTP_TOKENS = "/imds-enforcer/http-tokens"
POLICY = "/imds-enforcer/policy"


class PolicyParameters(Construct):
    """Both parameters, frozen in the template.

    CloudFormation writes a parameter's value again whenever one of its properties changes, a tag included,
    and what was set by hand is lost. Hence plain resources, which no tag of the app reaches, and values
    that are template parameters: the first deployment fills them in, every later one keeps what it used.
    """

    def __init__(self, scope: Construct, construct_id: str, *, http_tokens: str, mode: str) -> None:
        super().__init__(scope, construct_id)
        policy = {} if mode == "enforce" else {"mode": mode}
        self._frozen("HttpTokens", HTTP_TOKENS, http_tokens, AllowedPattern="^(required|optional)$")
        # Standard up to 4 KB, advanced up to 8 KB: the tier follows the size of the policy by itself.
        self._frozen("Policy", POLICY, json.dumps(policy), Tier="Intelligent-Tiering")

    def _frozen(self, construct_id: str, name: str, first_value: str, **properties: str) -> None:
        first = CfnParameter(
            self,
            f"First{construct_id}",
            default=first_value,
            description=f"First value of {name}, for the first deployment only",
        )
        CfnResource(
            self,
            construct_id,
            type="AWS::SSM::Parameter",
            properties={"Name": name, "Type": "String", "Value": first.value_as_string, **properties},
        )
