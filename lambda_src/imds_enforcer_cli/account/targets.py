"""Which instances a command is about: those that are named, or the one that it runs on."""

from collections.abc import Sequence
from typing import Annotated

import typer

from imds_enforcer.model import Deadline, Instance, InstanceState
from imds_enforcer_cli.account import connection
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.account.instance_metadata import Identity
from imds_enforcer_cli.console.errors import CommandError

Named = Annotated[
    list[str] | None,
    typer.Option(
        "--instance-id",
        metavar="ID [ID...]",
        help="The ids of the instances, in whatever regions they are.",
        show_default="the instance that this runs on",
    ),
]
More = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="More ids.", hidden=True)]
"""What follows the first id: an option takes one value only."""

_PATIENCE_SECONDS = 120
"""For so long after a launch EC2 may not list an instance, or not let it be changed (EC2 Developer Guide,
"Eventual consistency"), and user data runs early."""

_PAUSE_SECONDS = 2


def find(reached: Connection, instance_ids: Sequence[str], identity: Identity | None) -> dict[str, Instance]:
    """The instances by id, in the order in which they were named.

    Raises:
        CommandError: naming those that are not in this account.
        AwsError: if EC2 could not be asked.
    """
    if identity:
        return {identity.instance_id: _itself(reached, identity)}
    found = connection.require_instances(reached.clients, instance_ids)
    return {instance_id: found[instance_id] for instance_id in instance_ids}


def _itself(reached: Connection, identity: Identity) -> Instance:
    """The instance that this runs on, once EC2 lists it and has it running."""
    ec2, deadline = reached.clients.ec2(identity.region), Deadline.after(reached.clock, _PATIENCE_SECONDS)
    while True:
        seen = ec2.read([identity.instance_id]).get(identity.instance_id)
        if seen and (seen.state is not InstanceState.PENDING or deadline.passed):
            return seen
        if deadline.passed:
            raise CommandError(
                f"EC2 does not list {identity.instance_id} in {identity.region}, which is the instance that this runs "
                "on: the credentials are perhaps of another account"
            )
        reached.clock.sleep(_PAUSE_SECONDS)
