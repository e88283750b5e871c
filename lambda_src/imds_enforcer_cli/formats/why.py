"""Explanations of single instances as tables, one for each."""

from collections.abc import Mapping, Sequence
from typing import Any

from imds_enforcer.model import LaunchTemplate, MetadataOptions
from imds_enforcer.model.wording import launched_by
from imds_enforcer_cli.audit.document import Document
from imds_enforcer_cli.audit.judge import Status
from imds_enforcer_cli.console.output import Cell, write_table
from imds_enforcer_cli.console.phrases import SETTINGS, arrows, changes

WHY_HEADINGS = ("WHAT", "STATE")

_NONE = ("none",)


def write_why(document: Document) -> None:
    """Write the tables as the command's data."""
    for instance in document["instances"]:
        write_table(WHY_HEADINGS, why_rows(document["policy"], instance))


def why_rows(policy: Mapping[str, Any], instance: Mapping[str, Any]) -> list[Sequence[Cell]]:
    """Everything known about one instance, from its status to what launched it."""
    options, rollout, container_host = (instance[name] for name in ("options", "rollout", "container_host"))
    least, percent = rollout["reached_from_percent"], rollout["rollout_percent"]
    tags = [f"yes, by the tag {tag}" for tag in container_host["tags"]]
    rows: dict[str, Cell] = {
        "instance": (instance["instance_id"], instance["region"], instance["name"], instance["state"]),
        "status": _status(instance),
        "options": _options(options) if options else ("not recognized",),
        "policy": _policy(policy),
        "decision": _decision(policy, instance),
        "exemption": _exemption(instance["exemption"]),
        "gate": _gate(instance["gate"]),
        "IMDSv1 calls": _calls(instance["gate"]),
        "hold": _or_error(instance["hold"]),
        "contest": _or_error(instance["contest"]),
        "rollout": (f"included once rollout_percent is {least} or more; it is {percent}",),
        "container host": tags or ("no, by its tags",),
        "first launched": _launch(instance["launch"]),
        "managed by": (instance["managed_by"] or "the account",),
        "launched by": _launched_by(instance["launched_by"]),
        "ledger": _ledger(instance["ledger"]),
    }
    return [((name,), cell) for name, cell in rows.items()]


def _status(instance: Mapping[str, Any]) -> Cell:
    if instance["status"] is None:
        return (instance["reason"],)
    # The reason already has the end of an exemption.
    if instance["status"] == Status.EXEMPT or (instance["expired"] and instance["status"] != Status.HELD):
        return (instance["status"], instance["reason"])
    until, by = instance["until"], instance["by"]
    return (instance["status"], instance["reason"], f"until {until}" if until else "", f"by {by}" if by else "")


def _options(options: Mapping[str, Any]) -> Cell:
    return [*(f"{name} {options[name]}" for name in SETTINGS), options["State"]]


def _policy(policy: Mapping[str, Any]) -> Cell:
    versions = policy["versions"]
    return (
        f"HttpTokens {policy['http_tokens']}, mode {policy['mode']}",
        f"from {policy['source']}",
        f"versions {versions['http_tokens']} (HttpTokens) and {versions['policy']} (policy)"
        if any(versions.values())
        else "",
    )


def _decision(policy: Mapping[str, Any], instance: Mapping[str, Any]) -> Cell:
    decision, options = instance["decision"], instance["options"]
    if decision["wanted"] is None:
        return (decision["verdict"], decision["reason"])
    change = changes(MetadataOptions.described(options), MetadataOptions.described(decision["wanted"]))
    audit = "the policy's mode is audit: the enforcer changes nothing" if policy["mode"] == "audit" else ""
    return (decision["verdict"], decision["reason"], *arrows(change), audit)


def _exemption(exemption: Mapping[str, Any]) -> Cell:
    if exemption["fits"]:
        return (exemption["fits"],)
    return ["none matches", *(f"nearly: {each['exemption']}: {each['why']}" for each in exemption["near_misses"])]


def _gate(gate: Mapping[str, Any]) -> Cell:
    if gate["policy"] is None:
        return ("off: the policy has no legacy_calls",)
    terms = f"rule: hold back instances with {gate['policy']}"
    if not gate["in_force"]:
        return ("no longer in force", terms)
    if not gate["asked"]:
        return ("does not apply: no change is due that would take IMDSv1 from an existing instance", terms)
    if gate["held_back"]:
        return ("holds the instance back", gate["held_back"], terms)
    return ("unknown: the IMDSv1 calls were not read" if gate["served"] is None else "lets the change through", terms)


def _calls(gate: Mapping[str, Any]) -> Cell:
    if gate["error"]:
        return (f"could not be read: {gate['error']}",)
    if gate["served"] is None:
        return ("CloudWatch was not asked",)
    return [_counted(kind, gate[kind], gate["days"]) for kind in ("served", "rejected")]


def _counted(kind: str, calls: Mapping[str, Any], days: int) -> str:
    if calls["total"] is None:
        return f"{kind}: no data in {days} days"
    last = f", the last on {calls['last']}" if calls["last"] else ""
    return f"{kind}: {calls['total']} in {days} days{last}"


def _or_error(found: Mapping[str, Any]) -> Cell:
    return (f"could not be read: {found['error']}",) if found["error"] else (found["in_force"] or "none",)


def _launch(launch: Mapping[str, Any]) -> Cell:
    if launch["at"] is None:
        return ("unknown: EC2 does not show when",)
    until = launch["new_until"]
    new = f"counts as new until {until}: neither rollout nor the gate by instance applies" if until else ""
    grace = f"in its launch grace period until {launch['grace_until']}" if launch["grace_until"] else ""
    return (launch["at"], new or "an existing instance", grace)


def _launched_by(source: Mapping[str, Any]) -> Cell:
    template = source["launch_template"]
    return launched_by(
        source["auto_scaling_group"], template and LaunchTemplate(**template), source["image_id"] or None
    ) or ("not known",)


def _ledger(ledger: Mapping[str, Any]) -> Cell:
    if ledger["error"]:
        return (f"could not be read: {ledger['error']}",)
    if not ledger["entries"]:
        return _NONE
    return [f"{ledger['entries']} in all, the latest first", *map(_entry, reversed(ledger["latest"]))]


def _entry(entry: Mapping[str, Any]) -> str:
    change = changes(MetadataOptions.described(entry["before"]), MetadataOptions.described(entry["wanted"]))
    by = f" by {entry['by']}" if entry["by"] else ""
    what = ", ".join(arrows(change)) or "no change"
    return (
        f"{entry['at']} {entry['outcome'] or 'no outcome yet'}: {what} ({entry['trigger']}{by}, run {entry['run_id']})"
    )
