"""The schema of SARIF 2.1.0 as its committee publishes it; `tests/schemas/README.md` has the source."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastjsonschema

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = Path(__file__).parents[1] / "schemas" / "sarif-schema-2.1.0.json"

_URI_REFERENCE = r"^[\w:/?#\[\]@!$&'()*+,;=.~%-]*$"
"""The characters that RFC 3986 allows."""


def violations(document: Any) -> list[str]:
    """The first violation of the schema, if any."""
    try:
        _validator()(document)
    except fastjsonschema.JsonSchemaValueException as error:
        return [str(error)]
    return []


@cache
def _validator() -> Callable[[Any], Any]:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    return fastjsonschema.compile(schema, formats={"uri-reference": _URI_REFERENCE})
