"""The regions that a command covers."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from imds_enforcer.aws.boto import aws_errors
from imds_enforcer.aws.services import Clients
from imds_enforcer.model import AwsError, Failure
from imds_enforcer.model.wording import regions_unlisted
from imds_enforcer.policy import RegionSelection
from imds_enforcer_cli.account.connection import STACK, STATE_STACK, Connection
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say

ALL = "all"

_NOT_VALID_THERE = "InvalidClientTokenId"
"""The answer of an opt-in region to a session token from STS's global endpoint (IAM User Guide, "Manage AWS STS in an
AWS Region"). The credentials are good: the home region has accepted them."""


def chosen_regions(clients: Clients, text: str, selection: RegionSelection) -> tuple[str, ...]:
    """The regions named in `--regions`; with `all`, every enabled region, even if the policy leaves it out.

    If EC2 does not list the regions, names are not checked, and `all` means the regions that the policy includes, or
    the home region if it includes none by name.

    Raises:
        CommandError: naming the regions that are not enabled.
        AwsError: if the call to EC2 failed.
    """
    clients.learn_regions()
    enabled = clients.regions(selection)
    if text.strip() == ALL:
        return enabled
    named = tuple(dict.fromkeys(filter(None, (each.strip() for each in text.split(",")))))
    unknown = [each for each in named if each not in enabled and not clients.unlisted]
    if unknown or not named:
        wrong = ", ".join(unknown) or text
        raise CommandError(f"--regions is {wrong!r}; allowed: {ALL}, or some of {', '.join(enabled)}")
    return named


def covered_regions(
    clients: Clients, text: str, selection: RegionSelection, *, with_left_out: bool
) -> tuple[tuple[str, ...], bool]:
    """The regions named in `--regions`, or else every region that the policy covers; True if these are known to be all.

    With `with_left_out`, `all` includes the regions that the policy leaves out.

    Raises:
        CommandError: naming the regions that are not enabled, or every region if the policy covers none.
        AwsError: if the call to EC2 failed.
    """
    found = chosen_regions(clients, text, selection)
    if text.strip() != ALL:
        return found, False
    if clients.unlisted:
        say(regions_unlisted(clients.unlisted, found))
    covered = tuple(each for each in found if with_left_out or selection.covers(each))
    if not covered:
        raise CommandError(f"the policy leaves out every region: {', '.join(found)}; name one with --regions")
    return covered, not clients.unlisted


def refuse_if_elsewhere(reached: Connection, regions: Sequence[str] = ()) -> None:
    """If the home region has no enforcer, make sure that no other region has one: the command would ignore its holds.

    A state stack alone counts as an enforcer, because it keeps the holds.

    The other regions are the regions that EC2 lists, and `regions`. A region where the caller has no access counts as
    one without an enforcer; a region that does not answer raises an error.

    Raises:
        CommandError: naming the region that has an enforcer.
        AwsError: naming a region that did not answer, or if EC2 lists no regions and `regions` is empty.
    """
    if reached.deployed:
        return
    if reached.clients.unlisted and not regions:
        raise AwsError(reached.clients.unlisted)
    others = sorted(reached.clients.known_regions.union(regions) - {reached.clients.home_region})
    if not others:
        return
    # Making clients from one session is not thread-safe.
    clients = [reached.client("cloudformation", region) for region in others]
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = dict(zip(others, pool.map(_stack_in, clients), strict=True))
    for region, answer in answers.items():
        if isinstance(answer, str):
            raise CommandError(f"the stack {answer} is in {region}; name that region with --region")
    for region, answer in answers.items():
        if isinstance(answer, Failure) and answer.may_work_later and answer.code != _NOT_VALID_THERE:
            raise AwsError(
                replace(answer, message=f"{answer.message} (while looking for the stack {STACK} in {region})")
            )


def _stack_in(cloudformation: Any) -> str | Failure:
    """The name of the stack in this region, or why none was found."""
    for stack in (STACK, STATE_STACK):
        try:
            with aws_errors():
                cloudformation.describe_stacks(StackName=stack)
        except AwsError as error:
            failure = error.failure
            if failure.code != "ValidationError":
                break
        else:
            return stack
    return failure
