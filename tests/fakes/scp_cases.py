"""Requests that the SCP of a policy must deny or allow: one table for our own evaluator and for a simulator."""

from __future__ import annotations

from functools import partial

from imds_enforcer.model import HttpTokens
from imds_enforcer.policy import RegionSelection
from tests.fakes.examples import ACCOUNT, AWAY, HOME, OTHER_ACCOUNT, a_policy, an_exemption
from tests.fakes.scp_requests import (
    BY_CONFIGURATION,
    CONFIGURATION,
    DEFAULTS,
    DELIVERY,
    DEPLOYER,
    ENFORCER,
    GROUP,
    IMPOSTORS,
    INSTANCE,
    MODIFY,
    NEW_INSTANCE,
    OPERATOR,
    OPERATOR_ELSEWHERE,
    PARAMETERS,
    STRANGER,
    TABLE,
    TOKENS,
    VERSION_SPECIFIED,
    Case,
    a_role,
)

REQUIRED = {TOKENS: "required"}
TOGGLE_OPTIONAL = a_policy(HttpTokens.OPTIONAL)
ALL_BUT_AWAY = a_policy(regions=RegionSelection(exclude=(AWAY,)))
ONLY_HOME = a_policy(regions=RegionSelection(include=(HOME,)))
TAGGED = a_policy(exemptions=(an_exemption(tag_key="imds-*"), an_exemption(tag_key="legacy[*]")))


def _launches() -> list[Case]:
    launch = partial(Case, action="ec2:RunInstances", resource=NEW_INSTANCE)
    refused = partial(launch, refused=("Launches",))
    optional = {TOKENS: "optional"}
    subnet = f"arn:aws:ec2:{HOME}:{ACCOUNT}:subnet/subnet-0123456789abcdef0"
    return [
        launch(what="a launch that requires tokens", keys=REQUIRED),
        refused(what="a launch that makes them optional", keys=optional),
        refused(what="a launch that says nothing"),
        refused(what="an operator's launch that says nothing", by=OPERATOR),
        Case(what="the subnet of a launch", action="ec2:RunInstances", resource=subnet),
        launch(what="a launch while the toggle is optional", keys=optional, policy=TOGGLE_OPTIONAL),
        launch(what="a launch in a region left out", keys=optional, policy=ALL_BUT_AWAY, region=AWAY),
        refused(what="a launch in a region not left out", keys=optional, policy=ALL_BUT_AWAY),
        launch(what="a launch in a region not included", keys=optional, policy=ONLY_HOME, region=AWAY),
        refused(what="a launch in a region included", keys=optional, policy=ONLY_HOME),
        Case(what="a termination", action="ec2:TerminateInstances", resource=INSTANCE),
    ]


def _launchers() -> list[Case]:
    configure = partial(Case, action="autoscaling:CreateLaunchConfiguration", resource=CONFIGURATION)
    key = "autoscaling:MetadataHttpTokens"
    found = [
        configure(what="a launch configuration that requires tokens", keys={key: "required"}),
        configure(
            what="a launch configuration that makes them optional",
            keys={key: "optional"},
            refused=("LaunchConfigurations",),
        ),
        configure(what="a launch configuration that says nothing", refused=("LaunchConfigurations",)),
        configure(what="a launch configuration while the toggle is optional", policy=TOGGLE_OPTIONAL),
        configure(what="a launch configuration in a region left out", policy=ALL_BUT_AWAY, region=AWAY),
    ]
    for action in ("autoscaling:CreateAutoScalingGroup", "autoscaling:UpdateAutoScalingGroup"):
        group = partial(Case, action=action, resource=GROUP)
        number, alias = {VERSION_SPECIFIED: "true"}, {VERSION_SPECIFIED: "false"}
        found += [
            group(what=f"{action} with a version by its number", keys=number),
            group(what=f"{action} with $Latest", keys=alias, refused=("TemplateVersions",)),
            group(
                what=f"{action} with a launch configuration", keys=BY_CONFIGURATION, refused=("NoLaunchConfigurations",)
            ),
            group(what=f"{action} with $Latest, toggle optional", keys=alias, policy=TOGGLE_OPTIONAL),
            group(what=f"{action} with $Latest in a region left out", keys=alias, policy=ALL_BUT_AWAY, region=AWAY),
            group(
                what=f"{action} with a launch configuration in a region left out",
                keys=BY_CONFIGURATION,
                policy=ALL_BUT_AWAY,
                region=AWAY,
            ),
        ]
    return [*found, Case(what="a new size of a group", action="autoscaling:UpdateAutoScalingGroup", resource=GROUP)]


def _changes() -> list[Case]:
    found = []
    for action, resource in ((MODIFY, INSTANCE), (DEFAULTS, "*")):
        change = partial(Case, action=action, resource=resource)
        let_through = (ENFORCER, a_role("security/imds-enforcer", OTHER_ACCOUNT), OPERATOR, OPERATOR_ELSEWHERE)
        found += [change(what=f"{action} by {by}", by=by) for by in let_through]
        found += [
            change(what=f"{action} by {by}", by=by, refused=("Options",)) for by in (STRANGER, DEPLOYER, *IMPOSTORS)
        ]
        found += [
            change(what=f"{action} while the toggle is optional", policy=TOGGLE_OPTIONAL, refused=("Options",)),
            change(what=f"{action} in a region left out", policy=ALL_BUT_AWAY, region=AWAY),
        ]
    return [*found, Case(what="a look at instances", action="ec2:DescribeInstances", resource="*")]


def _tags() -> list[Case]:
    found = []
    for action in ("ec2:CreateTags", "ec2:DeleteTags"):
        tag = partial(Case, action=action, resource=INSTANCE, policy=TAGGED)
        exempting = partial(tag, keys={"aws:TagKeys": ["Name", "imds-v1"]})
        found += [
            tag(what=f"{action} of other keys", keys={"aws:TagKeys": ["Name", "imds"]}),
            exempting(what=f"{action} of an exempting key", refused=("ExemptingTags",)),
            exempting(what=f"{action} of an exempting key by an operator", by=OPERATOR),
            exempting(what=f"{action} of an exempting key by the enforcer", by=ENFORCER, refused=("ExemptingTags",)),
            tag(what=f"{action} of an exempting key's like", keys={"aws:TagKeys": ["legacy-1"]}),
            tag(what=f"{action} of a key with a star", keys={"aws:TagKeys": ["legacy*"]}, refused=("ExemptingTags",)),
            Case(
                what=f"{action} of a volume",
                action=action,
                resource=f"arn:aws:ec2:{HOME}:{ACCOUNT}:volume/vol-0123456789abcdef0",
                keys={"aws:TagKeys": ["imds-v1"]},
                policy=TAGGED,
            ),
        ]
    return found


def _template_changes() -> list[Case]:
    template = f"arn:aws:ec2:{HOME}:{ACCOUNT}:launch-template/lt-0123456789abcdef0"
    actions = ("ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate", "ec2:DeleteLaunchTemplateVersions")
    return [Case(what=f"{each} by an operator", by=OPERATOR, action=each, resource=template) for each in actions]


def _state() -> list[Case]:
    writes = [
        *((action, each) for each in PARAMETERS for action in ("ssm:PutParameter", "ssm:DeleteParameter")),
        *(("ssm:DeleteParameters", each) for each in PARAMETERS),
        *(
            (f"dynamodb:{name}", TABLE)
            for name in (
                *("BatchWriteItem", "PutItem", "UpdateItem", "DeleteItem"),
                *("PartiQLInsert", "PartiQLUpdate", "PartiQLDelete"),
                *("DeleteTable", "UpdateTable", "UpdateTimeToLive", "UpdateContinuousBackups", "PutResourcePolicy"),
            )
        ),
    ]
    found = []
    for action, resource in writes:
        write = partial(Case, action=action, resource=resource)
        found += [write(what=f"{action} by {by}", by=by) for by in (ENFORCER, OPERATOR, DEPLOYER)]
        found += [write(what=f"{action} by {by}", by=by, refused=("State",)) for by in (STRANGER, *IMPOSTORS)]
    reads = [("ssm:GetParameters", PARAMETERS[0]), ("dynamodb:Query", TABLE), ("dynamodb:Scan", f"{TABLE}/index/open")]
    others = [("ssm:PutParameter", f"{PARAMETERS[0]}-2"), ("dynamodb:PutItem", f"{TABLE}-2")]
    found += [Case(what=f"{action} of {resource}", action=action, resource=resource) for action, resource in reads]
    found += [Case(what=f"{action} of {resource}", action=action, resource=resource) for action, resource in others]
    return [
        *found,
        Case(
            what="the toggle in a region left out",
            action="ssm:PutParameter",
            resource=PARAMETERS[0],
            policy=ALL_BUT_AWAY,
            region=AWAY,
            refused=("State",),
        ),
    ]


def _deliveries() -> list[Case]:
    read = partial(Case, action="s3:ListAllMyBuckets", resource="*")
    old = {DELIVERY: "1.0"}
    return [
        read(what="a call with credentials through IMDSv1", keys=old, role_delivery=True, refused=("RoleDelivery",)),
        read(what="a call with credentials through IMDSv2", keys={DELIVERY: "2.0"}, role_delivery=True),
        read(what="a call with other credentials", role_delivery=True),
        read(what="a call with credentials through IMDSv1, not asked for", keys=old),
        Case(what="the enforcer's change", by=ENFORCER, action=MODIFY, resource=INSTANCE, role_delivery=True),
    ]


CASES = [*_launches(), *_launchers(), *_changes(), *_tags(), *_template_changes(), *_state(), *_deliveries()]
