"""A fleet in memory with one instance of every kind that an audit distinguishes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from imds_enforcer.decision.legacy_calls import SERVED
from imds_enforcer.ledger.holds import Hold
from imds_enforcer.model import InstanceState, OptionsState
from tests.fakes.clients import FakeClients
from tests.fakes.clock import START
from tests.fakes.command import ANN, Command
from tests.fakes.examples import (
    AWAY,
    HOME,
    IMDS_OFF,
    POLICY_PARAMETER,
    UNAUTHORIZED,
    V1_ALLOWED,
    V2_ONLY,
    an_id,
    an_instance,
)

if TYPE_CHECKING:
    import pytest

    from tests.fakes.clock import FakeClock

CLOSED = "us-west-2"
"""A region that cannot be read."""

POLICY = """{
  "rollout_percent": 0,
  "exemptions": [
    {"match": {"instance_id": "*5"}, "reason": "legacy SDK", "owner": "payments", "expires": "2027-06-30"},
    {"match": {"instance_id": "*6"}, "reason": "old appliance", "expires": "2026-11-21"}
  ]
}"""
GROUP = {"aws:autoscaling:groupName": "web"}
TEMPLATE = {"aws:ec2launchtemplate:id": "lt-0aaaaaaaaaaaaaaa1", "aws:ec2launchtemplate:version": "1"}


def audited_fleet(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in an account with that fleet in two regions, and a third region that cannot be read."""
    clients = FakeClients(clock, HOME, AWAY, CLOSED)
    clients.ssm.put(POLICY_PARAMETER, POLICY)
    clients.ec2(HOME).launch(
        _instance(1, V2_ONLY, "web-1", GROUP | TEMPLATE),
        _instance(2, V1_ALLOWED, "web-2", GROUP | TEMPLATE),
        _instance(3, V1_ALLOWED, "<script>alert(1)</script>", TEMPLATE),
        _instance(4, V1_ALLOWED, "=cmd()"),
        _instance(5, V1_ALLOWED, "till", state=InstanceState.STOPPED),
        _instance(6, V1_ALLOWED, "scanner"),
    )
    clients.ec2(AWAY).launch(
        _instance(7, IMDS_OFF, "vault"),
        _instance(8, V1_ALLOWED, "node", managed_by="eks.amazonaws.com"),
        _instance(9, V1_ALLOWED, ""),
        _instance(10, V2_ONLY, "fresh"),
    )
    clients.ec2(AWAY).make_unreadable(an_id(9))
    clients.ec2(AWAY).set_options(an_id(10), state=OptionsState.PENDING)
    clients.ec2(CLOSED).find_errors = dict.fromkeys(range(1, 9), UNAUTHORIZED)
    clients.ledger_table.holds.write(
        [Hold(instance_id=an_id(4), reason="vendor agent", by=ANN, at=START, until=START + timedelta(days=1))]
    )
    midnight = START.replace(hour=0)
    clients.metrics[HOME].data = {
        (SERVED, an_id(2)): [(midnight - timedelta(days=2), 12.0), (midnight, 5.0)],
        (SERVED, an_id(3)): [(midnight, 0.0)],
    }
    command = Command(clients, monkeypatch)
    for region in (HOME, AWAY):
        command.launches[region].images = {"ami-0bbbbbbbbbbbbbbb1": None}
    command.launches[HOME].templates = {"lt-0aaaaaaaaaaaaaaa1": [{"MetadataOptions": {"HttpTokens": "optional"}}, {}]}
    command.launches[HOME].groups = [
        {
            "AutoScalingGroupName": "web",
            "LaunchTemplate": {"LaunchTemplateId": "lt-0aaaaaaaaaaaaaaa1", "Version": "$Latest"},
        }
    ]
    command.launches[AWAY].defaults = {"HttpTokens": "required"}
    return command


def _instance(number: int, options: Any, name: str, tags: dict[str, str] | None = None, **fields: Any) -> Any:
    named = {"Name": name} if name else {}
    launched = START - timedelta(days=number)
    return an_instance(
        number, options, tags=named | (tags or {}), image_id="ami-0bbbbbbbbbbbbbbb1", attached_at=launched, **fields
    )
