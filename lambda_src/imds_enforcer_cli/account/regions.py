"""The regions that a command is for."""

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
"""Of a region that has to be enabled, to a session token of STS's global endpoint (IAM User Guide, "Manage AWS STS in
an AWS Region"). The home region has accepted it."""


def chosen_regions(clients: Clients, text: str, selection: RegionSelection) -> tuple[str, ...]:
    """The regions named in `--regions`, or all of the account, also those that the policy leaves out.

    Where EC2 does not list them, what is named is not checked, and all are those that the policy includes, or else
    the home region.

    Raises:
        CommandError: naming those that are not enabled.
        AwsError: if EC2 could not be asked.
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
    """The regions named in `--regions`, or all that the policy covers; and whether these are all of those.

    What the policy leaves out is among all only `with_left_out`.

    Raises:
        CommandError: naming those that are not enabled, or left out if that leaves no region.
        AwsError: if EC2 could not be asked.
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
    """Make sure that the enforcer, where it is not in the home region, is in no other either: its holds would count.

    So would the holds that outlived it.

    The others are those that EC2 lists, and these `regions`. A region in which the caller may not ask counts as one
    without it; one that does not answer does not.

    Raises:
        CommandError: naming the region that it is in.
        AwsError: naming a region that gave no answer, or if EC2 lists none and there are no `regions`.
    """
    if reached.deployed:
        return
    if reached.clients.unlisted and not regions:
        raise AwsError(reached.clients.unlisted)
    others = sorted(reached.clients.known_regions.union(regions) - {reached.clients.home_region})
    if not others:
        return
    # A session is not safe to make clients from in several threads.
    clients = [reached.client("cloudformation", region) for region in others]
    with ThreadPoolExecutor(len(clients)) as pool:
        answers = dict(zip(others, pool.map(_stack_in, clients), strict=True))
    for region, answer in answers.items():
        if isinstance(answer, str):
            raise CommandError(f"the stack {answer} is in {region}; name that region with --region")
    for region, answer in answers.items():
        if isinstance(answer, Failure) and answer.may_work_later and answer.code != _NOT_VALID_THERE:
            raise AwsError(replace(answer, message=f"{answer.message} (asked for the stack {STACK} in {region})"))


def _stack_in(cloudformation: Any) -> str | Failure:
    """The stack that is there, or why none was found."""
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
