from __future__ import annotations

import gc
import importlib
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from imds_enforcer.application import Application, Invocation
from imds_enforcer.settings import SettingsError

if TYPE_CHECKING:
    from types import ModuleType

ENVIRONMENT = {
    "HTTP_TOKENS_PARAMETER": "/imds-enforcer/http-tokens",
    "POLICY_PARAMETER": "/imds-enforcer/policy",
    "EVENT_QUEUE_URL": "https://queue",
    "NOTIFICATION_TOPIC_ARN": "arn:topic",
    "LEDGER_TABLE": "ledger",
}
CONTEXT = SimpleNamespace(
    aws_request_id="run-1",
    invoked_function_arn="arn:aws:lambda:eu-west-1:111122223333:function:enforcer",
    get_remaining_time_in_millis=lambda: 899_500,
)


@pytest.fixture
def cold_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module as in a new process of Lambda; what it imports is forgotten afterwards."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "imds_enforcer.handler", raising=False)


def _imported() -> ModuleType:
    return importlib.import_module("imds_enforcer.handler")


@pytest.mark.usefixtures("cold_start")
def test_an_invocation_is_passed_on_with_lambdas_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's id is Lambda's request id, the account is the function's, and the time left is in seconds."""
    invoked: list[tuple[Application, object, Invocation]] = []

    def invoke(self: Application, event: object, invocation: Invocation) -> dict[str, Any]:
        invoked.append((self, event, invocation))
        return {"the": "answer"}

    monkeypatch.setattr(Application, "invoke", invoke)
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(len(invoked)))
    intervals: list[float] = []
    monkeypatch.setattr(sys, "setswitchinterval", intervals.append)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    handler = _imported().handler
    assert handler({"trigger": "schedule"}, CONTEXT) == {"the": "answer"}
    assert intervals == [0.0005]
    ((application, event, invocation),) = invoked
    assert event == {"trigger": "schedule"}
    assert (invocation.run_id, invocation.account) == ("run-1", "111122223333")
    assert invocation.seconds_left() == 899.5
    assert application.settings.event_queue_url == "https://queue"
    assert application.clients.home_region == "eu-west-1"
    assert frozen == [0], "once, before the first invocation"


@pytest.mark.usefixtures("cold_start")
def test_a_function_without_its_settings_does_not_start() -> None:
    """The error names the variable."""
    with pytest.raises(SettingsError, match="HTTP_TOKENS_PARAMETER"):
        _imported()
