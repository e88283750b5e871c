"""What the demos share: acts with a headline, on a local AWS of the demo's own; the first failure ends it."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from infra.demo.fleet import HOME
from infra.local.client import LocalAws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from infra.local.deployment import Deployment

console = Console()
if not console.is_terminal:
    console = Console(width=100)


class DemoError(Exception):
    """Something is not as it should be."""


def ended_well(story: Callable[[LocalAws], None]) -> int:
    """Play a story on a local AWS of its own; returns 0 if all went as it should, else prints why not and returns 1."""
    try:
        with LocalAws(HOME) as aws:
            story(aws)
    except (DemoError, TimeoutError, RuntimeError) as error:
        console.print(f"[bold red]Not as it should be:[/] {escape(str(error))}")
        return 1
    return 0


@contextmanager
def act(title: str) -> Iterator[float]:
    """Print a headline, and at the end how long the act took; yields the time it began."""
    console.print(f"\n[bold]{title}[/]")
    started = time.monotonic()
    yield started
    console.print(f"  [dim]done after {time.monotonic() - started:.1f} s[/]")


def put_in_force(enforcer: Deployment, policy: Mapping[str, Any]) -> None:
    """Store a policy, and wait until no run decides by the previous one."""
    enforcer.settle(policy=enforcer.set_policy(policy))
    console.print(f"  policy {json.dumps(policy)}")


def expect(found: object, wanted: object) -> None:
    """End the demo unless both are equal."""
    if found != wanted:
        raise DemoError(f"found {found}, not {wanted}")
