"""Events: put on a region's default bus, and delivered between buses and to functions as AWS does."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ministack import app
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import eventbridge, lambda_svc

from infra.local.server.knobs import KNOBS
from infra.local.server.permissions import role_may

log = logging.getLogger(__name__)


def soon(seconds: float, action: Callable[..., None], *arguments: object) -> None:
    """Run an action on the server's loop, after the call that caused it has been answered."""
    loop = app._MAIN_LOOP
    loop.call_soon_threadsafe(loop.call_later, seconds, action, *arguments)


def put(
    source: str, detail_type: str, detail: Mapping[str, Any], *, resources: Sequence[str] = (), after: float = 0
) -> None:
    """Put an event from AWS on the default bus of the current account and region, `after` some seconds."""
    entry = {
        "Source": source,
        "DetailType": detail_type,
        "Detail": json.dumps(detail),
        "Resources": list(resources),
    }
    soon(after, _put_in, get_account_id(), get_region(), entry)


def state_changed(instance_id: str, state: str) -> None:
    """Send the event of an instance's new state."""
    if not KNOBS.state_change_events:
        return
    arn = f"arn:aws:ec2:{get_region()}:{get_account_id()}:instance/{instance_id}"
    put(
        "aws.ec2",
        "EC2 Instance State-change Notification",
        {"instance-id": instance_id, "state": state},
        resources=[arn],
        after=KNOBS.state_change_seconds,
    )


def _put_in(account: str, region: str, entry: dict[str, Any]) -> None:
    with request_scope(account, region):
        # PutEvents refuses sources that begin with aws., as AWS does; this is AWS itself.
        eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)


def _to_event_bus(
    target: Any, event: dict[str, Any], rule: dict[str, Any], _path: set[str], payload: str | None = None
) -> None:
    """Deliver to a rule's target that is a bus, of this region or another, default or custom.

    The event keeps its own account and region, and no rule forwards it from its second bus. Another
    region's bus needs a role on the target.
    """
    if event.get("_Forwarded"):
        return
    key = eventbridge._rule_key(rule["Name"], rule.get("EventBusName", "default"))
    roles = [known.get("RoleArn", "") for known in eventbridge._targets[key] if known["Arn"] == str(target)]
    allowed = any(role and role_may(role, "events:PutEvents", str(target)) for role in roles)
    if target.region != get_region() and not allowed:
        log.warning("rule %s has no role that allows putting events on %s", key, target)
        return
    name = target.resource.removeprefix("event-bus/")
    forwarded = {**event, "EventBusName": name, "_Forwarded": True}
    if payload is not None:
        forwarded["Detail"] = payload
    with request_scope(target.account_id, target.region):
        eventbridge._ensure_default_bus()
        if name in eventbridge._event_buses:
            eventbridge._dispatch_event(forwarded)
        else:
            log.warning("rule %s: there is no bus %s", key, target)


def _to_function(arn: str, payload: str) -> None:
    """Invoke a rule's or schedule's target that is a function: asynchronously, with retries."""
    function, config, _name = lambda_svc._get_func_record_for_ref(arn)
    if function:
        record = lambda_svc._execution_record_for_config(function, config)
        lambda_svc.invoke_async_with_retry(record, json.loads(payload))


def install() -> None:
    """Let rules reach other regions' buses, and retry functions."""
    eventbridge._dispatch_to_event_bus = _to_event_bus
    eventbridge._dispatch_to_lambda = _to_function
