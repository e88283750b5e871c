"""A listing of launchers in the Static Analysis Results Interchange Format, as `sarif` writes an audit."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from imds_enforcer_cli.formats.sarif import location, log, path_of

_RULE = {
    "id": "imds-launcher",
    "shortDescription": {"text": "What launches instances should require tokens."},
    "fullDescription": {
        "text": "What launches EC2 instances should not launch any that allow IMDSv1: each next instance would."
    },
    "help": {"text": "`imds-enforcer launches` shows the launcher, its owner, and which field to change."},
    "defaultConfiguration": {"level": "error"},
}


def launches_sarif(document: Mapping[str, Any]) -> dict[str, Any]:
    """A result of each launcher that launches IMDSv1 instances, or may; what was not read is a notification."""
    concerns = [each for each in document["launchers"] if each["launches_imdsv1"] is not False]
    return log(document["at"], document["unread"], [_RULE], [_result(each) for each in concerns])


def _result(launcher: Mapping[str, Any]) -> dict[str, Any]:
    parts = (launcher["region"], launcher["kind"], launcher["id"], launcher["version"])
    path = path_of(launcher["arn"]) if launcher["arn"] else "/".join(filter(None, parts))
    launches = "launches instances that allow IMDSv1" if launcher["launches_imdsv1"] else "may launch some"
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
