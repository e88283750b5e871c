"""The commands of `imds-enforcer`, imported; the list in the help has only their names."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup
from typer.main import get_command

from imds_enforcer_cli.command_group import Deferred
from imds_enforcer_cli.main import app

if TYPE_CHECKING:
    from collections.abc import Iterator


@cache
def listed() -> dict[str, Any]:
    """The commands as the help lists them."""
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    return dict(root.commands)


@cache
def commands() -> dict[str, Any]:
    """Every command by its words, and every group that has options, as it does something by itself."""
    return dict(_in({name: _loaded(each) for name, each in listed().items()}))


def _loaded(command: Any) -> Any:
    return command.loaded if isinstance(command, Deferred) else command


def _in(group: dict[str, Any], *path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.items():
        if isinstance(command, TyperGroup):
            yield from _in(dict(command.commands), *path, name)
        if not isinstance(command, TyperGroup) or command.params:
            yield " ".join((*path, name)), command
