"""What the enforcer does side by side, done one after another: on one clock, that is the same each time."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, TypeVar

from imds_enforcer.model import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

T = TypeVar("T")


class InTurn(Executor):
    """Takes the place of a ThreadPoolExecutor; what is submitted has been done when `submit` returns."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        """Any pool is this one."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Do it now. An error in the program ends the run here, and not where nobody asks for the result."""
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
