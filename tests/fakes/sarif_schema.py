"""The part of SARIF 2.1.0 that the audit uses: what has to be there, of which kind, with which values.

From the standard (OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", section 3).
"""

from __future__ import annotations

from typing import Any

import fastjsonschema

_TEXT = {"type": "string", "minLength": 1}
_MESSAGE = {"type": "object", "required": ["text"], "properties": {"text": _TEXT}, "additionalProperties": False}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}
_DESCRIPTOR = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": _TEXT,
        "shortDescription": _MESSAGE,
        "fullDescription": _MESSAGE,
        "defaultConfiguration": {"type": "object", "properties": {"level": _LEVEL}, "additionalProperties": False},
    },
    "additionalProperties": False,
}
_DRIVER = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": _TEXT, "rules": {"type": "array", "uniqueItems": True, "items": _DESCRIPTOR}},
    "additionalProperties": False,
}
_LOCATION = {
    "type": "object",
    "properties": {
        "physicalLocation": {
            "type": "object",
            "required": ["artifactLocation"],
            "properties": {
                "artifactLocation": {
                    "type": "object",
                    # RFC 3986: an ARN is a URI of the scheme `arn`.
                    "properties": {"uri": {"type": "string", "pattern": r"^[a-z][a-z0-9+.-]*:[\w:/.-]+$"}},
                    "additionalProperties": False,
                }
            },
            "additionalProperties": False,
        },
        "logicalLocations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"fullyQualifiedName": _TEXT, "kind": _TEXT},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
_SUPPRESSION = {
    "type": "object",
    "required": ["kind"],
    "properties": {
        "kind": {"enum": ["inSource", "external"]},
        "status": {"enum": ["accepted", "underReview", "rejected"]},
        "justification": _TEXT,
    },
    "additionalProperties": False,
}
_RESULT = {
    "type": "object",
    "required": ["message"],
    "properties": {
        "ruleId": _TEXT,
        "ruleIndex": {"type": "integer", "minimum": -1},
        "level": _LEVEL,
        "message": _MESSAGE,
        "locations": {"type": "array", "items": _LOCATION},
        "partialFingerprints": {"type": "object", "additionalProperties": _TEXT},
        "suppressions": {"type": "array", "items": _SUPPRESSION},
    },
    "additionalProperties": False,
}
_INVOCATION = {
    "type": "object",
    "required": ["executionSuccessful"],
    "properties": {
        "executionSuccessful": {"type": "boolean"},
        "endTimeUtc": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        "toolExecutionNotifications": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["message"],
                "properties": {"level": _LEVEL, "message": _MESSAGE},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
_RUN = {
    "type": "object",
    "required": ["tool"],
    "properties": {
        "tool": {
            "type": "object",
            "required": ["driver"],
            "properties": {"driver": _DRIVER},
            "additionalProperties": False,
        },
        "invocations": {"type": "array", "items": _INVOCATION},
        "results": {"type": "array", "items": _RESULT},
    },
    "additionalProperties": False,
}
_LOG = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {"$schema": _TEXT, "version": {"const": "2.1.0"}, "runs": {"type": "array", "items": _RUN}},
    "additionalProperties": False,
}


def violations(document: Any) -> list[str]:
    """What of a document is not SARIF; at most the first such thing."""
    try:
        fastjsonschema.validate(_LOG, document)
    except fastjsonschema.JsonSchemaValueException as error:
        return [str(error)]
    return []
