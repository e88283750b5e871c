"""The process of the local AWS: `python -m infra.local.server FD`, started by `client.LocalAws`.

It serves on an inherited socket, ends when its standard input ends (so it never outlives the program that
started it), and then removes the folder that TMPDIR names.
"""

import asyncio
import gc
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.core import lambda_runtime

from infra.local.server import (
    control,
    events,
    functions,
    gateway,
    identity,
    launch_permissions,
    message_moves,
    metric_data,
    metrics,
    node_groups,
    parameters,
    permissions,
    queues,
    roles,
    stack_launchers,
    stacks,
    tables,
)
from infra.local.server.autoscaling import activities, groups, launch_configurations, scaling
from infra.local.server.ec2 import (
    account_defaults,
    describe,
    fleets,
    images,
    instance_options,
    instances,
    launch_templates,
    spot_fleets,
    template_listings,
    template_versions,
)

GRACE_SECONDS = 1.0
ADDITIONS = (
    gateway,
    identity,
    permissions,
    launch_permissions,
    events,
    account_defaults,
    instances,
    instance_options,
    describe,
    images,
    launch_templates,
    template_versions,
    template_listings,
    fleets,
    spot_fleets,
    launch_configurations,
    groups,
    activities,
    scaling,
    parameters,
    queues,
    message_moves,
    functions,
    metrics,
    metric_data,
    tables,
    stacks,
    roles,
    stack_launchers,
    node_groups,
)


def main() -> None:
    """Serve until standard input ends or a signal arrives."""
    folder = Path(os.environ["TMPDIR"])
    for part in ADDITIONS:
        part.install()
    # Everything loaded so far stays: garbage collections must not pause the services to scan it.
    gc.freeze()
    config = Config()
    config.bind = [f"fd://{sys.argv[1]}"]
    config.graceful_timeout = GRACE_SECONDS
    config.keep_alive_timeout = 75
    try:
        asyncio.run(_serve(config))
    finally:
        lambda_runtime.reset()
        shutil.rmtree(folder, ignore_errors=True)


async def _serve(config: Config) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    threading.Thread(target=_wait_for_parent, args=(loop, ended), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)

    async def end() -> None:
        await ended.wait()
        gateway.cut_connections()

    await serve(control.application, config, shutdown_trigger=end)


def _wait_for_parent(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(ended.set)


if __name__ == "__main__":
    main()
