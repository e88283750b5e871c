"""Writes a listing of launchers in each format, from its document."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from imds_enforcer.model.wording import count
from imds_enforcer_cli.console.output import Cell, write_csv, write_json, write_table, write_text
from imds_enforcer_cli.formats.html_page import launches_page
from imds_enforcer_cli.formats.launches_sarif import launches_sarif
from imds_enforcer_cli.launches.document import ANSWERS, Document
from imds_enforcer_cli.launches.launcher import LauncherKind

HEADINGS = ("LAUNCHER", "LAUNCHES IMDSv1", "WHY", "INSTANCES", "OWNER", "CHANGE")
COLUMNS = (
    "launcher",
    "region",
    "kind",
    "id",
    "name",
    "version",
    "used_as",
    "arn",
    "instances",
    "launches_imdsv1",
    "why",
    "exempt",
    "owner.kind",
    "owner.name",
    "owner.part",
    "advice",
)


class LaunchesFormat(StrEnum):
    """The output formats of a listing."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"
    SARIF = "sarif"


def write_launches(document: Document, output: LaunchesFormat) -> None:
    """Write a listing as the command's data."""
    match output:
        case LaunchesFormat.TABLE:
            write_table(HEADINGS, [_row(each) for each in document["launchers"]])
        case LaunchesFormat.JSON:
            write_json(document)
        case LaunchesFormat.CSV:
            write_csv(COLUMNS, document["launchers"])
        case LaunchesFormat.HTML:
            write_text(launches_page(document))
        case LaunchesFormat.SARIF:
            write_json(launches_sarif(document))


def summary_line(document: Document) -> str:
    """The listing in one line."""
    answers = document["summary"]["launch_imdsv1"]
    return (
        f"{count(document['summary']['launchers'], 'launcher')} in {count(len(document['regions']), 'region')}: "
        f"{answers['yes']} will launch IMDSv1 instances, {answers['no']} will not, {answers['not known']} not known."
    )


def _row(launcher: Mapping[str, Any]) -> Sequence[Cell]:
    owner = launcher["owner"]
    where = launcher["region"] if launcher["kind"] != LauncherKind.DEFAULTS else ""
    return (
        (launcher["launcher"], where, ", ".join(launcher["used_as"])),
        (ANSWERS[launcher["launches_imdsv1"]],),
        (launcher["why"], launcher["exempt"] or ""),
        (str(launcher["instances"]),),
        (owner["text"] if owner else "",),
        (launcher["advice"] or "",),
    )
