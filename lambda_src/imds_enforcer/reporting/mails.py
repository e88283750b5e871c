"""The mails to the operators: every subject and text."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imds_enforcer.decision.legacy_calls import FIND_CALLER, HOW_TO_FIND_CALLERS
from imds_enforcer.model import AwsError, Outcome, Source
from imds_enforcer.model.result import counts
from imds_enforcer.model.wording import each_count, launched_by
from imds_enforcer.policy.document import as_text
from imds_enforcer.reporting import telemetry
from imds_enforcer.reporting.report import KEPT_BACK, MAX_FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imds_enforcer.aws.services import Clients
    from imds_enforcer.decision.legacy_calls import Calls
    from imds_enforcer.ledger.entry import Entry
    from imds_enforcer.model import Instance
    from imds_enforcer.policy import Policy
    from imds_enforcer.policy.parser import PolicyInvalidError
    from imds_enforcer.reporting.report import RunReport


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to the operators."""

    subject: str
    text: str


def send(clients: Clients, mail: Mail) -> bool:
    """Send a mail; a failure is logged, returned as False, and has no other effect."""
    try:
        clients.notifications.send(f"imds-enforcer: {mail.subject}", mail.text)
    except AwsError as error:
        telemetry.call_failed("a notification could not be sent", error)
        return False
    return True


def policy_changed(policy: Policy) -> Mail:
    """Sent after each change of the policy: what is in force now."""
    return Mail("The policy was changed", as_text(policy))


def policy_invalid(error: PolicyInvalidError) -> Mail:
    """Sent after a change that made the policy invalid."""
    return Mail("The policy was changed and is invalid", f"The enforcer changes nothing until it is fixed: {error}")


def needs_attention(report: RunReport) -> Mail:
    """Sent after the daily inventory: failures, instances kept back, and whatever else a person must look at."""
    outcomes = ", ".join(each_count(counts(report.outcomes))) or "no instances"
    lines = [f"{report.trigger} run {report.run_id}, HttpTokens {report.policy.http_tokens}: {outcomes}."]
    lines += [f"The run was cut short: {report.stopped}."] if report.stopped else []
    lines += [f"Region {name} failed: {region.failure}" for name, region in report.failed_regions.items()]
    lines += [f"Region {name} is denied by the organization: {why}" for name, why in report.denied_regions.items()]
    lines += [f"Region {name} was stopped: {why}" for name, why in report.stopped_regions.items()]
    lines += [
        f"Not every change in {name} is in the ledger: {region.ledger_failure}"
        for name, region in report.regions.items()
        if region.ledger_failure and not region.stopped
    ]
    lines += [f"{r.instance_id} in {r.region} failed: {r.failure or r.reason}" for r in report.failures]
    unnamed = report.outcomes[Outcome.FAILED] - len(report.failures)
    if unnamed > 0:
        lines.append(f"… and {unnamed} more failures, each with a line in the log.")
    lines += [f"{r.instance_id} in {r.region} is {r.outcome}: {r.reason}" for r in report.kept_back]
    unnamed = sum(report.outcomes[outcome] for outcome in KEPT_BACK) - len(report.kept_back)
    if unnamed > 0:
        lines.append(f"… and {unnamed} more are kept back, each with a line in the log of the daily inventory.")
    if any(FIND_CALLER in r.reason for r in report.kept_back):
        lines.append(HOW_TO_FIND_CALLERS)
    lines += [f"{r.instance_id} in {r.region} lacks an option: {r.reason}" for r in report.refused]
    unnamed = report.refused_in_all - len(report.refused)
    if unnamed > 0:
        lines.append(f"… and {unnamed} more lack an option, each with a line in the log of the daily inventory.")
    lines += [f"The account defaults in {r.region} are {r.outcome}: {r.reason}" for r in report.odd_defaults]
    lines += [f"Exemption expired, remove or renew it: {exemption.named()}" for exemption in report.expired_exemptions]
    lines += [f"Launches refused: {each}" for each in report.refused_launchers[:MAX_FAILURES]]
    unnamed = len(report.refused_launchers) - MAX_FAILURES
    if unnamed > 0:
        lines.append(f"… and {unnamed} more launchers; imds-enforcer status names all of them.")
    return Mail("Instances that need attention", "\n".join([*lines, *report.warnings]))


@dataclass(frozen=True, slots=True)
class Rejection:
    """An instance that has rejected calls since its change. `instance` is None if EC2 no longer lists it."""

    change: Entry
    calls: Calls
    instance: Instance | None

    def __str__(self) -> str:
        source = self.instance.source if self.instance else Source()
        known = launched_by(source.auto_scaling_group, source.launch_template, source.image_id, missing="none")
        return (
            f"{self.change.instance_id} in {self.change.region}: {self.calls.total} calls without a token rejected "
            f"since {self.change.at:%Y-%m-%d %H:%M} UTC ({', '.join(known)})"
        )


def still_called(rejections: Sequence[Rejection]) -> Mail:
    """Sent by the watch: the instances, and the commands that revert them."""
    lines = [*map(str, rejections), "The enforcer left them as they are.", *_revert_commands(rejections)]
    return Mail("Instances still call IMDSv1 after it was switched off", "\n".join(lines))


def _revert_commands(rejections: Iterable[Rejection]) -> list[str]:
    """For each run, the command that reverts those of its instances that still exist."""
    by_run: dict[str, list[str]] = defaultdict(list)
    for each in rejections:
        if each.instance and not each.instance.state.ended:
            by_run[each.change.run_id].append(each.change.instance_id)
    commands = [f"imds-enforcer revert {' '.join(sorted(ids))} --run {run_id}" for run_id, ids in by_run.items()]
    return ["", "To revert and hold them, run:", *commands] if commands else []
