"""For any input the parsers return a value or raise their own error, and the handler goes on with the rest."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imds_enforcer.policy import PolicyVersions
from imds_enforcer.policy.parser import PolicyInvalidError, parse_policy
from imds_enforcer.reporting import telemetry
from imds_enforcer.runs.event_fields import MalformedEventError
from imds_enforcer.runs.events import ForeignEventError, parse_event, parse_invocation
from tests.fakes import example_events as events
from tests.fakes.clients import FakeClients
from tests.fakes.clock import FakeClock
from tests.fakes.examples import (
    ACCOUNT,
    HOME,
    POLICY_PARAMETER,
    TOKENS_PARAMETER,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)
from tests.fakes.in_turn import without_threads
from tests.fakes.runs import App

# Measuring coverage would double their time, and the other tests reach every line that these do.
pytestmark = pytest.mark.no_cover

ANY_TEXT = st.text(st.characters(), max_size=30) | st.text(st.characters(categories=["Cs", "L"]), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(ANY_TEXT, children, max_size=3),
    max_leaves=8,
)

EVENTS = [
    events.running(),
    events.launch(an_id(1), an_id(2)),
    events.managed_launch(an_id(1), an_id(2)),
    events.drift(),
    events.launch_without_ids(),
    events.refused_launch(identity=events.BY_AUTO_SCALING, request=events.of_group()),
]
BATCH = events.a_batch(events.a_message(events.running()))
POLICY = {
    "mode": "audit",
    "http_put_response_hop_limit": 2,
    "http_protocol_ipv6": None,
    "regions": {"include": ["eu-west-1"]},
    "exemptions": [
        {"match": {"region": "*", "tag": {"key": "k", "value": "v"}}, "reason": "r", "expires": "2027-03-31"}
    ],
}


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every place in a document, the document itself included."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in children for found in _paths(child, (*path, key)))]


def _with(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value in one place."""
    if not path:
        return value
    copy = json.loads(json.dumps(document))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def _spoiled(*documents: Any) -> st.SearchStrategy[Any]:
    """Documents that are valid except in one place, which holds anything."""
    places = [(document, path) for document in documents for path in _paths(document)]
    return st.builds(lambda place, value: _with(place[0], place[1], value), st.sampled_from(places), JSON)


BODIES = JSON.map(json.dumps) | _spoiled(*EVENTS).map(json.dumps) | ANY_TEXT
DOCUMENTS = JSON.map(json.dumps) | _spoiled(POLICY).map(json.dumps) | ANY_TEXT


@pytest.fixture(autouse=True)
def _in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without threads, ten times as many examples run in the same time."""
    without_threads(monkeypatch)


class _Account:
    """An account with one instance in the home region, which allows IMDSv1 although the policy requires tokens."""

    def __init__(self) -> None:
        self.clients = FakeClients(FakeClock())
        self.app = App(self.clients)
        self.clients.ec2(HOME).launch(an_instance())

    @property
    def options(self) -> object:
        """The instance's options, after a check that the log can be encoded, as it must be to leave the process."""
        handler: Any = telemetry.logger.registered_handler
        handler.stream.getvalue().encode()
        handler.setStream(type(handler.stream)())
        return self.clients.ec2(HOME).actual(an_id()).options


def _parse_policy(text: str) -> None:
    try:
        parse_policy("required", text, PolicyVersions())
    except PolicyInvalidError as error:
        assert "; allowed: " in str(error)  # noqa: PT017  # most inputs are invalid, not all


@given(JSON | _spoiled(BATCH))
def test_any_invocation_is_a_request_or_refused(event: Any) -> None:
    """So is a batch with one bad record."""
    with suppress(MalformedEventError, ForeignEventError):
        parse_invocation(event, ACCOUNT)


@given(BODIES)
def test_any_body_is_an_event_or_refused(body: str) -> None:
    """A poison message affects no other."""
    with suppress(MalformedEventError, ForeignEventError):
        parse_event(body, ACCOUNT)


@given(DOCUMENTS)
def test_any_document_is_a_policy_or_refused_with_what_is_allowed(text: str) -> None:
    """An unreadable policy must be reported, not crash the run."""
    _parse_policy(text)


@given(ANY_TEXT)
def test_any_toggle_is_a_policy_or_refused(text: str) -> None:
    """The same holds for the other parameter."""
    with suppress(PolicyInvalidError):
        parse_policy(text, "{}", PolicyVersions())


@given(JSON | _spoiled(BATCH))
def test_any_invocation_is_answered_or_refused(event: Any) -> None:
    """The only error is the one that names what is allowed."""
    account = _Account()
    with suppress(MalformedEventError):
        account.app.invoke(event)
    assert account.options in (V1_ALLOWED, V2_ONLY)


@given(st.lists(BODIES, min_size=1, max_size=3), st.integers(0, 3))
def test_no_body_keeps_its_neighbour_from_being_enforced(bodies: list[str], place: int) -> None:
    """Wherever in the batch the body is; and the neighbour does not come back with it."""
    account = _Account()
    messages = [events.a_message(body, f"m-{number}") for number, body in enumerate(bodies)]
    messages.insert(place, events.a_message(events.running(), "neighbour"))
    assert "neighbour" not in account.app.batch(*messages)
    assert account.options == V2_ONLY


@given(ANY_TEXT | st.sampled_from(["required", "optional"]), DOCUMENTS)
def test_no_policy_crashes_a_sweep_or_a_batch(tokens: str, document: str) -> None:
    """Under an unreadable policy nothing is written; the sweep says so, and the batch is acknowledged."""
    account = _Account()
    account.clients.ssm.put(TOKENS_PARAMETER, tokens)
    account.clients.ssm.put(POLICY_PARAMETER, document)
    invalid = "policy_invalid" in account.app.invoke({"source": "aws.ssm"})
    assert account.app.batch(events.a_message(events.running())) == []
    assert not invalid or account.options == V1_ALLOWED
