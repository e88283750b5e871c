"""`imds-enforcer hold` and `release`: instances that the enforcer must not change."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from imds_enforcer.aws.ledger_table import LedgerTable
from imds_enforcer.ledger.defaults import subject
from imds_enforcer.ledger.holds import Hold
from imds_enforcer_cli.account import connection, targets
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.output import say, write_documents

HOLD_HEADINGS = ("INSTANCE", "HOLD")

HOLD_COLUMNS = ("instance_id", "until", "reason", "by", "at")

RELEASE_COLUMNS = ("instance_id", *(f"released.{column}" for column in HOLD_COLUMNS))


def hold(
    instances: Annotated[list[str], typer.Argument(metavar="INSTANCE...", help="The instances' ids.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="The reason, for people who find the hold later.")
    ],
    until: arguments.Until = None,
    *,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = arguments.Format.TABLE,
) -> None:
    """Keep the enforcer from changing instances, whatever the policy says.

    A new hold replaces an earlier hold on the same instance. `imds-enforcer release` ends a hold.
    """
    ids, why = arguments.checked_ids(instances), arguments.checked_reason(reason)
    reached = connection.connect(profile, region)
    now = reached.clock.now()
    end = arguments.checked_moment(until, now)
    # A hold on a mistyped id would protect nothing, unnoticed.
    for each in targets.require_instances(reached.clients, ids).values():
        if each.unchangeable:
            say(f"{each.instance_id} is {each.unchangeable}; the hold makes no difference.")
    by = reached.caller()
    holds = [Hold(instance_id=instance_id, reason=why, by=by, at=now, until=end) for instance_id in ids]
    name_replaced(reached.clients.ledger_table, ids)
    reached.clients.ledger_table.holds.write(holds)
    rows = [((each.instance_id,), (str(each),)) for each in holds]
    write_documents(output, [hold_json(each) for each in holds], HOLD_COLUMNS, HOLD_HEADINGS, rows)


def release(
    instances: Annotated[
        list[str], typer.Argument(metavar="INSTANCE...", help="The instances' ids or, with --defaults, regions.")
    ],
    *,
    defaults: Annotated[
        bool,
        typer.Option(
            "--defaults",
            help="End the holds of `imds-enforcer revert --defaults` on the account defaults of the named regions.",
        ),
    ] = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = arguments.Format.TABLE,
) -> None:
    """End the holds on instances, so that the next event or sweep brings the instances in line again."""
    ids = [subject(each) for each in arguments.checked_regions(instances)] if defaults else []
    ids = ids or arguments.checked_ids(instances)
    ledger_table = connection.connect(profile, region).clients.ledger_table
    holds = ledger_table.holds.standing().holds
    # Also ids without a standing hold: an ended hold may still be stored.
    ledger_table.holds.release(ids)
    ended = [holds[instance_id] for instance_id in ids if instance_id in holds]
    released = {each.instance_id: hold_json(each) for each in ended}
    documents = [{"instance_id": instance_id, "released": released.get(instance_id)} for instance_id in ids]
    rows = [((each.instance_id,), (f"released; it was {each}",)) for each in ended]
    write_documents(output, documents, RELEASE_COLUMNS, HOLD_HEADINGS, rows)
    for instance_id in ids:
        if instance_id not in holds:
            say(f"{instance_id} had no hold.")


def name_replaced(ledger_table: LedgerTable, instance_ids: Iterable[str]) -> None:
    """Name the holds on these instances that the caller will replace.

    Raises:
        AwsError: if the holds could not be read.
    """
    holds = ledger_table.holds.standing().holds
    for instance_id in instance_ids:
        if instance_id in holds:
            say(f"{instance_id} was {holds[instance_id]}; the new hold replaces this one.")


def hold_json(hold: Hold) -> dict[str, Any]:
    """One hold as JSON."""
    return {
        "instance_id": hold.instance_id,
        "until": hold.until.isoformat(timespec="seconds") if hold.until else None,
        "reason": hold.reason,
        "by": hold.by,
        "at": hold.at.isoformat(timespec="seconds"),
    }
