"""The CDK's bootstrap of the home region: made, or brought up to date, only if the deployer says so."""

import os
import sys

from infra.account import Account, DeniedError, denials
from infra.arguments import Arguments, DeployError, asked

MINIMUM_VERSION = 6
"""The version that the templates themselves ask for, in their rule CheckBootstrapVersion."""

_VARIABLE = "BOOTSTRAP"


def given() -> str:
    """The variable BOOTSTRAP: `yes`, `no`, or empty where the deployer is to be asked.

    Raises:
        DeployError: if it is anything else.
    """
    answer = os.environ.get(_VARIABLE, "")
    if answer not in ("yes", "no", ""):
        raise DeployError(f"{_VARIABLE} is {answer!r}; allowed: yes | no")
    return answer


def wanted(account: Account, arguments: Arguments) -> bool:
    """True if the home region has to be bootstrapped, and the deployer agrees.

    Raises:
        DeployError: if it has to be, and the deployer does not agree, or cannot be asked.
    """
    version = _version(account)
    if version is None or version >= MINIMUM_VERSION:
        return False
    consequence = _consequence(account, version, arguments.toolkit_name)
    if (given() or asked(f"{consequence}\nGo on? (yes | no): ")) == "yes":
        return True
    target = f"aws://{account.number}/{account.region}"
    own = "cdk bootstrap --cloudformation-execution-policies <ARNs>"
    ways = (
        f"make deploy {_VARIABLE}=yes  # do it",
        f"{' '.join([own, *arguments.toolkit(), target])}  # as your rules demand; then make deploy",
        "make template  # plain CloudFormation, which needs no bootstrap",
    )
    raise DeployError("\n  ".join([f"nothing was deployed: {consequence} The ways on:", *ways]))


def _version(account: Account) -> int | None:
    """The version that is there, 0 if there is none; None if it may not be read: then the CDK CLI finds out."""
    # The bootstrap lets its own deploy role read it.
    ssm = account.deployer("ssm")
    try:
        with denials():
            return int(ssm.get_parameter(Name=f"/cdk-bootstrap/{account.qualifier}/version")["Parameter"]["Value"])
    except DeniedError as error:
        sys.stderr.write(f"The version of the bootstrap was not looked at: {error}\n")
        return None
    except ssm.exceptions.ParameterNotFound:
        return 0


def _consequence(account: Account, version: int, stack: str) -> str:
    """What has to be done, and what that makes (AWS CDK Developer Guide, "Customize AWS CDK bootstrapping")."""
    where = f"{account.region} of {account.number}"
    role = f"cdk-{account.qualifier}-cfn-exec-role-{account.number}-{account.region}"
    if version:
        return (
            f"the bootstrap of {where} is version {version}, and the stacks need {MINIMUM_VERSION}. The update changes "
            f"the stack {stack}, with which other apps may deploy: its bucket, and its roles, among them {role}, "
            "which CloudFormation uses; it keeps its policies, which are AdministratorAccess where none were chosen."
        )
    return (
        f"{where} is not bootstrapped for the CDK. Bootstrapping creates the stack {stack}: a bucket and a "
        f"repository for assets, and roles, among them {role} with AdministratorAccess, which CloudFormation uses."
    )
