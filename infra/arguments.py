"""What `make deploy` itself reads from CDK_ARGS and the CDK's configuration files; the CLI gets all of it too."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra import account_rules
from infra.account_rules import AccountRules, ContextError

ROOT = Path(__file__).parents[1]
FIRST_VALUES = {"http_tokens": ("required", "optional"), "mode": ("enforce", "audit")}
"""The context keys that set the parameters' first values, with the values allowed."""
ALLOW_SECOND_HOME = "allow_second_home"
KEYS = (*FIRST_VALUES, ALLOW_SECOND_HOME)
"""The context keys that no template depends on."""

_TOOLKIT = "CDKToolkit"


class DeployError(Exception):
    """The command refused to start, or could not continue; the message says what to do about it."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Context and tags by name, and the options that select credentials, region and role.

    `given` is this call's context, `standing` the context in `cdk.json` and the CDK's other files. `output` is the
    folder for templates, if one was named.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    standing: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    profile: str | None = None
    region: str | None = None
    role_arn: str | None = None
    toolkit_stack: str | None = None
    output: Path | None = None

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "Arguments":
        """Parse the arguments as the CDK CLI does, and ignore those that only the CLI needs.

        Raises:
            DeployError: if an option has no value, or a value that is not allowed.
        """
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        parser.add_argument("-c", "--context", action="append", default=[])
        parser.add_argument("-t", "--tags", action="append", default=[])
        parser.add_argument("-r", "--role-arn")
        parser.add_argument("--profile")
        parser.add_argument("--region")
        parser.add_argument("--toolkit-stack-name", default=os.environ.get("CDK_TOOLKIT_STACK_NAME"))
        parser.add_argument("-o", "--output", type=Path)
        try:
            known, _ = parser.parse_known_args([*arguments])
        except argparse.ArgumentError as error:
            raise DeployError(str(error)) from None
        # The CLI reads each of its options from the environment as well.
        context = known.context or list(filter(None, [os.environ.get("CDK_CONTEXT")]))
        parsed = cls(
            given=_pairs(context),
            standing=_standing(),
            tags=_pairs(known.tags),
            profile=known.profile,
            region=known.region,
            role_arn=known.role_arn,
            toolkit_stack=known.toolkit_stack_name,
            output=known.output,
        )
        parsed.first_values()
        parsed.state_tags()
        return parsed

    def first_values(self) -> dict[str, str]:
        """The first value of each of `FIRST_VALUES`.

        Raises:
            DeployError: naming a value that is not allowed.
        """
        chosen: dict[str, str] = {}
        for key, allowed in FIRST_VALUES.items():
            chosen[key] = value = self._context(key, allowed[0])
            if value not in allowed:
                raise DeployError(f"context {key!r}: received {value!r}; allowed: {' | '.join(allowed)}")
        return chosen

    def flag(self, key: str) -> bool:
        """Whether the context sets this flag.

        Raises:
            DeployError: if its value is neither true nor false.
        """
        with _refusals():
            return account_rules.flag(key, self._context(key))

    def rules(self) -> AccountRules:
        """What the account's own rules require.

        Raises:
            DeployError: naming the invalid value.
        """
        with _refusals():
            return AccountRules.parse({key: self._context(key) for key in account_rules.KEYS})

    def state_tags(self) -> Mapping[str, str]:
        """The tags to create the state stack with, which the CLI does not deploy; `--tags` override the context's.

        Raises:
            DeployError: naming the invalid value.
        """
        rules = self.rules()
        with _refusals():
            return account_rules.checked_tags({**rules.tags, **self.tags})

    @property
    def toolkit_name(self) -> str:
        """The name of the bootstrap's stack; each qualifier has a stack of its own, and replaces no other."""
        qualifier = self.rules().qualifier
        # Stack names cannot contain underscores.
        own = "" if qualifier == account_rules.DEFAULT_QUALIFIER else f"-{qualifier.replace('_', '-')}"
        return self.toolkit_stack or f"{_TOOLKIT}{own}"

    def toolkit(self) -> list[str]:
        """The arguments for `cdk bootstrap` that select this bootstrap, unless it is the default one."""
        named = {"--qualifier": self.rules().qualifier, "--toolkit-stack-name": self.toolkit_name}
        usual = (account_rules.DEFAULT_QUALIFIER, _TOOLKIT)
        return [word for option, value in named.items() if value not in usual for word in (option, value)]

    def _context(self, key: str, default: object = None) -> Any:
        """This call's value, else the standing one."""
        return self.given.get(key, self.standing.get(key, default))

    def context(self) -> list[str]:
        """This call's context, as arguments for another CLI command."""
        return [word for key, value in self.given.items() for word in ("-c", f"{key}={value}")]

    def credentials(self) -> list[str]:
        """The choice of credentials, as arguments for another CLI command."""
        return ["--profile", self.profile] if self.profile else []


def asked(question: str) -> str | None:
    """The answer typed at the terminal; empty at end of input, None without a terminal."""
    if not sys.stdin.isatty():
        return None
    try:
        return input(question).strip()
    except EOFError:
        return ""


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ContextError as error:
        raise DeployError(str(error)) from None


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = (text.partition("=") for text in texts)
    return {name: value for name, _, value in pairs}


def _standing() -> dict[str, Any]:
    """The context in the CDK's files; as in the CLI, the project's overrides the user's."""
    project = _read(ROOT / "cdk.json").get("context", {})
    user = _read(Path.home() / ".cdk.json").get("context", {})
    return {**user, **_read(ROOT / "cdk.context.json"), **project}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DeployError(f"{path} is not JSON: {error}") from None
    return content if isinstance(content, dict) else {}
