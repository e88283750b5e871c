"""The arguments and options that commands share: their declarations and checks."""

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
    """A command's output format."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="The AWS profile to use.", show_default="from the environment"),
]
Region = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="NAME",
        help="The home region, where the stack ImdsEnforcer is deployed.",
        show_default="from the environment or profile",
    ),
]
Output = Annotated[Format, typer.Option("--output", help="table for people, json for programs, csv for spreadsheets.")]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help='A policy in JSON: the fields of the policy document and "http_tokens".',
        show_default="from Parameter Store",
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="DAY|MOMENT",
        help="When the hold ends: the end of a day, such as 2027-06-30, or a moment, such as 2027-06-30T18:00+02:00. "
        "A day, or a moment without an offset, is in UTC.",
        show_default="when you run imds-enforcer release",
    ),
]
Run = Annotated[str | None, typer.Option("--run", metavar="ID", help="The id of a run; see `imds-enforcer history`.")]


def checked_ids(texts: Sequence[str]) -> list[str]:
    """The instance ids without duplicates.

    Raises:
        CommandError: naming the texts that are no instance ids.
    """
    malformed = [text for text in texts if not INSTANCE_ID.fullmatch(text)]
    if malformed:
        raise CommandError(
            f"{', '.join(map(repr, malformed))} is not an instance id; allowed: i- and 17 (or 8) hexadecimal digits"
        )
    return list(dict.fromkeys(texts))


def checked_regions(texts: Sequence[str]) -> list[str]:
    """The region names without duplicates.

    Raises:
        CommandError: naming the texts that are no region names.
    """
    malformed = [text for text in texts if not _REGION.fullmatch(text)]
    if malformed:
        raise CommandError(f"{', '.join(map(repr, malformed))} is not a region; allowed: names such as eu-west-1")
    return list(dict.fromkeys(texts))


def checked_run(text: str) -> str:
    """The run's id.

    Raises:
        CommandError: if it is blank; a key in the table is never blank.
    """
    if not text.strip():
        raise CommandError(f"--run is {text!r}; allowed: a run's id, as `imds-enforcer history` shows it")
    return text.strip()


def checked_reason(text: str) -> str:
    """The reason for a hold, on one line.

    Raises:
        CommandError: if it is blank.
    """
    if not text.strip():
        raise CommandError(f"--reason is {text!r}; allowed: a text that says why")
    return " ".join(text.split())


def checked_moment(text: str | None, now: datetime) -> datetime | None:
    """The end of a hold. If the text is a day, the hold includes all of that day in UTC, as in the policy.

    Raises:
        CommandError: if it is neither a day nor a moment, or has passed.
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
            f"--until is {text!r}; allowed: a day such as 2027-06-30, or an ISO 8601 moment such as "
            "2027-06-30T18:00+02:00"
        ) from None
    if moment <= now:
        raise CommandError(f"--until is {text!r}, which has passed; allowed: a day or a moment in the future")
    return moment


def checked_role(option: str, text: str) -> str:
    """The ARN of a role; `*` may stand for the account, or for any part of the name.

    Raises:
        CommandError: if it is no role's ARN (a session's ARN, for example), or if it matches every role.
    """
    if not _ROLE.fullmatch(text):
        raise CommandError(
            f"{option} is {text!r}; allowed: a role's ARN such as arn:aws:iam::*:role/NAME, where NAME is not just *"
        )
    return text
