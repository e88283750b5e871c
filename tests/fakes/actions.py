"""The IAM actions that a command uses in an account in memory, and those that its help names."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.fakes.command_tree import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.fakes.clients import FakeClients

_ACTION = re.compile(r"\b[a-z0-9]+:[A-Z][A-Za-z]+")
_OTHERWISE_NAMED = {"lambda:Invoke": "lambda:InvokeFunction"}


def named_for(arguments: Sequence[str]) -> set[str]:
    """The actions named in the help of the command that these arguments run."""
    fitting = [each for each in commands() if [*arguments[: len(words := each.split())]] == words]
    return set(_ACTION.findall(commands()[max(fitting, key=len)].epilog or ""))


class Recorded:
    """A boto3 client whose calls are recorded under their IAM names."""

    def __init__(self, service: str, client: Any, note: Callable[[str], None]) -> None:
        self._service = service
        self._client = client
        self._note = note

    def __getattr__(self, name: str) -> Any:
        """A call; a paginator counts as the call that it repeats."""
        if name == "get_paginator":
            return self._paginator
        self._called(name)
        return getattr(self._client, name)

    def _paginator(self, name: str) -> Any:
        self._called(name)
        return self._client.get_paginator(name)

    def _called(self, name: str) -> None:
        action = f"{self._service}:{''.join(map(str.capitalize, name.split('_')))}"
        self._note(_OTHERWISE_NAMED.get(action, action))


def taken(clients: FakeClients) -> Counter[str]:
    """How often the enforcer's own adapters have used each action so far."""
    ec2 = (f"ec2:{call.partition(' ')[0]}" for call in clients.ec2_calls)
    table = (f"dynamodb:{request.partition(' ')[0]}" for request in clients.table.requests)
    metrics = sum(len(metrics.requests) for metrics in clients.metrics.values())
    return Counter([*ec2, *table]) + Counter(
        {"ssm:GetParameters": len(clients.ssm.requests), "cloudwatch:GetMetricData": metrics}
    )


def missing(arguments: Sequence[str], actions: Iterable[str]) -> set[str]:
    """The actions that the command used but its help does not name."""
    return set(actions) - named_for(arguments)
