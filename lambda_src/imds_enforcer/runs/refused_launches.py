"""Refused launches: parsed from CloudTrail's record, remembered, and recalled once a day.

They concern no instance: the enforcer reads and changes nothing because of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imds_enforcer.ledger.refused_launches import Launcher, RefusedLauncher, cause_of
from imds_enforcer.model import AwsError, HttpTokens, LaunchTemplate, Source
from imds_enforcer.model.instance import AUTO_SCALING_GROUP_TAG
from imds_enforcer.reporting import telemetry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from imds_enforcer.aws.services import Clients
    from imds_enforcer.ledger.refused_launches import RefusedLaunch
    from imds_enforcer.runs.events import QueuedMessage

_LONGEST_NAME = 512


def launcher_of(detail: Mapping[str, Any], region: str) -> Launcher | None:
    """The launcher in CloudTrail's record of a failed RunInstances; None if it failed for a reason other than tokens.

    A dry run has no launcher, because it launches nothing: EC2 may refuse it for the same reasons as a launch.
    """
    request = _part(detail, "requestParameters")
    tokens = _text(_part(request, "metadataOptions"), "httpTokens")
    cause = cause_of(_text(detail, "errorCode") or "", _text(detail, "errorMessage") or "", tokens)
    if cause is None or request.get("dryRun") in (True, "true"):
        return None
    identity = _part(detail, "userIdentity")
    service = _name(identity, "invokedBy")
    # Name the role: each of its sessions has an ARN of its own.
    caller = _name(_part(identity, "sessionContext", "sessionIssuer"), "arn") or _name(identity, "arn")
    return Launcher(
        region=region,
        principal=caller or "an unknown principal",
        invoked_by=service,
        source=_source(request),
        asked_optional=tokens == HttpTokens.OPTIONAL,
        cause=cause,
    )


def remember(clients: Clients, launches: Mapping[QueuedMessage, RefusedLaunch]) -> Collection[QueuedMessage]:
    """Record and count the refused launches; returns the messages that must come back if the ledger failed."""
    if not launches:
        return ()
    try:
        clients.ledger_table.notes.write_refused_launches(launches.values())
    except AwsError as error:
        telemetry.ledger_unavailable("refused launches could not be recorded", error)
        return launches.keys()
    telemetry.launches_refused(launches.values())
    return ()


def recall(clients: Clients) -> tuple[RefusedLauncher, ...]:
    """The launchers that were refused lately; empty if the ledger is out of reach, which has an alarm of its own."""
    try:
        return tuple(clients.ledger_table.notes.refused_launchers())
    except AwsError as error:
        telemetry.ledger_unavailable("refused launches could not be read", error)
        return ()


def _source(request: Mapping[str, Any]) -> Source:
    """What the request launches from; the image only if it names neither group nor template."""
    group = next(_group_names(request), None)
    named = _part(request, "launchTemplate")
    template = _name(named, "launchTemplateId") or _name(named, "launchTemplateName")
    if template:
        return Source(group, LaunchTemplate(template, _name(named, "version") or "$Default"))
    images = (_name(item, "imageId") for item in _items(request, "instancesSet"))
    return Source(group) if group else Source(image_id=next(filter(None, images), ""))


def _group_names(request: Mapping[str, Any]) -> Iterator[str]:
    """Names of Auto Scaling groups, from the tag that only Auto Scaling can set."""
    for specification in _items(request, "tagSpecificationSet"):
        tags = specification.get("tags")
        for tag in tags if isinstance(tags, list) else ():
            if isinstance(tag, Mapping) and tag.get("key") == AUTO_SCALING_GROUP_TAG and (name := _name(tag, "value")):
                yield name


def _items(fields: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    items = _part(fields, name).get("items")
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _part(fields: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The object at this path; empty if missing, as the record of a refused call may lack any field."""
    for name in path:
        part = fields.get(name)
        fields = part if isinstance(part, Mapping) else {}
    return fields


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _name(fields: Mapping[str, Any], name: str) -> str | None:
    """A name that is safe in a line of a mail: the refused caller may have sent anything."""
    value = _text(fields, name)
    return value if value and value.isprintable() and len(value) <= _LONGEST_NAME else None
