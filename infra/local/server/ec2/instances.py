"""EC2 instances: launch, start, stop and terminate them as EC2 does."""

import contextvars
import itertools
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import ec2

from infra.local.server.ec2 import account_defaults, images, launch_templates, metadata_options
from infra.local.server.ec2.metadata_options import Options
from infra.local.server.ec2.protocol import Action, Parameters, Response, add_actions, flat, listed
from infra.local.server.errors import AwsError, dry_run
from infra.local.server.events import soon, state_changed
from infra.local.server.knobs import KNOBS

Instance = dict[str, Any]
"""ministack's record of an instance. Added to it here: MetadataOptions, ChangedAt, LaunchedAt, and more."""

AT_NEXT_START = float("inf")
RUNNING = {"Code": 16, "Name": "running"}
PENDING = {"Code": 0, "Name": "pending"}
TEMPLATE_PARAMETERS = ("ImageId", "InstanceType", "KeyName", "UserData")
TEMPLATE_NAMES = ("LaunchTemplateId", "LaunchTemplateName", "Version")

operator: contextvars.ContextVar[Mapping[str, Any] | None] = contextvars.ContextVar("operator", default=None)
"""The service that manages the instances being launched; set from the local client's header."""

_launch_options: contextvars.ContextVar[Options | None] = contextvars.ContextVar("options", default=None)
_launched: contextvars.ContextVar[list[Instance] | None] = contextvars.ContextVar("launched", default=None)
_numbers = itertools.count(1)


def known_instance(instance_id: str) -> Instance:
    """The instance with this id.

    Raises:
        AwsError: if EC2 does not know it.
    """
    if not ec2._INSTANCE_ID_RE.match(instance_id):
        raise AwsError("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}"')
    instance: Instance | None = ec2._instances.get(instance_id)
    if instance is None or not visible(instance):
        raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
    return instance


def visible(instance: Instance) -> bool:
    """Whether all of EC2 knows the instance yet."""
    return bool(instance["LaunchedAt"] + KNOBS.visibility_seconds <= time.time())


def hidden(instance: Instance) -> bool:
    """Whether only requests for managed resources list it (EC2 User Guide, "Managed resource visibility")."""
    return bool(instance["Operator"]["managed"]) and not KNOBS.managed_visible


def run_instances(original: Action) -> Action:
    """RunInstances that launches MaxCount, honours MetadataOptions and DryRun, and tags with the launch template."""

    def run(parameters: Parameters) -> Response:
        p = flat(parameters)
        version = launch_templates.resolved({name: p.get(f"LaunchTemplate.{name}", "") for name in TEMPLATE_NAMES})
        data = version.get("LaunchTemplateData", {})
        image = p.get("ImageId") or data.get("ImageId", "")
        requested = {**data.get("MetadataOptions", {}), **metadata_options.parse(p, "MetadataOptions.")}
        options = metadata_options.at_launch(
            {name: value for name, value in requested.items() if name in metadata_options.LAUNCH_OPTIONS},
            account_defaults.current(),
            imds_v2_image=images.requires_tokens(image),
        )
        if p.get("DryRun") == "true":
            raise dry_run()
        launched: list[Instance] = []
        tokens = _launch_options.set(options), _launched.set(launched)
        try:
            # ministack launches MinCount.
            response = original({**_from_template(data), **parameters, "MinCount": [p.get("MaxCount", "1")]})
        finally:
            _launch_options.reset(tokens[0])
            _launched.reset(tokens[1])
        if version:
            _tag_origin(launched, version)
        return response

    return run


def _from_template(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """The template's values, as parameters that a request may override."""
    profile = {f"IamInstanceProfile.{name}": value for name, value in data.get("IamInstanceProfile", {}).items()}
    said = {name: data[name] for name in TEMPLATE_PARAMETERS if name in data} | profile
    return {name: [str(value)] for name, value in said.items()}


def _tag_origin(launched: list[Instance], version: Mapping[str, Any]) -> None:
    """Add the template's tags, except keys that the request gave, and the tags that name template and version."""
    specifications = version["LaunchTemplateData"].get("TagSpecifications", ())
    given = [tag for each in specifications if each.get("ResourceType") == "instance" for tag in each.get("Tags", ())]
    pairs = {"id": version["LaunchTemplateId"], "version": str(version["VersionNumber"])}
    origin = [{"Key": f"aws:ec2launchtemplate:{name}", "Value": value} for name, value in pairs.items()]
    for instance in launched:
        requested = ec2._tags.get(instance["InstanceId"], [])
        keys = {tag["Key"] for tag in requested}
        ec2._tags[instance["InstanceId"]] = [*requested, *(tag for tag in given if tag["Key"] not in keys), *origin]


def launch(original: Callable[..., list[Instance]]) -> Callable[..., list[Instance]]:
    """Launch instances, and complete their records; RunInstances and CreateFleet both use it."""

    def launch_instances(*arguments: Any, **named: Any) -> list[Instance]:
        created = original(*arguments, **named)
        now = time.time()
        options = _launch_options.get() or metadata_options.at_launch(
            {}, account_defaults.current(), imds_v2_image=False
        )
        reservation = next(_numbers)
        for instance in created:
            instance |= {
                "MetadataOptions": dict(options),
                "ChangedAt": now,
                "LaunchedAt": now,
                "Operator": operator.get() or {"managed": False},
                "Reservation": f"r-{reservation:017x}",
                "Position": next(_numbers),
                "AttachTime": _earlier(instance["LaunchTime"], KNOBS.attached_seconds),
            }
            _boot(instance)
        launched = _launched.get()
        if launched is not None:
            launched += created
        return created

    return launch_instances


def _earlier(moment: str, seconds: float) -> str:
    """The time this many seconds earlier."""
    earlier = datetime.fromisoformat(moment) - timedelta(seconds=seconds)
    return earlier.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def start_instances(original: Action) -> Action:
    """StartInstances, which also applies pending metadata options."""

    def start(parameters: Parameters) -> Response:
        started = [each for each in _named(parameters) if each["State"]["Name"] == "stopped"]
        response = original(parameters)
        now = time.time()
        for instance in started:
            instance["LaunchTime"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now))
            if instance["ChangedAt"] == AT_NEXT_START:
                instance["ChangedAt"] = now
            _boot(instance)
        return response

    return start


def ending(original: Action, passing_state: str, final_state: str) -> Action:
    """StopInstances or TerminateInstances, with their two changes of state."""

    def end(parameters: Parameters) -> Response:
        changed = [each for each in _named(parameters) if each["State"]["Name"] != final_state]
        response = original(parameters)
        for instance in changed:
            _tell(instance, passing_state)
            _tell(instance, final_state)
        return response

    return end


def install() -> None:
    """Replace the actions that fall short."""
    ec2._launch_instances_internal = launch(ec2._launch_instances_internal)
    original = ec2._ACTION_MAP
    add_actions(
        {
            "RunInstances": run_instances(original["RunInstances"]),
            "StartInstances": start_instances(original["StartInstances"]),
            "StopInstances": ending(original["StopInstances"], "stopping", "stopped"),
            "TerminateInstances": ending(original["TerminateInstances"], "shutting-down", "terminated"),
        }
    )


def _named(parameters: Parameters) -> list[Instance]:
    """The instances whose ids a request lists; a DryRun ends here."""
    p = flat(parameters)
    named = [known_instance(each) for each in listed(p, "InstanceId")]
    if p.get("DryRun") == "true":
        raise dry_run()
    return named


def _tell(instance: Instance, state: str) -> None:
    if not hidden(instance):
        state_changed(instance["InstanceId"], state)


def _boot(instance: Instance) -> None:
    instance["State"] = dict(PENDING)
    _tell(instance, "pending")
    if KNOBS.boot_seconds:
        soon(KNOBS.boot_seconds, _running, get_account_id(), get_region(), instance)
    else:
        _running(get_account_id(), get_region(), instance)


def _running(account: str, region: str, instance: Instance) -> None:
    if instance["State"] == PENDING:
        instance["State"] = dict(RUNNING)
        with request_scope(account, region):
            _tell(instance, "running")
