"""`imds-enforcer set`: the metadata options of single instances, or of the instance that it runs on."""

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

_UNWRITTEN = "; --no-policy makes the change, and writes nothing down"
"""The way out on the instance itself, where its role may set it and not write down that it did."""

Version2State = Annotated[
    HttpTokens,
    typer.Option(
        "--version-2-state",
        metavar="STATE",
        help="IMDSv2, a session token with every request: required, or optional beside IMDSv1.",
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
            help="How many network hops the answer to the request for a token may take: containers need 2.",
            show_default="left as it is",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Change nothing: ask EC2 whether it would, and say what would change."),
    ] = False,
    no_policy: Annotated[
        bool,
        typer.Option(
            "--no-policy",
            help="On the instance itself: goes on where its role may not read policy and holds, or not write the "
            "ledger; nothing is written down.",
        ),
    ] = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output_format: arguments.Output = Format.JSON,
) -> None:
    """Require IMDSv2 of instances, or make it optional, wherever they are.

    Shows the options before, changes them, writes EC2's answer as JSON, one line for each instance, waits until
    the change is applied and shows the options after. Without --instance-id it is about the instance that it runs on:
    that one's region, and its role's credentials.

    What the policy exempts and what is held stays as it is (see `release`), and so does a metadata
    service that is off. Where no policy is deployed none is heeded; where it cannot be read nothing is changed.

    Where the enforcer is deployed, the change is in its ledger: `history` shows it, and `revert` undoes it. If it
    cannot be written there, it is not made, unless by --no-policy.
    """
    ids = arguments.checked_ids([*(instance_id or []), *(more or [])])
    if ids and no_policy:
        raise CommandError("--no-policy with --instance-id; allowed: only for the instance that this runs on")
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
        say(f"Nothing is written down, and `imds-enforcer revert` cannot undo this: {why}.")
    with output.working("Rehearsing" if dry_run else "Setting, and waiting until it is applied"):
        results = setter.carry_out(instances.values(), rehearse=dry_run)
    ordered = [_explained(results[each.instance_id], setter, each, identity) for each in instances.values()]
    write(ordered, output_format)
    _tell_what_is_open(setter, ordered)
    if setter.refused:
        raise AwsError(setter.refused)
    if not all(map(setter.is_done, ordered)):
        raise typer.Exit(1)


def _guarded(
    profile: str | None, region: str | None, identity: Identity | None, *, no_policy: bool
) -> tuple[Connection, Policy | None]:
    """The account, and the policy in force, if there is one; holds are known to be readable.

    With `no_policy` what cannot be read is ignored, and the rest respected.

    Raises:
        CommandError: if policy or holds cannot be read otherwise.
        AwsError: if AWS does not accept the credentials.
    """
    fallback = identity.region if identity else None
    hint = "; where only policy and holds cannot be read, --no-policy goes on without them" if identity else ""
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
        CommandError: if STS does not tell it: it may be out of reach from an instance that reaches EC2.
    """
    try:
        return reached.caller()
    except AwsError as error:
        hint = _UNWRITTEN if identity else ""
        raise CommandError(f"no change without an entry in the ledger, which names the caller: {error}{hint}") from None


def _warn(setter: SetInstances, instance: Instance) -> None:
    """Say what may come of the change: containers without a token, or the enforcer that changes it back."""
    if hops := setter.hops_too_few(instance):
        say(f"{where(instance)} runs containers, which get no token with a hop limit of {hops}")
    if why := setter.against_policy(instance):
        say(
            f"{where(instance)}: the policy in force wants it otherwise ({why}): the event of this change, or the "
            "next sweep, turns it back, unless it is held as soon as it is set (imds-enforcer hold)"
        )


def _explained(result: Result, setter: SetInstances, instance: Instance, identity: Identity | None) -> Result:
    """The result, with what the user can do about it, or has to know of it."""
    if result.outcome is Outcome.DEFERRED and identity and result.region in setter.ledger_failures:
        return replace(result, reason=f"{result.reason}{_UNWRITTEN}")
    if result.outcome is Outcome.HELD:
        return replace(result, reason=f"{result.reason}; `imds-enforcer release {result.instance_id}` ends the hold")
    if result.failure and result.failure.code == READ_BACK_DIFFERS and setter.against_policy(instance):
        return replace(result, reason=f"{result.reason}; the enforcer has turned it back, most likely")
    return result


def _tell_what_is_open(setter: SetInstances, results: Sequence[Result]) -> None:
    for region, failure in setter.ledger_failures.items():
        if any(each.region == region and each.outcome is not Outcome.DEFERRED for each in results):
            say(f"The ledger does not have everything about {region} ({failure}); the next sweep completes it.")
