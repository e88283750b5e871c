"""Foresees what required account defaults would break in the regions that a policy covers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import AwsError, HttpTokens, Kind
from imds_enforcer.model.wording import regions_unlisted
from imds_enforcer.policy import Policy
from imds_enforcer.runs.run import gate_of
from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.account.regions import ALL, chosen_regions
from imds_enforcer_cli.launches.kept import KeptLauncher, kept_instances, kept_launchers
from imds_enforcer_cli.launches.listing import list_launchers, said


@dataclass(slots=True)
class Foreseen:
    """Launchers whose next instance would not get IMDSv1, although the policy lets their instances keep it.

    `unknown` has a line for each thing that could not be read, over all regions.
    """

    launchers: list[KeptLauncher] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def foresee(reached: Connection, policy: Policy) -> Foreseen:
    """Judge launchers and instances as if the toggle were already `required`.

    Raises:
        AwsError: if AWS does not accept the credentials.
    """
    found, required = Foreseen(), replace(policy, http_tokens=HttpTokens.REQUIRED)
    listed = list_launchers(reached, _regions(reached, policy, found))
    found.unknown += said(each for region in listed for each in region.unread)
    holds, now = _holds(reached, found), reached.clock.now()
    unanswered: dict[str, None] = {}
    for region in listed:
        silent = {each for launcher in region.launchers if launcher.silent for each in launcher.instance_ids}
        instances = (each for each in region.instances if each.instance_id in silent)
        gate = gate_of(required, reached.clients, reached.clock, region.region)
        kept = kept_instances(instances, required, now, holds, gate)
        found.launchers += kept_launchers(region.launchers, required, now, kept)
        unanswered |= {f"{keeping.failure}": None for keeping in kept.values() if keeping.failure}
    found.unknown += [f"it is not fully known which instances the gate would hold back: {each}" for each in unanswered]
    return found


def _regions(reached: Connection, policy: Policy, found: Foreseen) -> Sequence[str]:
    """The regions that the policy covers, if known."""
    try:
        regions = chosen_regions(reached.clients, ALL, policy.regions)
    except AwsError as error:
        _note(error, "the regions are not known, so no launcher was checked", found)
        return ()
    covered = [each for each in regions if policy.regions.covers(each)]
    if reached.clients.unlisted:
        found.unknown.append(regions_unlisted(reached.clients.unlisted, covered))
    return covered


def _holds(reached: Connection, found: Foreseen) -> Mapping[str, Hold]:
    """The holds, if known."""
    try:
        return reached.clients.ledger_table.holds.standing().holds
    except AwsError as error:
        _note(error, "it is not known which instances are held", found)
        return {}


def _note(error: AwsError, what: str, found: Foreseen) -> None:
    if error.failure.kind is Kind.CREDENTIALS:
        raise error
    found.unknown.append(f"{what}: {error}")
