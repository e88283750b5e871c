"""boto3 alone changes every instance of its input, at the pace of EC2's bucket, without a refused request."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import boto3
import pytest

from tests.bench import bare_boto3
from tests.bench.bare_boto3 import Bucket
from tests.bench.measurement import CAPACITY, REFILL, bound

BUCKET = Bucket(CAPACITY, REFILL)


@pytest.mark.parametrize(("number", "seconds"), [(0, 0), (99, 0), (100, 0.2), (104, 1)])
def test_a_change_waits_for_its_token(number: int, seconds: float) -> None:
    """The first hundred find one each; after them, five tokens come back each second."""
    assert BUCKET.due(number) == pytest.approx(seconds)


def test_the_last_change_is_due_when_the_bound_is_reached() -> None:
    """So nothing can be faster."""
    assert BUCKET.due(400 - 1) == pytest.approx(bound(400))


class Ec2:
    """EC2 of one region, which refuses changes of the instance `gone`."""

    def __init__(self, region: str, changed: list[tuple[str, str]]) -> None:
        self._region = region
        self._changed = changed

    def modify_instance_metadata_options(self, **request: str) -> None:
        """Record the change."""
        if request["InstanceId"] == "gone":
            raise LookupError
        self._changed.append((self._region, request["InstanceId"]))


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The region and instance of each change."""
    changes: list[tuple[str, str]] = []

    class Session:
        def client(self, _service: str, region_name: str, **_options: Any) -> Ec2:
            return Ec2(region_name, changes)

    monkeypatch.setattr(boto3, "Session", Session)
    return changes


def asked(monkeypatch: pytest.MonkeyPatch, **instances: list[str]) -> None:
    """A run for these instances, most of which have to wait for a token."""
    wish = {"instances": instances, "capacity": 2, "refill": 1000}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(wish)))
    bare_boto3.main()


def test_all_are_changed_in_their_region(monkeypatch: pytest.MonkeyPatch, changed: list[tuple[str, str]]) -> None:
    """Each once."""
    asked(monkeypatch, here=[f"i-{number}" for number in range(20)], there=["i-20"])
    assert sorted(changed) == sorted([*(("here", f"i-{number}") for number in range(20)), ("there", "i-20")])


@pytest.mark.usefixtures("changed")
def test_a_change_that_fails_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that left an instance is no baseline."""
    with pytest.raises(LookupError):
        asked(monkeypatch, here=["i-1", "gone"])
