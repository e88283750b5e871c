"""One local AWS for all integration tests; each test has an account of its own on it."""

import itertools
from collections.abc import Iterator

import pytest

from infra.local.client import LocalAws

_accounts = itertools.count(100_000_000_001)


@pytest.fixture(scope="session")
def local_aws() -> Iterator[LocalAws]:
    """The one process."""
    with LocalAws() as aws:
        yield aws


@pytest.fixture
def aws(local_aws: LocalAws, request: pytest.FixtureRequest) -> Iterator[LocalAws]:
    """A new account; knobs, faults and counts are as at the start."""
    local_aws.reset()
    failed = request.session.testsfailed
    yield local_aws.in_account(str(next(_accounts)))
    if request.session.testsfailed > failed:
        print(local_aws.log()[-5000:])  # noqa: T201  # pytest shows it beside the failure
