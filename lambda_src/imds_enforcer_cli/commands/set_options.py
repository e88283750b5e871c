"""`imds-enforcer set`: set the metadata options of single instances, or of the instance that it runs on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from imds_enforcer.model import AwsError, HttpTokens, Instance, Kind, Outcome, Result
from imds_enforcer.model.failures import READ_BACK_DIFFERS
from imds_enforcer.policy import Policy
from imds_enforcer.policy.parser import PolicyInvalidError
from imds_enforcer_cli.account import connection, instance_metadata, targets
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.account.instance_metadata import Identity
from imds_enforcer_cli.account.regions import refuse_if_elsewhere
from imds_enforcer_cli.commands.set_results import shown, where, write
from imds_enforcer_cli.console import arguments, output
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say
from imds_enforcer_cli.runs.set_instances import SetInstances

_UNWRITTEN = "; --no-policy makes the change without the ledger"
"""The hint for an instance that sets itself: its role may be allowed to set options, but not to write the ledger."""

Version2State = Annotated[
    HttpTokens,
    typer.Option(
        "--version-2-state",
        metavar="STATE",
        help="required: only IMDSv2, with a session token in every request; optional: IMDSv1 too.",
    ),
]


def set_options(  # noqa: PLR0913  # each is an option of the command
    version_2_state: Version2State,
    instance_id: targets.Named = None,
    more: targets.More = None,
    *,
    hop_limit: Annotated[
        int | None,
        typer.Option(
            "--http-put-response-hop-limit",
            metavar="N",
            min=1,
            max=64,
            help="How many network hops the response with the token may take; containers need 2.",
            show_default="unchanged",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Change nothing. Show what would change, and ask EC2 whether it would allow the change."
        ),
    ] = False,
    no_policy: Annotated[
        bool,
        typer.Option(
            "--no-policy",
            help="Only on the instance itself: make the change even if the instance's role is not allowed to read the "
            "policy or the holds, or to write to the ledger. The command writes no ledger entry.",
        ),
    ] = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output_format: arguments.Output = Format.JSON,
) -> None:
    """Require IMDSv2 on instances in any region, or make it optional.

    The command shows each instance's options, changes them, waits until EC2 has applied the change, and shows the
    options again. It writes EC2's answers as JSON, one line per instance. Without ids, it sets the instance that it
    runs on, in that instance's region and with its role's credentials.

    The command does not change an instance that the policy exempts, an instance that is held (`imds-enforcer release`
    ends a hold), or a metadata service that is off. If the account has no policy, no instance is exempt. If the
    command cannot read the policy, it changes nothing, except with --no-policy.

    If the enforcer is deployed, the command first writes an entry to the ledger. `imds-enforcer history` then shows
    the change, and `imds-enforcer revert` reverts it. If the command cannot write the entry, it changes nothing.
    """
    ids = arguments.checked_ids([*(instance_id or []), *(more or [])])
    if ids and no_policy:
        raise CommandError(
            "--no-policy is used with instance ids; allowed: without ids, for the instance that the command runs on"
        )
    identity = None if ids else instance_metadata.here(profile).identity()
    reached, policy = _guarded(profile, region, identity, no_policy=no_policy)
    instances = targets.find(reached, ids, identity)
    by = None if dry_run or no_policy or not reached.deployed else _operator(reached, identity)
    setter = SetInstances(reached, version_2_state, hop_limit, policy, by=by)
    for instance in instances.values():
        if output_format is Format.JSON:
            say(f"{where(instance)} before: {shown(instance.options)}")
        _warn(setter, instance)
    if by is None and not dry_run and setter.changes_any(instances.values()):
        why = "--no-policy" if no_policy else "the enforcer is not deployed here"
        say(f"The ledger gets no entry, so `imds-enforcer revert` cannot undo this: {why}.")
    with output.working("Rehearsing" if dry_run else "Setting the options, and waiting until EC2 applies them"):
        results = setter.carry_out(instances.values(), rehearse=dry_run)
    ordered = [_explained(results[each.instance_id], setter, each, identity) for each in instances.values()]
    write(ordered, output_format)
    _report_open_entries(setter, ordered)
    if setter.refused:
        raise AwsError(setter.refused)
    if not all(map(setter.is_done, ordered)):
        raise typer.Exit(1)


def _guarded(
    profile: str | None, region: str | None, identity: Identity | None, *, no_policy: bool
) -> tuple[Connection, Policy | None]:
    """The account and the policy in force, if there is one; the holds have been read once without error.

    With `no_policy`, an unreadable policy or unreadable holds are ignored.

    Raises:
        CommandError: without `no_policy`, if the policy or the holds cannot be read.
        AwsError: if AWS does not accept the credentials.
    """
    fallback = identity.region if identity else None
    hint = "; --no-policy goes on without the policy and the holds" if identity else ""
    try:
        reached = connection.reach(profile, region, fallback=fallback)
        if not reached.deployed:
            reached.clients.learn_regions()
            refuse_if_elsewhere(reached)
        reached.clients.ledger_table.holds.standing()
    except AwsError as error:
        if error.failure.kind is Kind.CREDENTIALS:
            raise
        if not no_policy:
            raise CommandError(f"{error}{hint}") from None
        say(f"Going on without holds, which cannot be read ({error}).")
        reached = connection.reach(profile, region, fallback=fallback, asks_for_stack=False)
    try:
        return reached, reached.policy()
    except (AwsError, PolicyInvalidError) as error:
        if isinstance(error, AwsError) and error.failure.kind is Kind.CREDENTIALS:
            raise
        if not no_policy:
            raise CommandError(f"the policy cannot be read, so nothing is changed: {error}{hint}") from None
        say(f"Going on without the policy, which cannot be read ({error}).")
        return reached, None


def _operator(reached: Connection, identity: Identity | None) -> str:
    """The ARN of the caller, for the ledger.

    Raises:
        CommandError: if the call to STS fails; an instance that can reach EC2 may be unable to reach STS.
    """
    try:
        return reached.caller()
    except AwsError as error:
        hint = _UNWRITTEN if identity else ""
        raise CommandError(f"the ledger needs the caller's name, so nothing is changed: {error}{hint}") from None


def _warn(setter: SetInstances, instance: Instance) -> None:
    """Warn about the change: containers may get no token, or the enforcer may change it back."""
    if hops := setter.hops_too_few(instance):
        say(f"{where(instance)} runs containers, which get no token with a hop limit of {hops}")
    if why := setter.against_policy(instance):
        say(
            f"{where(instance)} will differ from the policy in force ({why}): the enforcer changes it back at the event"
            " of this change or in the next sweep, unless you hold it right away (imds-enforcer hold)"
        )


def _explained(result: Result, setter: SetInstances, instance: Instance, identity: Identity | None) -> Result:
    """The result, with what the user can do about it or must know."""
    if result.outcome is Outcome.DEFERRED and identity and result.region in setter.ledger_failures:
        return replace(result, reason=f"{result.reason}{_UNWRITTEN}")
    if result.outcome is Outcome.HELD:
        return replace(result, reason=f"{result.reason}; `imds-enforcer release {result.instance_id}` ends the hold")
    if result.failure and result.failure.code == READ_BACK_DIFFERS and setter.against_policy(instance):
        return replace(result, reason=f"{result.reason}; the enforcer has probably changed it back")
    return result


def _report_open_entries(setter: SetInstances, results: Sequence[Result]) -> None:
    for region, failure in setter.ledger_failures.items():
        if any(each.region == region and each.outcome is not Outcome.DEFERRED for each in results):
            say(f"The ledger is incomplete for {region} ({failure}); the next sweep completes it.")
