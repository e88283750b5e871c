"""`imds-enforcer verify`: whether instances have the expected options, and answer accordingly."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Annotated, Any

import typer

from imds_enforcer.model import AwsError, HttpTokens, Instance, Kind, OptionsState, Switch
from imds_enforcer.policy.parser import PolicyInvalidError
from imds_enforcer_cli.account import connection, instance_metadata, targets
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.account.instance_metadata import InstanceMetadata
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.arguments import Format
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say, write_documents, write_json

_HEADINGS = ("INSTANCE", "CHECK", "EXPECTED", "FOUND", "RESULT")
_COLUMNS = ("instance_id", "region", "check", "expected", "found", "passed")


@dataclass(frozen=True, slots=True)
class _Check:
    """One check and its result."""

    check: str
    expected: str
    found: str
    passed: bool


def verify(  # noqa: PLR0913  # each is an option of the command
    instance_id: targets.Named = None,
    more: targets.More = None,
    *,
    version_2_state: Annotated[
        HttpTokens | None,
        typer.Option(
            "--version-2-state",
            metavar="STATE",
            help="The expected state of IMDSv2: required or optional.",
            show_default="from the policy in force; required if there is no policy",
        ),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Only on the instance itself: also send requests to the metadata service. CloudWatch counts the "
            "request without a token as a rejected IMDSv1 call (MetadataNoTokenRejected) or, if the service answers "
            "it, as an IMDSv1 call (MetadataNoToken). The enforcer's watch over changed instances counts it too.",
        ),
    ] = False,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: arguments.Output = Format.TABLE,
) -> None:
    """Check that instances have the expected IMDSv2 state, required or optional, and that EC2 applied it.

    Without ids, the command checks the instance that it runs on. There, --probe also sends three requests to the
    metadata service: one without a token, one for a token, and one with the token. If the expected state is
    `required`, the service must answer 401, 200 and 200. If it is `optional`, the service must answer 200 each time.

    An instance whose metadata service is off passes the check if the expected state is `required`, and fails it if
    the expected state is `optional`.
    """
    ids = arguments.checked_ids([*(instance_id or []), *(more or [])])
    if ids and probe:
        raise CommandError(
            "--probe is used with instance ids; allowed: without ids, for the instance that the command runs on"
        )
    metadata = None if ids else instance_metadata.here(profile)
    identity = metadata.identity() if metadata else None
    # Reading needs neither the ledger nor the holds, so the stack is not looked up.
    reached = connection.reach(profile, region, fallback=identity.region if identity else None, asks_for_stack=False)
    instances = targets.find(reached, ids, identity)
    wanted = version_2_state or _wanted(reached)
    checks = [(instance, [_described(instance, wanted)]) for instance in instances.values()]
    if metadata and probe:
        [(_, made)] = checks
        made += _probed(metadata, wanted)
    _write(checks, wanted, output)
    for instance, made in checks:
        if instance.unchangeable and not all(check.passed for check in made):
            say(f"{instance.instance_id} is {instance.unchangeable}.")
    if not all(check.passed for _, made in checks for check in made):
        raise typer.Exit(1)


def _wanted(reached: Connection) -> HttpTokens:
    try:
        policy = reached.policy()
    except (AwsError, PolicyInvalidError) as error:
        if isinstance(error, AwsError) and error.failure.kind is Kind.CREDENTIALS:
            raise
        say(f"The policy cannot be read ({error}), so required is expected.")
        return HttpTokens.REQUIRED
    return policy.http_tokens if policy else HttpTokens.REQUIRED


def _described(instance: Instance, wanted: HttpTokens) -> _Check:
    """The check of what EC2 shows."""
    options, expected = instance.options, f"HttpTokens {wanted}, applied"
    if options is None:
        return _Check("described", expected, "unrecognized metadata options", passed=False)
    if options.http_endpoint is Switch.DISABLED:
        return _Check("described", expected, "the metadata service is off", passed=wanted is HttpTokens.REQUIRED)
    applied = options.state is OptionsState.APPLIED
    state = "applied" if applied else "applies at the next start" if instance.state.at_rest else "not yet applied"
    passed = applied and options.http_tokens is wanted
    return _Check("described", expected, f"HttpTokens {options.http_tokens}, {state}", passed=passed)


def _probed(metadata: InstanceMetadata, wanted: HttpTokens) -> Iterator[_Check]:
    """The checks of what the metadata service itself answers."""
    without = metadata.read(None).status
    rejected = without == HTTPStatus.UNAUTHORIZED
    yield _answered(
        "GET without a token", HTTPStatus.OK if wanted is HttpTokens.OPTIONAL else HTTPStatus.UNAUTHORIZED, without
    )
    counted = "a rejected IMDSv1 call (MetadataNoTokenRejected)" if rejected else "an IMDSv1 call (MetadataNoToken)"
    if rejected or without == HTTPStatus.OK:
        say(f"The GET without a token counts in CloudWatch as {counted}.")
    token = metadata.token()
    yield _answered("PUT for a token", HTTPStatus.OK, token.status)
    if token.status == HTTPStatus.OK:
        yield _answered("GET with the token", HTTPStatus.OK, metadata.read(token.text).status)
    else:
        yield _Check("GET with the token", str(HTTPStatus.OK.value), "no token to send", passed=False)


def _answered(check: str, expected: HTTPStatus, found: int) -> _Check:
    return _Check(check, str(expected.value), str(found), passed=expected == found)


def _write(checks: Sequence[tuple[Instance, Sequence[_Check]]], wanted: HttpTokens, output: Format) -> None:
    """Write JSON with a document per instance, or CSV or a table with a row per check."""
    if output is Format.JSON:
        write_json([_document(instance, made, wanted) for instance, made in checks])
        return
    each_check = [(instance, check) for instance, made in checks for check in made]
    documents = [
        {"instance_id": instance.instance_id, "region": instance.region, **asdict(check)}
        for instance, check in each_check
    ]
    rows = [
        (
            (instance.instance_id, instance.region),
            (check.check,),
            (check.expected,),
            (check.found,),
            ("PASSED" if check.passed else "FAILED",),
        )
        for instance, check in each_check
    ]
    write_documents(output, documents, _COLUMNS, _HEADINGS, rows)


def _document(instance: Instance, made: Sequence[_Check], wanted: HttpTokens) -> dict[str, Any]:
    return {
        "instance_id": instance.instance_id,
        "region": instance.region,
        "version_2_state": wanted.value,
        "verified": all(check.passed for check in made),
        "checks": [asdict(check) for check in made],
    }
