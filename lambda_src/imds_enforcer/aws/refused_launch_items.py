"""How refused launches are stored in the enforcer's table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from imds_enforcer.aws.ledger_items import moment_of, moment_text
from imds_enforcer.ledger.refused_launches import KEPT as REFUSED_LAUNCH_KEPT
from imds_enforcer.ledger.refused_launches import Cause, Launcher, RefusedLaunch
from imds_enforcer.model import LaunchTemplate, Source

if TYPE_CHECKING:
    from imds_enforcer.aws.dynamodb import Item

REFUSED_LAUNCH = "refused-launch"


def refused_launch_item(launch: RefusedLaunch) -> Item:
    """A refused launch, keyed by its event's id: an event delivered twice replaces its own item."""
    launcher, source = launch.launcher, launch.launcher.source
    said = {
        "region": launcher.region,
        "principal": launcher.principal,
        "invoked_by": launcher.invoked_by,
        "source": [source.auto_scaling_group, source.launch_template, source.image_id],
        "asked_optional": launcher.asked_optional,
        "cause": launcher.cause,
    }
    return {
        "pk": REFUSED_LAUNCH,
        "sk": f"{moment_text(launch.at)}#{launch.event_id}",
        "launcher": json.dumps(said, separators=(",", ":")),
        "expires_at": int((launch.at + REFUSED_LAUNCH_KEPT).timestamp()),
    }


def refused_launch_of(item: Item) -> RefusedLaunch:
    """The refused launch."""
    at, _, event_id = item["sk"].partition("#")
    said = json.loads(item["launcher"])
    group, template, image_id = said["source"]
    launcher = Launcher(
        region=said["region"],
        principal=said["principal"],
        invoked_by=said["invoked_by"],
        source=Source(group, LaunchTemplate(*template) if template else None, image_id),
        asked_optional=said["asked_optional"],
        cause=Cause(said["cause"]),
    )
    hash(launcher)  # launches are counted by launcher: a list in a field's place raises TypeError here
    return RefusedLaunch(event_id=event_id, at=moment_of(at), launcher=launcher)
