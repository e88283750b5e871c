"""The policy for a run from this machine: from Parameter Store, or from the operator's file."""

from dataclasses import dataclass, replace
from pathlib import Path

from imds_enforcer.limits.cancellation import Versions
from imds_enforcer.model import AwsError, Kind
from imds_enforcer.policy import Mode, Policy, RegionSelection
from imds_enforcer.policy.parser import PolicyInvalidError
from imds_enforcer_cli.account.connection import HTTP_TOKENS_PARAMETER, POLICY_PARAMETER, Connection
from imds_enforcer_cli.account.policy_file import read_policy_file
from imds_enforcer_cli.console.errors import CommandError
from imds_enforcer_cli.console.output import say


@dataclass(frozen=True, slots=True)
class Governing:
    """A policy and its name for the user. `source` says whether it is still in force; None for an operator's file."""

    policy: Policy
    named: str
    source: Versions | None

    def within(self, regions: tuple[str, ...]) -> "Governing":
        """The same policy for these regions only.

        Raises:
            CommandError: if the policy covers none of them.
        """
        covered = tuple(region for region in regions if self.policy.regions.covers(region))
        left_out = ", ".join(region for region in regions if region not in covered)
        if not covered:
            raise CommandError(f"--regions is {left_out}; allowed: regions of the policy, {self.policy.regions}")
        if left_out:
            say(f"The policy leaves {left_out} out.")
        return replace(self, policy=replace(self.policy, regions=RegionSelection(include=covered)))


def governing(reached: Connection, path: Path | None) -> Governing:
    """The policy in the file; without a file, the policy in Parameter Store.

    Raises:
        CommandError: if there is no policy, or if it is invalid.
        AwsError: if Parameter Store could not be read.
    """
    if path is None:
        return Governing(_stored(reached), "Parameter Store", reached.clients.policies)
    policy = read_policy_file(path)
    if reached.deployed:
        _compare(policy, reached)
    return Governing(policy, str(path), None)


def _stored(reached: Connection) -> Policy:
    try:
        policy = reached.policy()
    except PolicyInvalidError as error:
        raise CommandError(f"the policy is invalid, so nothing is changed: {error}") from None
    if policy is None:
        raise CommandError(
            f"no policy: {HTTP_TOKENS_PARAMETER} and {POLICY_PARAMETER} do not exist in {reached.clients.home_region}; "
            "name the home region with --region, or a file with --policy"
        )
    return policy


def _compare(policy: Policy, reached: Connection) -> None:
    """Warn if the deployed enforcer follows another policy, and say what that means for this run's changes."""
    try:
        deployed = reached.clients.policies.read()
    except AwsError as error:
        if error.failure.kind is Kind.CREDENTIALS:
            raise
        say(f"The deployed enforcer's policy could not be read, so it is not compared with the file: {error}")
        return
    except PolicyInvalidError as error:
        say(f"The deployed enforcer changes nothing, because its policy is invalid: {error}")
        return
    if replace(deployed, versions=policy.versions) == policy:
        return
    another = f"The deployed enforcer follows another policy, {deployed.versions}"
    if deployed.mode is Mode.AUDIT:
        say(f"{another}, in audit mode, and changes nothing. This run's mode is that of the file: {policy.mode}.")
    elif policy.mode is Mode.AUDIT:
        say(f"{another}.")
    else:
        say(f"{another}, and will change back every option for which that policy has another value.")
