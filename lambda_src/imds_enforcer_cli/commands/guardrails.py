"""`imds-enforcer guardrails scp`: the service control policy that fits the policy in force."""

from datetime import datetime
from typing import Annotated

import typer

from imds_enforcer.model import SystemClock
from imds_enforcer.policy import Policy
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.account.connection import HTTP_TOKENS_PARAMETER, LEDGER_TABLE, POLICY_PARAMETER
from imds_enforcer_cli.account.function_role import in_every_account, role_in_every_account
from imds_enforcer_cli.account.policy_file import read_policy_file
from imds_enforcer_cli.account.policy_source import governing
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.arguments import checked_role
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say, write_text
from imds_enforcer_cli.guardrails.caveats import caveats
from imds_enforcer_cli.guardrails.scp import Roles, State, TooLongError, document, statements

_STATE = State((HTTP_TOKENS_PARAMETER, POLICY_PARAMETER), LEDGER_TABLE)


def scp(  # noqa: PLR0913  # each is an option of the command
    operator_role: Annotated[
        list[str],
        typer.Option(
            "--operator-role",
            metavar="ARN",
            help="A role that may run `imds-enforcer enforce`, `set`, `revert`, `policy set` and `launches fix`; "
            "* stands for any account, or for any part of the name. May be repeated.",
        ),
    ],
    deploy_role: Annotated[
        list[str] | None,
        typer.Option(
            "--deploy-role",
            metavar="ARN",
            help="The role with which CloudFormation deploys the stack ImdsEnforcerState. May be repeated.",
            show_default="none",
        ),
    ] = None,
    enforcer_role: Annotated[
        str | None,
        typer.Option(
            "--enforcer-role",
            metavar="ARN",
            help="The role of the enforcer's function, which must have the same path and name in every account.",
            show_default="from the deployed function",
        ),
    ] = None,
    policy: arguments.PolicyFile = None,
    *,
    role_delivery: Annotated[
        bool,
        typer.Option("--role-delivery", help="Also deny every call with credentials that came from IMDSv1."),
    ] = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
) -> None:
    """Print the organization's service control policy (SCP) that fits the policy in force.

    The SCP denies launches that allow IMDSv1. It also denies changes to metadata options, the policy, the ledger, and
    the tags that exempt instances. Only the enforcer and the roles that you name may make these changes. On standard
    error, the command writes the reason for each statement. There it also writes what the SCP denies although the
    policy allows it.

    Attach the SCP to a test account first. With --policy and --enforcer-role, the command does not call AWS.
    """
    operators = [checked_role("--operator-role", each) for each in operator_role]
    deployers = [checked_role("--deploy-role", each) for each in deploy_role or ()]
    named = enforcer_role and in_every_account(checked_role("--enforcer-role", enforcer_role))
    if policy and named:
        rules, enforcer, now = read_policy_file(policy), named, SystemClock().now()
    else:
        reached = connection.reach(profile, region)
        enforcer, now = named or role_in_every_account(reached), reached.clock.now()
        rules = governing(reached, policy).policy
    roles = Roles(enforcer=enforcer, operators=operators, deployers=deployers)
    _refuse_other_partitions(roles)
    _print(rules, roles, now, role_delivery=role_delivery)


def _refuse_other_partitions(roles: Roles) -> None:
    for each in (*roles.operators, *roles.deployers):
        if each.split(":")[1] != roles.partition:
            raise CommandError(f"{each} is in another partition than {roles.enforcer}; allowed: {roles.partition}")


def _print(policy: Policy, roles: Roles, now: datetime, *, role_delivery: bool) -> None:
    found = statements(policy, roles, _STATE, now, role_delivery=role_delivery)
    try:
        text = document(found)
    except TooLongError as error:
        raise CommandError(
            f"{error}; name fewer roles, or one pattern for several (arn:aws:iam::*:role/ops-*), or exempt by fewer "
            "tag keys"
        ) from None
    for each in found:
        say(f"{each.sid}: {each.reason}.")
    for sentence in caveats(policy, roles, now, role_delivery=role_delivery, characters=len(text)):
        say(sentence)
    write_text(text)
