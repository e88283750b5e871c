"""Waits for a condition; if it is never met, says what was seen last."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(look: Callable[[], T], accept: Callable[[T], bool] = bool, *, seconds: float = 60, every: float = 0.05) -> T:
    """Look again and again, and return what was seen as soon as it is accepted."""
    deadline = time.monotonic() + seconds
    while not accept(seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {seconds} s; last seen: {seen!r}")
        time.sleep(every)  # between two looks, to leave the core to others
    return seen
