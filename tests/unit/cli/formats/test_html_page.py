"""The audit as one HTML file."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from imds_enforcer_cli.formats.html_page import html_report
from tests.fakes.audit_example import audit, everything, instance, source

GOLDEN = Path(__file__).parent / "golden" / "audit.html"
_DRIFT = "HttpTokens is optional, not required"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;<!--{{ 7 * 7 }}{# #}"


class Page(HTMLParser):
    """A page as a browser parses it: its elements, their texts, and the rows of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a cell."""
        self._in_cell = self._in_cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        """Note the text, in the cell that it stands in."""
        text = re.sub(r"[ \n]+", " ", data).strip(" ")
        self.texts.append(text)
        if self._in_cell and text:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {text}".strip()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def rows_of(self, heading: str) -> list[list[str]]:
        """The rows of the table whose first heading this is."""
        first = next(at for at, row in enumerate(self.rows) if row[:1] == [heading])
        width = len(self.rows[first])
        following = self.rows[first + 1 :]
        end = next((at for at, row in enumerate(following) if len(row) != width), len(following))
        return following[:end]


def embedded(page: str) -> Any:
    """The JSON embedded in the page, up to the first end tag, as a browser reads it."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def without_parts(page: str) -> str:
    """The page without style and script, which are files of their own, and without their hashes."""
    page = re.sub(r"<style>.*?</style>", "<style></style>", page, flags=re.DOTALL)
    page = re.sub(r"<script>.*?</script>", "<script></script>", page, flags=re.DOTALL)
    return re.sub(r"'sha256-[^']*'", "'sha256-'", page)


def test_the_page_equals_the_golden_file() -> None:
    """To rewrite the file: `PYTHONPATH=lambda_src:. python -m tests.unit.cli.formats.test_html_page`."""
    assert without_parts(html_report(everything())) == GOLDEN.read_text(encoding="utf-8")


def test_the_page_has_no_address_and_loads_nothing() -> None:
    """Neither by elements nor by style or script."""
    page = html_report(everything())
    assert re.findall(r"https?:|url\(|@import|\b(?:fetch|XMLHttpRequest|WebSocket|import)\(", page) == []
    elements = Page(page).elements
    loading = [attributes for _, attributes in elements if {"src", "srcset", "href", "action"} & attributes.keys()]
    assert loading == [{"rel": "icon", "href": "data:,"}]


def test_the_security_policy_allows_only_the_own_style_and_script() -> None:
    """By the hashes of what a browser finds between the tags. The page has no inline styles or event handlers."""
    page = html_report(everything())
    parsed = Page(page)
    [policy] = [meta["content"] for meta in parsed.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    for directive, tag in (("style-src", "style"), ("script-src", "script")):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert directives.pop(directive) == f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
    }
    named = {name for _, attributes in parsed.elements for name in attributes}
    assert not {name for name in named if name == "style" or name.startswith("on")}


def test_hostile_texts_stay_texts() -> None:
    """In every field that others fill: the page has the same elements as with harmless texts."""
    texts = {"name": "x", "reason": "x", "by": "x", "image_id": "x", "auto_scaling_group": "x", "state": "x"}
    template = {"id": "x", "version": "x"}

    def page(text: str) -> str:
        written = dict.fromkeys(texts, text)
        named = dict.fromkeys(template, text)
        held = instance(1, "HELD", text, **{key: value for key, value in written.items() if key != "reason"})
        drift = instance(2, "DRIFT", text, name=text, region=text, launch_template=named)
        made = source(1, drift["instance_id"], auto_scaling_group=text, launch_template=named, why=text, region=text)
        document = audit([held, drift], made, account=text, policy={"source": text, "http_tokens": text})
        document["regions"][0]["error"], document["notes"] = text, [text]
        return html_report(document)

    hostile, harmless = Page(page(HOSTILE)), Page(page("x"))
    assert [tag for tag, _ in hostile.elements] == [tag for tag, _ in harmless.elements]
    assert [attributes.keys() for _, attributes in hostile.elements] == [each.keys() for _, each in harmless.elements]
    assert any(HOSTILE in text for text in hostile.texts)
    data = embedded(page(HOSTILE))
    assert dict(zip(data["fields"], data["rows"][0], strict=True))["name"] == HOSTILE


def test_a_field_that_the_document_lacks_is_an_error() -> None:
    """A gap in the page could pass for a result."""
    document = everything()
    del document["lookback_days"]
    with pytest.raises(UndefinedError, match="'lookback_days' is undefined"):
        html_report(document)


def test_holds_and_exemptions_are_ordered_by_their_end() -> None:
    """Expired ones first, endless ones last. Instances with the same end and reason share a row."""
    alike = [instance(number, "EXEMPT", "tag imds=v1") for number in range(10, 15)]
    document = everything()
    rows = Page(html_report(document | {"instances": [*alike, *document["instances"]]})).rows_of("Until")
    assert rows == [
        ["Expired 2026-10-31", "Drift", "web-8 i-00000000000000008 eu-west-1", f"{_DRIFT} by ben"],
        ["2026-11-27 18:00 UTC in 5 days", "Held", "web-3 i-00000000000000003 us-east-1", "migration by ann"],
        ["2027-06-30 in 220 days", "Exempt", "i-00000000000000004 us-east-1", "tag imds=v1"],
        ["no end", "Exempt", "5 instances web-10, web-11, web-12, and 2 more", "tag imds=v1"],
    ]


def test_a_hold_outlasts_an_expired_exemption() -> None:
    """The row shows the end of the hold; the reason mentions the exemption."""
    held = instance(1, "HELD", "migration; its exemption (legacy SDK) has expired", until="2027-06-30", expired=True)
    assert Page(html_report(audit([held]))).rows_of("Until")[0][:2] == ["2027-06-30 in 220 days", "Held"]


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("2026-11-22", "today"),
        ("2026-11-23T00:00:00+00:00", "tomorrow"),
        ("2026-11-21", "yesterday"),
        ("2026-11-24T00:30:00+02:00", "tomorrow"),
        ("2026-10-22", "31 days ago"),
    ],
)
def test_days_are_counted_by_the_calendar(until: str, said: str) -> None:
    """In UTC."""
    rows = Page(html_report(audit([instance(1, "HELD", "migration", until=until)]))).rows_of("Until")
    assert rows[0][0].endswith(f" {said}")


def test_sources_with_most_findings_come_first_and_harmless_ones_are_only_counted() -> None:
    """A source without findings is listed if it will launch IMDSv1 instances."""
    ids = [f"i-{number:017x}" for number in range(3)]
    page = Page(
        html_report(
            audit(
                [instance(1, "COMPLIANT", "")],
                source(9, launches_imdsv1=False),
                source(2, launches_imdsv1=True, auto_scaling_group="next"),
                source(5, ids[0], image_id="ami-1"),
                source(5, *ids, launches_imdsv1=False, image_id=""),
            )
        )
    )
    assert page.rows_of("Launched by") == [
        ["Nothing known", "eu-west-1", "3 of 5", "No nothing names HttpTokens", "Show"],
        ["Image ami-1", "eu-west-1", "1 of 5", "Not known nothing names HttpTokens", "Show"],
        [
            "Auto Scaling group next image ami-0123456789abcdef0",
            "eu-west-1",
            "0 of 2",
            "Yes nothing names HttpTokens",
            "",
        ],
    ]
    assert "Not listed: 1 source without findings, and not known to launch IMDSv1 instances." in page.texts


def test_long_tables_are_folded() -> None:
    """The page shows the first 25 rows, and the number of the others."""
    page = Page(html_report(audit([instance(n, "HELD", f"reason {n:02}") for n in range(40)])))
    assert "15 more" in page.texts
    assert len(page.all("details")) == 1


def test_an_account_without_instances_has_a_report() -> None:
    """It shows a dash instead of a compliant share."""
    document = audit([])
    document["regions"] = [{"region": "eu-west-1", **document["summary"], "error": None}]
    texts = Page(html_report(document)).texts
    assert texts.count("\N{EN DASH}") == 2
    assert "No instance is held or exempt." in texts
    assert "No source has launched a finding, and none is known to launch one." in texts


def test_a_region_that_could_not_be_read_is_named_twice() -> None:
    """Next to the share, which is incomplete then, and in its own row."""
    document = everything()
    document["regions"][1]["error"] = "AccessDenied: no"
    texts = Page(html_report(document)).texts
    assert "Not read in full: us-east-1." in texts
    assert "Not read in full: AccessDenied: no" in texts


def test_thousands_of_instances_make_a_file_that_can_be_mailed() -> None:
    """The embedded data has the field names once, not in each row."""
    many = [instance(number, "DRIFT", _DRIFT, launch_template={"id": "lt-1", "version": "1"}) for number in range(5000)]
    assert len(html_report(audit(many))) < 2_000_000


if __name__ == "__main__":
    GOLDEN.write_text(without_parts(html_report(everything())), encoding="utf-8")
