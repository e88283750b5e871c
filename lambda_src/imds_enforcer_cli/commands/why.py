"""`imds-enforcer audit --instance`: explain the audit's result for single instances."""

from collections.abc import Sequence

from imds_enforcer_cli.account.connection import Connection
from imds_enforcer_cli.audit.document import Document, Subject
from imds_enforcer_cli.audit.evidence import gathered, search
from imds_enforcer_cli.audit.fleet import Lookback
from imds_enforcer_cli.audit.why import why_document
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say


def explained(
    reached: Connection, subject: Subject, instance_ids: Sequence[str], regions: Sequence[str], *, wants_calls: bool
) -> tuple[Document, bool]:
    """The explanation of these instances, whichever of the regions each is in; and whether everything could be read.

    Raises:
        CommandError: if none of the instances was found, naming the regions that were searched.
    """
    searched = search(reached.clients, instance_ids, regions)
    unknown = [each for each in instance_ids if each not in searched.found]
    refused = [f"{region} could not be searched: {why}" for region, why in searched.refused.items()]
    if unknown:
        where = ", ".join(searched.asked) or "any region that could be searched"
        named = f"no instance {', '.join(unknown)} in {where}"
        if not searched.found:
            raise CommandError("; ".join([named, *refused]))
        for each in (named, *refused):
            say(each)
    lookback = Lookback(subject.lookback_days, subject.policy.gate) if wants_calls else None
    evidence = gathered(reached.clients, reached.clock, searched.found.values(), subject, lookback)
    if not reached.deployed:
        say("The enforcer is not deployed here, so there is no ledger and no hold.")
    complete = not unknown and not any(each.failures for each in evidence)
    return why_document(subject, searched, evidence, unknown), complete
