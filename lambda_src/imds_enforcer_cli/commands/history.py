"""`imds-enforcer history`: the changes in the ledger."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Annotated

import typer

from imds_enforcer.ledger.defaults import DefaultsEntry
from imds_enforcer.ledger.entry import KEPT, Entry
from imds_enforcer.model.wording import count, each_count
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import Cell, say, write_documents
from imds_enforcer_cli.console.phrases import arrows, changes, options_columns

ENTRY_HEADINGS = ("AT (UTC)", "INSTANCE", "OUTCOME", "CHANGE AND REASON")

ENTRY_COLUMNS = (
    *("kind", "instance_id", "region", "at", "run_id", "trigger", "by"),
    *("policy_versions.http_tokens", "policy_versions.policy", "outcome", "reason", "code"),
    *(column for of in ("before", "wanted", "after") for column in (*options_columns(of), f"{of}.HttpTokensEnforced")),
)

_DAYS = 7


def history(
    instance: Annotated[str | None, typer.Argument(metavar="[INSTANCE]", help="The id of one instance.")] = None,
    run: arguments.Run = None,
    since: Annotated[
        int | None,
        typer.Option(
            "--since",
            metavar="DAYS",
            min=1,
            max=KEPT.days,
            help="How many days back to look.",
            show_default=f"{_DAYS}; everything for one instance or run",
        ),
    ] = None,
    *,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = arguments.Format.TABLE,
) -> None:
    """Show the enforcer's changes, oldest first: to one instance, by one run, or all recent ones.

    Changes by `imds-enforcer enforce`, `imds-enforcer set` and `imds-enforcer revert` are included, with the ARN of the
    caller. With `--run`, a last line sums up the run. The ledger keeps entries for 400 days.

    The ledger also records the changes that `imds-enforcer launches fix` makes to launch templates. Only
    `imds-enforcer launches undo` shows these changes.
    """
    if instance and run:
        raise CommandError("an instance and --run; allowed: one of them, or neither")
    ids = arguments.checked_ids([instance] if instance else [])
    run_id = None if run is None else arguments.checked_run(run)
    reached = connection.connect(profile, region)
    entries = _entries(reached, ids, run_id, since)
    now = reached.clock.now()
    rows = [entry_row(entry, now) for entry in entries]
    documents = [{"kind": "instance"} | entry.as_json() for entry in entries]
    write_documents(output, documents, ENTRY_COLUMNS, ENTRY_HEADINGS, rows)
    if output is arguments.Format.TABLE and not entries:
        say("The ledger has no matching entry.")
    if run_id is not None and entries:
        say(run_summary(run_id, entries, now))


def _entries(
    reached: connection.Connection, ids: list[str], run_id: str | None, days: int | None
) -> list[Entry | DefaultsEntry]:
    ledger_table, now = reached.clients.ledger_table, reached.clock.now()
    every = not ids and run_id is None
    since = now - timedelta(days=days or (_DAYS if every else KEPT.days))
    if ids:
        return [entry for entry in ledger_table.entries.of(ids[0]) if entry.at >= since]
    of_instances, of_defaults = ledger_table.entries, ledger_table.defaults
    both: Iterator[Entry | DefaultsEntry] = (
        chain(of_instances.since(since), of_defaults.since(since))
        if every
        else chain(of_instances.of_run(str(run_id)), of_defaults.of_run(str(run_id)))
    )
    return sorted((entry for entry in both if entry.at >= since), key=lambda entry: entry.at)


def run_summary(run_id: str, entries: Sequence[Entry | DefaultsEntry], now: datetime) -> str:
    """One run on one line, from its entries: its trigger, its caller, its time, and its outcomes."""
    triggers = ", ".join(sorted({entry.trigger for entry in entries}))
    by = "".join(f" by {each}" for each in sorted({entry.by for entry in entries if entry.by}))
    first, last = min(entry.at for entry in entries), max(entry.at for entry in entries)
    end = f"{last:%H:%M:%S}" if last.date() == first.date() else _moment(last)
    until = "" if _moment(last) == _moment(first) else f" to {end}"
    outcomes = each_count(Counter(sorted(_outcome(entry, now) for entry in entries)))
    return f"Run {run_id} ({triggers}{by}), {_moment(first)}{until} UTC: {_what(entries)}: {', '.join(outcomes)}."


def _what(entries: Sequence[Entry | DefaultsEntry]) -> str:
    """The numbers of instances, of their regions, and of regions with account defaults in these entries, in words."""
    of_instances = [entry for entry in entries if isinstance(entry, Entry)]
    regions = {entry.region for entry in entries if isinstance(entry, DefaultsEntry)}
    parts = [f"the account defaults of {count(len(regions), 'region')}"] if regions else []
    if of_instances:
        instances = count(len({entry.instance_id for entry in of_instances}), "instance")
        parts.insert(0, f"{instances} in {count(len({entry.region for entry in of_instances}), 'region')}")
    return " and ".join(parts)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _outcome(entry: Entry | DefaultsEntry, now: datetime) -> str:
    """The outcome. If the entry has none yet, whether its run is still under way or was interrupted."""
    return str(entry.outcome) if entry.outcome else "under way" if now < entry.ends_at else "interrupted"


def entry_row(entry: Entry | DefaultsEntry, now: datetime) -> Sequence[Cell]:
    """One entry of the ledger as a row: what was changed or, without an outcome, what was to be changed."""
    name = entry.instance_id if isinstance(entry, Entry) else "account defaults"
    reached = entry.wanted if entry.outcome is None else entry.result or entry.before
    return (
        (_moment(entry.at),),
        (name, entry.region),
        (_outcome(entry, now), entry.trigger),
        (
            *(arrows(changes(entry.before, reached)) or ["no change"]),
            entry.reason,
            f"by {entry.by}" if entry.by else "",
            f"run {entry.run_id}",
        ),
    )
