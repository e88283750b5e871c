"""What `make template` writes: the stacks as plain CloudFormation, the function's zip, and how to deploy them."""

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra import account_rules, package, state
from infra.account_rules import AccountRules
from infra.arguments import ROOT

HOME, FORWARDER = "ImdsEnforcer", "ImdsEnforcerForwarder"
FIRST_VALUES = f"{state.STACK}.first-values.json"
STACK_POLICY = f"{state.STACK}.stack-policy.json"


def write(
    folder: Path, context: Mapping[str, Any], first_values: Mapping[str, str], environment: Mapping[str, str]
) -> str:
    """Write every file into the folder; returns the next steps, empty if the context is invalid.

    Args:
        folder: created if missing; zips of other versions in it stay.
        context: as the CDK CLI merges it.
        first_values: of the state stack's parameters.
        environment: with Node.js on its PATH.

    Raises:
        ContextError: naming an invalid value among the account's own rules.
    """
    rules = AccountRules.parse({key: context.get(key) for key in account_rules.KEYS})
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", "infra.plain_app", str(folder.absolute())],
        cwd=ROOT,
        env={**environment, "CDK_CONTEXT_JSON": json.dumps(context)},
        check=False,
    )
    if done.returncode:
        return ""
    documents = {
        _template(state.STACK): state.template(),
        FIRST_VALUES: [{"ParameterKey": name, "ParameterValue": value} for name, value in first_values.items()],
        STACK_POLICY: state.PROTECTION,
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1), "utf-8")
    return _next_steps(folder, package.archive(folder), rules)


def _next_steps(folder: Path, code: Path, rules: AccountRules) -> str:
    # A template cannot set its stack's tags and protection.
    tags = [shlex.quote(f"Key={key},Value={value}") for key, value in rules.tags.items()]
    tagged = f"--tags {' '.join(tags)}" if tags else ""
    protected = "--enable-termination-protection"
    options = [tagged, protected if rules.termination_protection else ""]

    def stack(region: str, name: str, template: str, *options: str) -> list[str]:
        named = f"--region {region} --stack-name {name}"
        body = f"--template-body {file(_template(template))}"
        return [
            " ".join(["aws cloudformation create-stack", named, body, *filter(None, options)]),
            f"aws cloudformation wait stack-create-complete {named}",
        ]

    def file(name: str) -> str:
        return shlex.quote(f"file://{folder / name}")

    body, roles = shlex.quote(str(code)), "--capabilities CAPABILITY_NAMED_IAM"
    place = f"ParameterKey=CodeBucket,ParameterValue=BUCKET ParameterKey=CodeKey,ParameterValue={code.name}"
    home = [
        f"aws s3api put-object --region HOME_REGION --bucket BUCKET --key {code.name} --body {body}",
        *stack(
            "HOME_REGION",
            state.STACK,
            state.STACK,
            f"--parameters {file(FIRST_VALUES)}",
            f"--stack-policy-body {file(STACK_POLICY)}",
            tagged,
            protected,
        ),
        *stack("HOME_REGION", HOME, HOME, f"--parameters {place}", roles, *options),
    ]
    parameter = "--parameters ParameterKey=HomeRegion,ParameterValue=HOME_REGION"
    forwarder = stack("REGION", f"{FORWARDER}-REGION", FORWARDER, parameter, roles, *options)
    files = [*map(_template, (state.STACK, HOME, FORWARDER)), FIRST_VALUES, STACK_POLICY, code.name]
    return "\n".join(
        [
            f"In {folder}:",
            *(f"  {name}" for name in files),
            "Next, with a BUCKET in the home region (infra/README.md, 'From plain CloudFormation'):",
            *(f"  {line}" for line in home),
            "Then, for each other REGION that should forward its events:",
            *(f"  {line}" for line in forwarder),
            "",
        ]
    )


def _template(stack: str) -> str:
    return f"{stack}.template.json"
