"""`imds-enforcer launches`: what will launch instances that allow IMDSv1, and who owns it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imds_enforcer.model.wording import regions_unlisted
from imds_enforcer.policy import RegionSelection
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.account.policy_file import read_policy_file
from imds_enforcer_cli.account.regions import ALL, chosen_regions
from imds_enforcer_cli.console import arguments
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say, working
from imds_enforcer_cli.formats.launches import LaunchesFormat, summary_line, write_launches
from imds_enforcer_cli.launches.document import launches_document
from imds_enforcer_cli.launches.kept import with_exemptions
from imds_enforcer_cli.launches.listing import list_launchers


class _Failing(StrEnum):
    LAUNCHES_IMDSV1 = "launches-imdsv1"


def launches(  # noqa: PLR0913  # each is an option of the command
    context: typer.Context,
    *,
    regions: Annotated[
        str,
        typer.Option("--regions", metavar="all|NAME,...", help="The regions to read; all means every enabled region."),
    ] = ALL,
    fail_on: Annotated[
        _Failing | None,
        typer.Option(
            "--fail-on",
            help="Exit with 1 if a launcher's next instance will allow IMDSv1, or if that is not known.",
            show_default="nothing",
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help='A policy in JSON, with "http_tokens". The command names each launcher that does not set HttpTokens '
            "although this policy exempts its instances.",
            show_default="none",
        ),
    ] = None,
    profile: arguments.Profile = None,
    region: arguments.Region = None,
    output: Annotated[
        LaunchesFormat,
        typer.Option(
            "--output",
            help="table for people, json for programs, csv for spreadsheets, html for readers without AWS access, "
            "sarif for SARIF viewers.",
        ),
    ] = LaunchesFormat.TABLE,
) -> None:
    """Show which launch templates, groups, images and account defaults give new instances IMDSv1, who owns them, and
    how to change them.

    The command changes nothing. It reads all launchers, with or without instances: launch template versions in use,
    Auto Scaling groups, launch configurations, your own images that do not require tokens, and the account defaults.
    A version is in use if it is the default or the latest, or if a group or node group names it by number. The
    command follows EC2's order of precedence: the launch's own setting, else the region's default, else the image's.
    It finds the owner of a launcher by the launcher's tags.

    With --policy, the command also names each launcher that does not set HttpTokens although the policy exempts its
    instances. If `required` becomes the region's default, the next instance of that launcher will not get IMDSv1.
    `imds-enforcer policy set` and `imds-enforcer launches fix` also consider holds, and instances that still call
    IMDSv1.
    """
    if context.invoked_subcommand:
        return
    exempting = read_policy_file(policy) if policy else None
    reached = connection.reach(profile, region, asks_for_stack=False)
    where = chosen_regions(reached.clients, regions, RegionSelection())
    if reached.clients.unlisted and regions.strip() == ALL:
        say(regions_unlisted(reached.clients.unlisted, where))
    with working("Reading what launches instances"):
        found = list_launchers(reached, where)
    now = reached.clock.now()
    if exempting:
        for each in found:
            each.launchers = with_exemptions(each.launchers, each.instances, exempting, now)
    document = launches_document(now, found)
    if not any(each.listed for each in found):
        raise CommandError(f"no region could be read; {'; '.join(document['unread'])}")
    for line in document["unread"]:
        say(line)
    write_launches(document, output)
    say(summary_line(document))
    concerns = [each for each in document["launchers"] if each["launches_imdsv1"] is not False]
    if any(each.failed for each in found) or (fail_on and concerns):
        raise typer.Exit(1)
