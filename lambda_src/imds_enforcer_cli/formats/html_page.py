"""Writes an audit as one self-contained HTML file that makes no requests.

The Jinja2 template `report/report.html` renders what people look for first. A script in the page builds the table of
all instances from embedded JSON, a hundred rows at a time, so that thousands of rows stay quick.
"""

from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from imds_enforcer.model.wording import count
from imds_enforcer_cli.formats import html_values as values
from imds_enforcer_cli.formats.html_table import table_data

_PARTS = Path(__file__).parent / "report"


def html_report(document: Mapping[str, Any]) -> str:
    """The page of one audit; `document` is what `audit --output json` writes.

    Tags, reasons and all other foreign texts are escaped. The page's Content-Security-Policy allows only its own style
    and script, by their hashes, and no requests.
    """
    script = _part("report.js")
    launchers = values.launchers(document["sources"])
    page = _templates().get_template("report.html")
    return page.render(
        document,
        **_style_and_security(script),
        script=script,
        policy_origin=values.policy_origin(document["policy"]),
        launchers=launchers,
        others=len(document["sources"]) - len(launchers),
        listed=document["launchers"],
        endings=values.endings(document["instances"]),
        table_data=table_data(document["instances"], launchers),
    )


def launches_page(document: Mapping[str, Any]) -> str:
    """The page of one listing of launchers; `document` is what `launches --output json` writes."""
    page = _templates().get_template("launches.html")
    return page.render(document, **_style_and_security(""), listed=document["launchers"])


def _style_and_security(script: str) -> dict[str, str]:
    style = _part("report.css")
    return {"style": style, "security": _security(style, script)}


def _templates() -> Environment:
    """The Jinja2 environment: it escapes every value, and an undefined name is an error."""
    templates = Environment(
        loader=FileSystemLoader(_PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    used = (values.days_until, values.in_utc, values.share, values.stretches, values.thousands)
    templates.filters |= {each.__name__: each for each in used} | {"counted": partial(count, separator=",")}
    templates.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return templates


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")


def _security(style: str, script: str) -> str:
    """The Content-Security-Policy."""
    directives = (
        "default-src 'none'",
        f"style-src {_hash(style)}",
        f"script-src {_hash(script)}",
        "img-src data:",  # the empty icon: without it, a browser requests one from the page's server
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    )
    return "; ".join(directives)


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
