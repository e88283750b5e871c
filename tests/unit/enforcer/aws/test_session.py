"""The session for whole fleets: small clients, and answers that are parsed one at a time."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore import xform_name

from imds_enforcer.aws import session as module
from imds_enforcer.aws.session import OPERATIONS, fleet_session
from tests.fakes.ec2_answers import a_page, an_item
from tests.fakes.examples import HOME

if TYPE_CHECKING:
    import pytest

    from tests.fakes.transport import FakeTransport

SOURCES = Path(module.__file__).parents[2]


def test_clients_of_ec2_have_the_operations_that_are_called_and_no_other() -> None:
    """One that is called and not named would be missing from the client."""
    methods = {
        xform_name(name): name for name in botocore.session.get_session().get_service_model("ec2").operation_names
    }
    words = {word for path in SOURCES.rglob("*.py") for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    assert {methods[word] for word in words & methods.keys()} == set(OPERATIONS)
    client = fleet_session().create_client("ec2", region_name=HOME)
    assert set(client.meta.service_model.operation_names) == set(OPERATIONS)


def test_what_nothing_reads_of_an_instance_is_not_parsed(transport: FakeTransport) -> None:
    """There is far more of it than of what is read."""
    transport.answer(a_page(an_item(1, "<imageId>ami-1</imageId><instanceType>t3.micro</instanceType>")))
    (reservation,) = transport.client("ec2").describe_instances()["Reservations"]
    (instance,) = reservation["Instances"]
    assert instance.keys() == {"InstanceId", "ImageId", "State"}


def test_one_answer_is_parsed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever client it is for."""
    lock = threading.Lock()
    monkeypatch.setattr(module, "threading", SimpleNamespace(Lock=lambda: lock))
    alone: list[bool] = []

    class Parser:
        def parse(self, response: object, _shape: object) -> object:
            alone.append(lock.locked())
            return response

    monkeypatch.setattr("botocore.parsers.PROTOCOL_PARSERS", {"ec2": lambda **_: Parser()})
    parsers: Any = fleet_session().get_component("response_parser_factory")
    assert [parsers.create_parser("ec2").parse(each, None) for each in "ab"] == ["a", "b"]
    assert (alone, lock.locked()) == ([True, True], False)


def test_models_of_the_users_own_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where botocore looks for them."""
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    paths = fleet_session().get_component("data_loader").search_paths
    assert paths == botocore.session.get_session().get_component("data_loader").search_paths
    assert str(tmp_path) in map(os.fspath, paths)
