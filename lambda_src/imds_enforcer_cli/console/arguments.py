"""The parameters that commands have in common: their declarations, and how they are read."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imds_enforcer.model.instance import INSTANCE_ID
from imds_enforcer_cli.console.errors import CommandError

_REGION = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-[0-9]+")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ROLE = re.compile(
    r"arn:aws[a-z-]*:iam::(?:[0-9]{12}|\*):role/(?:[!-~]+/)?(?=[*?]*[\w+=,.@-])[\w+=,.@*?-]{1,64}", re.ASCII
)


class Format(StrEnum):
    """How a command writes its data."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="The AWS profile to use.", show_default="that of the environment"),
]
Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="NAME",
        help="The home region: where the stack ImdsEnforcer is.",
        show_default="that of the environment or profile",
    ),
]
Output = Annotated[Format, typer.Option("--output", help="For people, for programs, or for a spreadsheet.")]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help='A policy as JSON: the fields of its document, and "http_tokens".',
        show_default="that of Parameter Store",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="DAY|MOMENT",
        help="When the hold ends: with the end of a day, as 2027-06-30, or at a moment, as 2027-06-30T18:00+02:00; "
        "UTC unless it says otherwise.",
        show_default="until it is released",
    ),
]
Run = Annotated[str | None, typer.Option("--run", metavar="ID", help="The id of a run, as `history` shows it.")]


def checked_ids(texts: Sequence[str]) -> list[str]:
    """Instance ids, each once.

    Raises:
        CommandError: naming those that are not.
    """
    malformed = [text for text in texts if not INSTANCE_ID.fullmatch(text)]
    if malformed:
        raise CommandError(
            f"{', '.join(map(repr, malformed))} is no instance id; allowed: i- and 17 (or 8) hexadecimal digits"
        )
    return list(dict.fromkeys(texts))


def checked_regions(texts: Sequence[str]) -> list[str]:
    """Names of regions, each once.

    Raises:
        CommandError: naming those that are not.
    """
    malformed = [text for text in texts if not _REGION.fullmatch(text)]
    if malformed:
        raise CommandError(f"{', '.join(map(repr, malformed))} is no region; allowed: names as eu-west-1")
    return list(dict.fromkeys(texts))


def checked_run(text: str) -> str:
    """The id of a run.

    Raises:
        CommandError: if it is blank, which no key of the table can be.
    """
    if not text.strip():
        raise CommandError(f"--run is {text!r}; allowed: the id of a run, as `imds-enforcer history` shows it")
    return text.strip()


def checked_reason(text: str) -> str:
    """A reason, for those who find the hold later.

    Raises:
        CommandError: if it says nothing.
    """
    if not text.strip():
        raise CommandError(f"--reason is {text!r}; allowed: a text that says why")
    return " ".join(text.split())


def checked_moment(text: str | None, now: datetime) -> datetime | None:
    """The end of a hold; a day lasts until its end in UTC, as the days in the policy do.

    Raises:
        CommandError: if it is no date, or has passed.
    """
    if text is None:
        return None
    try:
        if _DAY.fullmatch(text):
            moment = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), UTC)
        else:
            moment = datetime.fromisoformat(text)
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandError(
            f"--until is {text!r}; allowed: a day, as 2027-06-30, or an ISO 8601 moment, as 2027-06-30T18:00+02:00"
        ) from None
    if moment <= now:
        raise CommandError(f"--until is {text!r}, which has passed; allowed: a day or a moment that lies ahead")
    return moment


def checked_role(option: str, text: str) -> str:
    """The ARN of a role, in which `*` may stand for the account and in its name.

    Raises:
        CommandError: if it is something else, as the ARN of a session, or fits every role.
    """
    if not _ROLE.fullmatch(text):
        raise CommandError(
            f"{option} is {text!r}; allowed: the ARN of a role, as arn:aws:iam::*:role/NAME, where NAME is not * alone"
        )
    return text
