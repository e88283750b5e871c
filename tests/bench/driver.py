"""The function's code in a process of its own: `python -m tests.bench.driver`.

It reads one event a line from standard input, invokes the handler as Lambda would, and writes one line: the handler's
answer with its time and CPU. It discards the function's log.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import sys
import time
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Handler = Any

ACCOUNT = "000000000000"
LAMBDA_SECONDS = 900


def main() -> None:
    """Answer events until the input ends."""
    wishes = argparse.ArgumentParser()
    wishes.add_argument("--refill-times", type=float, help="speed up the refill of the enforcer's own bucket")
    wishes.add_argument("--candidates", type=int, help="serve this many instances from within the process")
    wishes.add_argument("--without-safeguards", action="store_true", help="keep nothing between runs, at no cost")
    wishes.add_argument("--parts", action="store_true", help="answer the CPU seconds of each part too")
    wish = wishes.parse_args()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    handler = _unguarded() if wish.without_safeguards else _handler(wish.refill_times, wish.candidates)
    parts = _parts() if wish.parts else dict
    for line in sys.stdin:
        answers.write(json.dumps(_invoke(handler, json.loads(line)) | parts()) + "\n")


def _handler(refill_times: float | None, candidates: int | None) -> Handler:
    if refill_times:
        return _paced(refill_times)
    if candidates:
        return _self_served(candidates)
    return importlib.import_module("imds_enforcer.handler").handler


def _invoke(handler: Handler, event: object) -> dict[str, Any]:
    started, cpu = time.monotonic(), _cpu()
    answer = handler(event, _context(started))
    ended = time.monotonic()
    return {"answer": answer, "seconds": ended - started, "ended": ended, "cpu_s": _cpu() - cpu}


def _parts() -> Callable[[], dict[str, Any]]:
    """What answers the CPU of each part since the last time."""
    from tests.bench.parts import Parts  # noqa: PLC0415  # see _self_served

    parts = Parts()
    parts.watch()
    return parts.taken


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _context(started: float) -> SimpleNamespace:
    """The part of Lambda's context that the handler uses."""
    return SimpleNamespace(
        aws_request_id=str(uuid.uuid4()),
        invoked_function_arn=f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:imds-enforcer",
        get_remaining_time_in_millis=lambda: (LAMBDA_SECONDS - (time.monotonic() - started)) * 1000,
    )


def _unguarded() -> Handler:
    """The handler without ledger and holds; the policy leaves out gate and watch."""
    from imds_enforcer import handler  # noqa: PLC0415  # see _self_served
    from imds_enforcer.aws.dynamodb import NoTable  # noqa: PLC0415
    from imds_enforcer.aws.ledger_table import LedgerTable  # noqa: PLC0415
    from imds_enforcer.model import SystemClock  # noqa: PLC0415

    # Set before the handler would make it on first use.
    ledger_table = LedgerTable(NoTable(), SystemClock())
    vars(handler._application.clients)["ledger_table"] = ledger_table  # noqa: SLF001  # the handler has no other way in
    return handler.handler


def _paced(times: float) -> Handler:
    """The application with a bucket that refills faster, like the local EC2's in that run."""
    from imds_enforcer.limits.pacing import CHANGES, Limit  # noqa: PLC0415  # see _self_served

    limit = Limit(CHANGES.capacity, CHANGES.refill * times)
    return _application(lambda clients, settings, clock: clients(settings, clock, change_limit=limit))


def _self_served(candidates: int) -> Handler:
    """The application with an EC2 within this process, behind the real client and its parser."""
    import boto3  # noqa: PLC0415  # a cold start imports what the handler imports, in its order

    from imds_enforcer.aws.session import fleet_session  # noqa: PLC0415
    from tests.bench.pages import Pages  # noqa: PLC0415

    session = boto3.Session(botocore_session=fleet_session())
    # botocore uses a hook's answer, although its stubs say that a hook returns None.
    answer: Any = Pages(candidates).answer
    session.events.register("before-send.ec2", answer)
    return _application(lambda clients, settings, clock: clients(settings, clock, session))


def _application(clients: Callable[[Any, Any, Any], Any]) -> Handler:
    """The handler with an application that has other clients."""
    from imds_enforcer import handler  # noqa: PLC0415  # see _self_served
    from imds_enforcer.application import Application  # noqa: PLC0415
    from imds_enforcer.aws.services import Clients  # noqa: PLC0415
    from imds_enforcer.model import SystemClock  # noqa: PLC0415
    from imds_enforcer.settings import Settings  # noqa: PLC0415

    settings, clock = Settings.from_environment(os.environ), SystemClock()
    handler._application = Application(settings, clients(Clients, settings, clock), clock)  # noqa: SLF001  # the handler has no other way in
    return handler.handler


if __name__ == "__main__":
    main()
