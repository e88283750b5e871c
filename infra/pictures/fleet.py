"""An audit of a fleet that does not exist, of any size: the pictures show it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import cycle, groupby
from typing import TYPE_CHECKING, Any

from imds_enforcer_cli.audit.document import summary_of
from imds_enforcer_cli.audit.judge import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

AT = "2026-11-22T16:40:00+00:00"
_IMAGE, _OLD_IMAGE = "ami-0c7d8a51f0e94b62d", "ami-03f65b1a9c2e7d480"


@dataclass(frozen=True)
class _Service:
    """Instances of one kind in one region; `more` overrides fields of each."""

    name: str
    region: str
    instances: int
    status: str
    reason: str
    more: Mapping[str, Any]
    template: tuple[str, str] | None = None
    grouped: bool = False
    image: str = _IMAGE
    launches_imdsv1: bool | None = False
    why: str = "the launch template sets HttpTokens required"


_COMPLIANT = "every option is as the policy names it"
_DRIFT = "HttpTokens is optional, not required"
_OPTIONAL: dict[str, Any] = {"http_tokens": "optional"}
_SERVICES = (
    _Service("web", "eu-west-1", 9, "COMPLIANT", _COMPLIANT, {}, ("lt-07c41be9d2f0a6358", "12"), grouped=True),
    _Service("worker", "eu-west-1", 6, "COMPLIANT", _COMPLIANT, {}, ("lt-0f9a63d8c15e7b240", "4"), grouped=True),
    _Service(
        "k8s-node",
        "eu-west-1",
        5,
        "COMPLIANT",
        _COMPLIANT,
        {"hop_limit": 2},
        ("lt-0b2e957c4d1f8a603", "31"),
        grouped=True,
    ),
    _Service(
        "checkout",
        "eu-west-1",
        5,
        "DRIFT",
        _DRIFT,
        _OPTIONAL | {"imdsv1_calls": {"total": 0, "last": None}},
        ("lt-0d58e7a1c3b94f026", "3"),
        grouped=True,
        launches_imdsv1=True,
        why="version 3 of the launch template sets HttpTokens optional",
    ),
    _Service(
        "erp",
        "eu-west-1",
        2,
        "HELD",
        "1,204 IMDSv1 calls in 14 days, the last on 2026-11-21; gated until the calls stop",
        _OPTIONAL | {"until": "2026-12-05", "imdsv1_calls": {"total": 1204, "last": "2026-11-21"}},
        image=_OLD_IMAGE,
        launches_imdsv1=None,
        why="no launch template; neither image nor account default names HttpTokens",
    ),
    _Service("vpn-appliance", "eu-west-1", 1, "IMDS_OFF", "the endpoint is disabled", {"http_endpoint": "disabled"}),
    _Service("api", "us-east-1", 9, "COMPLIANT", _COMPLIANT, {}, ("lt-0aa4170e6cb83f9d5", "7"), grouped=True),
    _Service(
        "reports",
        "us-east-1",
        3,
        "DRIFT",
        _DRIFT,
        _OPTIONAL | {"age_days": 611, "state": "stopped", "imdsv1_calls": {"total": None, "last": None}},
        image=_OLD_IMAGE,
        launches_imdsv1=None,
        why="no launch template; neither image nor account default names HttpTokens",
    ),
    _Service(
        "gitlab-runner",
        "us-east-1",
        2,
        "EXEMPT",
        "tag imds=v1: vendor fixes it in March",
        _OPTIONAL | {"until": "2027-03-31", "by": "platform team", "imdsv1_calls": {"total": 86, "last": "2026-11-22"}},
        ("lt-05d3c8f1b7e6290a4", "2"),
        launches_imdsv1=True,
        why="version 2 of the launch template sets HttpTokens optional",
    ),
    _Service(
        "metrics-relay",
        "us-east-1",
        1,
        "DRIFT",
        _DRIFT,
        _OPTIONAL | {"expired": True, "until": "2026-10-31", "by": "observability"},
        image="ami-0b6e1d94f7a823c5e",
        launches_imdsv1=None,
        why="no launch template; neither image nor account default names HttpTokens",
    ),
    _Service("eks-auto", "us-east-1", 3, "MANAGED", "managed by eks.amazonaws.com", {"hop_limit": 1}, image=_OLD_IMAGE),
    _Service("web", "ap-southeast-2", 6, "COMPLIANT", _COMPLIANT, {}, ("lt-0e81d2c47ab5f6093", "5"), grouped=True),
    _Service(
        "build-agent",
        "ap-southeast-2",
        3,
        "DRIFT",
        _DRIFT,
        _OPTIONAL | {"imdsv1_calls": {"total": 0, "last": None}},
        ("lt-0c97b05f3e1d84a62", "9"),
        grouped=True,
        why="version 10 sets HttpTokens required; these were launched with version 9",
    ),
    _Service(
        "license-server",
        "ap-southeast-2",
        1,
        "HELD",
        "held by hand: migration on Friday",
        _OPTIONAL | {"until": "2026-11-27T18:00:00+00:00", "by": "arn:aws:iam::111122223333:user/ann"},
        image=_OLD_IMAGE,
        launches_imdsv1=None,
        why="no launch template; neither image nor account default names HttpTokens",
    ),
    _Service("archive", "ap-southeast-2", 1, "EXEMPT", "tag imds=v1", _OPTIONAL, image=_OLD_IMAGE),
)


def document(instances: int | None = None) -> dict[str, Any]:
    """The audit's document; given a number, the fleet repeats up to that many instances."""
    every = list(_instances(instances))
    services = [each for each, _ in every]
    found = [instance for _, instance in every]
    regions = [
        {"region": region, **_counts(each for each in found if each["region"] == region), "error": None}
        for region in dict.fromkeys(each.region for each in services)
    ]
    return {
        "account": "111122223333",
        "at": AT,
        "policy": {
            "source": "Parameter Store",
            "http_tokens": "required",
            "versions": {"http_tokens": 3, "policy": 7},
        },
        "lookback_days": 14,
        "notes": [],
        "summary": _counts(found),
        "regions": regions,
        "instances": found,
        "sources": list(_sources(every)),
        "launchers": list(_launchers()),
    }


def _instances(number: int | None) -> Iterator[tuple[_Service, dict[str, Any]]]:
    fleet = [service for service in _SERVICES for _ in range(service.instances)]
    numbers: Counter[str] = Counter()
    members = fleet if number is None else (each for each, _ in zip(cycle(fleet), range(number), strict=False))
    for at, service in enumerate(members):
        numbers[f"{service.name} {service.region}"] += 1
        template = service.template
        yield (
            service,
            {
                "instance_id": f"i-{(at * 0x9E3779B97F4A7C15 + 0x3C6EF) % 16**17:017x}",
                "region": service.region,
                "name": f"{service.name}-{numbers[f'{service.name} {service.region}']}",
                "state": "running",
                "status": service.status,
                "reason": service.reason,
                "until": None,
                "by": None,
                "expired": False,
                "http_tokens": "required",
                "http_endpoint": "enabled",
                "hop_limit": 1,
                "options_state": "applied",
                "launch_template": {"id": template[0], "version": template[1]} if template else None,
                "auto_scaling_group": service.name if service.grouped else None,
                "image_id": service.image,
                "launched_at": "2026-11-01T09:00:00+00:00",
                "age_days": 3 + at * 7 % 120,
                "imdsv1_calls": None,
                **service.more,
            },
        )


def _sources(every: Sequence[tuple[_Service, Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    order = sorted(every, key=lambda pair: _SERVICES.index(pair[0]))
    for service, pairs in groupby(order, lambda pair: pair[0]):
        launched = [instance for _, instance in pairs]
        findings = [each["instance_id"] for each in launched if each["status"] == "DRIFT"]
        yield {
            "auto_scaling_group": launched[0]["auto_scaling_group"],
            "launch_template": launched[0]["launch_template"],
            "image_id": service.image,
            "region": service.region,
            "instances": len(launched),
            "findings": len(findings),
            "instance_ids": findings,
            "launches_imdsv1": service.launches_imdsv1,
            "why": service.why,
        }


def _launchers() -> Iterator[dict[str, Any]]:
    """The launch templates of the services, as in the audit's list of launchers."""
    for service in (each for each in _SERVICES if each.template):
        template, version = service.template or ("", "")
        yield {
            "launcher": f"launch template {service.name} ({template}) version {version}",
            "region": service.region,
            "used_as": ["$Default", "$Latest"],
            "instances": service.instances,
            "launches_imdsv1": service.launches_imdsv1,
            "why": service.why,
            "owner": None,
            "exempt": None,
            "advice": "MetadataOptions.HttpTokens: required, in a new version" if service.launches_imdsv1 else None,
        }


def _counts(instances: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return summary_of(Status(each["status"]) for each in instances)
