"""Checks the termination protection of the stacks that the CDK CLI deploys: the CLI would fail on it halfway."""

import sys
from typing import Any

from infra import checks
from infra.account import Account, described
from infra.arguments import DeployError

_FORWARDER = "ImdsEnforcerForwarder-"
_FAILED_CREATION = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED")


def refuse(account: Account) -> None:
    """Refuse to remove any stack if one of them is protected."""
    found = _protected(account)
    if found:
        why = f"nothing was removed: termination protection is on for {', '.join(found.values())}. To switch it off:"
        lift = "aws cloudformation update-termination-protection --no-enable-termination-protection"
        commands = [f"{lift} --region {region} --stack-name {stack}" for region, stack in found.items()]
        raise DeployError("\n  ".join([why, *commands]))


def lift_from_failed_creations(account: Account) -> None:
    """Let the CLI delete the remains of failed creations: it protects a stack before it creates the resources."""
    for region, stack in _protected(account, *_FAILED_CREATION).items():
        sys.stdout.write(
            f"{stack}: its creation failed, so its termination protection is off until the next creation\n"
        )
        account.cloudformation(region).update_termination_protection(StackName=stack, EnableTerminationProtection=False)


def _protected(account: Account, *statuses: str) -> dict[str, str]:
    """The home stack and the forwarders that are protected, by region; given statuses, only those with one of them."""

    def protected(cloudformation: Any) -> str | None:
        region = cloudformation.meta.region_name
        name = checks.HOME if region == account.region else f"{_FORWARDER}{region}"
        stack = described(cloudformation, name)
        if stack and stack["EnableTerminationProtection"] and (not statuses or stack["StackStatus"] in statuses):
            return name
        return None

    regions = [account.region, *checks.other_regions(account)]
    return checks.ask(account, regions, protected, about="termination protection")
