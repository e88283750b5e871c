"""The CDK's bootstrap of the home region: created or updated only if the deployer agrees."""

import os
import sys

from infra.account import Account, DeniedError, denials
from infra.arguments import Arguments, DeployError, asked

MINIMUM_VERSION = 6
"""The version that the templates require, in their rule CheckBootstrapVersion."""

_VARIABLE = "BOOTSTRAP"


def given() -> str:
    """The variable BOOTSTRAP: `yes`, `no`, or empty to ask the deployer.

    Raises:
        DeployError: if it is anything else.
    """
    answer = os.environ.get(_VARIABLE, "")
    if answer not in ("yes", "no", ""):
        raise DeployError(f"{_VARIABLE} is {answer!r}; allowed: yes | no")
    return answer


def wanted(account: Account, arguments: Arguments) -> bool:
    """Whether the home region needs a bootstrap and the deployer agrees to it.

    Raises:
        DeployError: if it needs one, and the deployer does not agree or cannot be asked.
    """
    version = _version(account)
    if version is None or version >= MINIMUM_VERSION:
        return False
    consequence = _consequence(account, version, arguments.toolkit_name)
    if (given() or asked(f"{consequence}\nContinue? (yes | no): ")) == "yes":
        return True
    target = f"aws://{account.number}/{account.region}"
    own = "cdk bootstrap --cloudformation-execution-policies <ARNs>"
    ways = (
        f"make deploy {_VARIABLE}=yes  # bootstraps it",
        f"{' '.join([own, *arguments.toolkit(), target])}  # bootstraps it as your rules require; then make deploy",
        "make template  # plain CloudFormation, which needs no bootstrap",
    )
    raise DeployError("\n  ".join([f"nothing was deployed: {consequence} Choose one:", *ways]))


def _version(account: Account) -> int | None:
    """The bootstrap's version; 0 without a bootstrap; None if reading it is denied: then the CDK CLI finds out."""
    # The bootstrap lets its own deploy role read its version.
    ssm = account.deployer("ssm")
    try:
        with denials():
            return int(ssm.get_parameter(Name=f"/cdk-bootstrap/{account.qualifier}/version")["Parameter"]["Value"])
    except DeniedError as error:
        sys.stderr.write(f"The version of the bootstrap was not checked: {error}\n")
        return None
    except ssm.exceptions.ParameterNotFound:
        return 0


def _consequence(account: Account, version: int, stack: str) -> str:
    """What is missing, and what the bootstrap changes (AWS CDK Developer Guide, "Customize AWS CDK bootstrapping")."""
    where = f"{account.region} in account {account.number}"
    role = f"cdk-{account.qualifier}-cfn-exec-role-{account.number}-{account.region}"
    if version:
        return (
            f"the bootstrap of {where} has version {version}, and the stacks need version {MINIMUM_VERSION}. Updating "
            f"it changes the stack {stack}, which other apps may use too: its bucket and its roles, among them {role}, "
            "which CloudFormation assumes. That role keeps its policies, AdministratorAccess unless others were chosen."
        )
    return (
        f"{where} is not bootstrapped for the CDK. Bootstrapping creates the stack {stack}: a bucket and a "
        f"repository for assets, and roles, among them {role} with AdministratorAccess, which CloudFormation assumes."
    )
