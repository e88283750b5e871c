"""The enforcer's concurrent work, done one after another, so that on one clock every run is the same."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

from imds_enforcer.model import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

T = TypeVar("T")


class InTurn(Executor):
    """Replaces a ThreadPoolExecutor; the work is done when `submit` returns."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        """Accept the arguments of any pool."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Do it now. A programming error ends the run here: no caller may ask for the result later."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except AwsError as error:
            future.set_exception(error)
        return future


def without_threads(patch: pytest.MonkeyPatch) -> None:
    """Let the enforcer use no threads."""
    for module in ("application", "runs.batch", "enforcement.remediation", "runs.revert", "runs.sweep", "runs.watch"):
        patch.setattr(f"imds_enforcer.{module}.ThreadPoolExecutor", InTurn)
