"""A forwarder: what a region other than home needs for its events to reach the enforcer."""

from aws_cdk import Aws, BootstraplessSynthesizer, CfnParameter, DefaultStackSynthesizer, Environment, Stack, Tags
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import patterns
from infra.account_rules import AccountRules
from infra.events import BUS_NAME

_REGION = "[a-z]+(-[a-z]+)+-[0-9]+"


class ForwarderStack(Stack):
    """The rules that send to the bus in the home region; without `home_region`, the template has a parameter for it.

    The stack has no assets, so its region needs no bootstrap: the roles of the home region's bootstrap deploy it.

    It has no dead-letter queue either, which would need an alarm and attention in every region: the next sweep makes
    up for a lost event.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        rules: AccountRules,
        home_region: str | None = None,
        env: Environment | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            env=env,
            description=f"Forwards EC2 events to the IMDS enforcer in {home_region or 'its home region'}",
            tags=rules.tags,
            termination_protection=rules.termination_protection,
            synthesizer=_with_roles_of(home_region, rules.qualifier) if home_region else None,
        )
        for key, value in rules.tags.items():
            Tags.of(self).add(key, value)
        home = home_region or self._home_region_parameter()
        bus = f"arn:{Aws.PARTITION}:events:{home}:{Aws.ACCOUNT_ID}:event-bus/{BUS_NAME}"
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "events.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            ),
            inline_policies={
                "forward": iam.PolicyDocument(
                    statements=[
                        # All that the rules do; within one account, the bus needs no policy of its own.
                        iam.PolicyStatement(sid="SendHome", actions=["events:PutEvents"], resources=[bus])
                    ]
                )
            },
        )
        for name, pattern in patterns.instance_events().items():
            events.CfnRule(
                self,
                name,
                event_pattern=pattern,
                targets=[events.CfnRule.TargetProperty(id="Home", arn=bus, role_arn=role.role_arn)],
            )

    def _home_region_parameter(self) -> str:
        about = "The region of the stack ImdsEnforcer; deploy this stack to another region"
        return CfnParameter(self, "HomeRegion", description=about, allowed_pattern=_REGION).value_as_string


def _with_roles_of(home_region: str, qualifier: str) -> BootstraplessSynthesizer:
    def arn(template: str) -> str:
        return template.replace("${Qualifier}", qualifier).replace("${AWS::Region}", home_region)

    return BootstraplessSynthesizer(
        deploy_role_arn=arn(DefaultStackSynthesizer.DEFAULT_DEPLOY_ROLE_ARN),
        cloud_formation_execution_role_arn=arn(DefaultStackSynthesizer.DEFAULT_CLOUDFORMATION_ROLE_ARN),
    )
