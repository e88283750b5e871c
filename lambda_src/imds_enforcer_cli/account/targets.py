"""The instances that a command works on: those that the user names, or the one that the command runs on."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated

import typer

from imds_enforcer.aws.services import Clients
from imds_enforcer.model import AwsError, Deadline, Instance, InstanceState, Kind
from imds_enforcer.model.wording import regions_unlisted
from imds_enforcer.policy import RegionSelection
from imds_enforcer.policy.parser import PolicyInvalidError
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.account.instance_metadata import Identity
from imds_enforcer_cli.console.errors import CommandError

Named = Annotated[
    list[str] | None,
    typer.Option(
        "--instance-id",
        metavar="ID [ID...]",
        help="The ids of the instances, in any region.",
        show_default="the instance that the command runs on",
    ),
]
More = Annotated[
    list[str] | None, typer.Argument(metavar="[ID...]", help="The ids of instances; the same as with --instance-id.")
]
"""The ids after the first: an option takes only one value."""

_PATIENCE_SECONDS = 120
"""How long EC2 may need after a launch until it lists an instance and allows changes (EC2 Developer Guide, "Eventual
consistency"); user data runs earlier."""

_PAUSE_SECONDS = 2


def find(reached: Connection, instance_ids: Sequence[str], identity: Identity | None) -> dict[str, Instance]:
    """The instances by id, in the order in which the user named them.

    Raises:
        CommandError: naming the ids that are not in this account.
        AwsError: if the call to EC2 failed.
    """
    if identity:
        return {identity.instance_id: _itself(reached, identity)}
    found = require_instances(reached.clients, instance_ids)
    return {instance_id: found[instance_id] for instance_id in instance_ids}


def require_instances(clients: Clients, instance_ids: Iterable[str]) -> dict[str, Instance]:
    """These instances by id, whichever region of the account each is in.

    Raises:
        CommandError: naming the ids that were not found, and the regions that could not be searched.
        AwsError: if the call in the home region failed, or AWS does not accept the credentials.
    """
    ids = list(instance_ids)
    seen = _live(clients, clients.home_region, ids)
    if len(seen) == len(ids):
        return seen
    others, refused = _other_regions(clients)

    def live_in(region: str) -> dict[str, Instance]:
        try:
            return _live(clients, region, [each for each in ids if each not in seen])
        except AwsError as error:
            if error.failure.kind is Kind.CREDENTIALS:
                raise
            refused.append(f"{region} could not be searched ({error})")
            return {}

    with ThreadPoolExecutor(len(others) or 1) as pool:
        elsewhere = list(pool.map(live_in, others))
    found = {instance_id: instance for each in (seen, *elsewhere) for instance_id, instance in each.items()}
    if unseen := [each for each in ids if each not in found]:
        but = f"; {'; '.join(refused)}" if refused else ""
        raise CommandError(f"not found in this account: {', '.join(unseen)}{but}")
    return found


def _other_regions(clients: Clients) -> tuple[list[str], list[str]]:
    """The regions other than the home region, and why some may be missing.

    They are those that EC2 lists, or else those that the policy names.
    """
    clients.learn_regions()
    selection = RegionSelection()
    if clients.unlisted:
        with suppress(AwsError, PolicyInvalidError):
            selection = clients.policies.read().regions
    regions = clients.regions(selection)
    others = [each for each in regions if each != clients.home_region]
    return others, [regions_unlisted(clients.unlisted, regions)] if clients.unlisted else []


def _live(clients: Clients, region: str, instance_ids: list[str]) -> dict[str, Instance]:
    seen = clients.ec2(region).read(instance_ids)
    return {instance_id: instance for instance_id, instance in seen.items() if not instance.state.ended}


def _itself(reached: Connection, identity: Identity) -> Instance:
    """The instance that the command runs on, once EC2 lists it and it is no longer pending."""
    ec2, deadline = reached.clients.ec2(identity.region), Deadline.after(reached.clock, _PATIENCE_SECONDS)
    while True:
        seen = ec2.read([identity.instance_id]).get(identity.instance_id)
        if seen and (seen.state is not InstanceState.PENDING or deadline.passed):
            return seen
        if deadline.passed:
            raise CommandError(
                f"EC2 does not list {identity.instance_id} in {identity.region}, the instance that the command runs "
                "on; the credentials may belong to another account"
            )
        reached.clock.sleep(_PAUSE_SECONDS)
