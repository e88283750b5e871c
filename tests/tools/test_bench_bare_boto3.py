"""The pace of boto3 alone: as EC2's bucket allows, and no request that it would refuse."""

from __future__ import annotations

import pytest

from tests.bench.bare_boto3 import Bucket
from tests.bench.measurement import CAPACITY, REFILL, bound

BUCKET = Bucket(CAPACITY, REFILL)


@pytest.mark.parametrize(("number", "seconds"), [(0, 0), (99, 0), (100, 0.2), (104, 1)])
def test_a_change_waits_for_its_token(number: int, seconds: float) -> None:
    """The first hundred find one each; then five come back a second."""
    assert BUCKET.due(number) == pytest.approx(seconds)


def test_the_last_change_is_due_when_the_bound_is_reached() -> None:
    """So it is as quick as anything can be."""
    assert BUCKET.due(400 - 1) == pytest.approx(bound(400))
