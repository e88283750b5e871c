"""Writes a listing of launchers in the Static Analysis Results Interchange Format, as `sarif` does an audit."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from imds_enforcer_cli.formats.sarif import location, log, path_of

_RULE = {
    "id": "imds-launcher",
    "shortDescription": {"text": "Launchers should require tokens."},
    "fullDescription": {
        "text": "Launch templates, Auto Scaling groups, images and account defaults should make new EC2 instances "
        "require tokens. Otherwise the next instance allows IMDSv1."
    },
    "help": {"text": "`imds-enforcer launches` shows the launcher, its owner, and the field to change."},
    "defaultConfiguration": {"level": "error"},
}


def launches_sarif(document: Mapping[str, Any]) -> dict[str, Any]:
    """One result for each launcher that launches IMDSv1 instances or may; one notification for each unread service."""
    concerns = [each for each in document["launchers"] if each["launches_imdsv1"] is not False]
    return log(document["at"], document["unread"], [_RULE], [_result(each) for each in concerns])


def _result(launcher: Mapping[str, Any]) -> dict[str, Any]:
    parts = (launcher["region"], launcher["kind"], launcher["id"], launcher["version"])
    path = path_of(launcher["arn"]) if launcher["arn"] else "/".join(filter(None, parts))
    launches = f"{'launches' if launcher['launches_imdsv1'] else 'may launch'} instances that allow IMDSv1"
    exempt = f" Exempt: {launcher['exempt']}." if launcher["exempt"] else ""
    change = f" Change: {launcher['advice']}." if launcher["advice"] else ""
    return {
        "ruleId": _RULE["id"],
        "ruleIndex": 0,
        "level": "error" if launcher["launches_imdsv1"] else "warning",
        "message": {
            "text": f"{launcher['launcher']} in {launcher['region']} {launches}: {launcher['why']}.{exempt}{change}",
        },
        "locations": [location(launcher["arn"] or path, quote(path))],
        "partialFingerprints": {"launcher/v1": path, "primaryLocationLineHash": path},
    }
