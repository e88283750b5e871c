"""One local AWS for all integration tests; each test has its own account."""

import itertools
from collections.abc import Iterator

import pytest

from infra.local.client import LocalAws

_accounts = itertools.count(100_000_000_001)


@pytest.fixture(scope="session")
def local_aws() -> Iterator[LocalAws]:
    """The local AWS."""
    with LocalAws() as aws:
        yield aws


@pytest.fixture
def aws(local_aws: LocalAws, request: pytest.FixtureRequest) -> Iterator[LocalAws]:
    """A new account, with knobs, faults and counts reset."""
    local_aws.reset()
    failed = request.session.testsfailed
    yield local_aws.in_account(str(next(_accounts)))
    if request.session.testsfailed > failed:
        print(local_aws.log()[-5000:])  # noqa: T201  # pytest shows it beside the failure
