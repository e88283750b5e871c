"""Shows an audit's progress on a terminal."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from imds_enforcer.model.wording import count
from imds_enforcer_cli.audit.fleet import Progress as Report


@contextmanager
def region_progress(regions: Sequence[str]) -> Iterator[Report]:
    """Show on standard error how many regions are done and how far the others are, if that is a terminal."""
    if not sys.stderr.isatty():
        yield _nothing
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        total = bars.add_task(f"{count(len(regions), 'region')}", total=len(regions))
        tasks = {region: bars.add_task(region, total=None, visible=False) for region in regions}

        def show(region: str, *, pages: int, instances: int, done: bool = False) -> None:
            text = f"{region}: {count(pages, 'page')}, {count(instances, 'instance')}"
            bars.update(tasks[region], description=text, visible=not done)
            if done:
                bars.advance(total)

        yield show


def _nothing(region: str, *, pages: int, instances: int, done: bool = False) -> None:
    """Without a terminal, show nothing."""
