"""The HTML report in a browser, used as readers use it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

from imds_enforcer_cli.formats.html_page import html_report
from infra.local.waiting import until
from infra.pictures.fleet import document
from tests.fakes.audit_example import audit, instance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from playwright.sync_api import Browser

    Open = Callable[..., "Opened"]

_UNKNOWN = "\N{EN DASH}"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


class Opened:
    """A report in a browser tab, with every request and every console message that it causes."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.address = file.as_uri()
        self.requests: list[str] = []
        self.blocked: list[str] = []
        self.complaints: list[str] = []
        # The protocol's own events also report blocked requests.
        protocol = page.context.new_cdp_session(page)
        protocol.send("Network.enable")
        protocol.on("Network.requestWillBeSent", lambda event: self.requests.append(event["request"]["url"]))
        protocol.on("Network.loadingFailed", lambda event: self.blocked.append(event.get("blockedReason", "")))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.goto(self.address)

    def column(self, heading: str) -> list[str]:
        """The first lines of a column's cells in the table of instances."""
        at = [text.strip() for text in self.page.locator("#table th").all_inner_texts()].index(heading) + 1
        cells = self.page.locator(f"#table tbody td:nth-child({at})").all_inner_texts()
        return [text.strip().split("\n")[0] for text in cells]

    def sort(self, heading: str) -> str | None:
        """Click a heading and return the new direction."""
        self.page.get_by_role("button", name=heading, exact=True).click()
        return (
            self.page.locator("#table").get_by_role("columnheader", name=heading, exact=True).get_attribute("aria-sort")
        )


@pytest.fixture
def open_report(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a document as a report; afterwards asserts that it only requested its file and caused no messages."""
    opened: list[Opened] = []

    def opening(report: Mapping[str, Any], **options: Any) -> Opened:
        file = tmp_path / f"audit-{len(opened)}.html"
        file.write_text(html_report(report), encoding="utf-8")
        opened.append(Opened(browser.new_context(**options).new_page(), file))
        return opened[-1]

    yield opening
    for each in opened:
        each.page.context.close()
        assert each.requests == [each.address]
        assert each.complaints == []


def test_the_report_lists_what_will_launch_imdsv1(open_report: Open) -> None:
    """It only counts the other launchers."""
    listed = document()["launchers"]
    section = open_report(document()).page.get_by_role("region", name="What will launch IMDSv1")
    rows = section.get_by_role("row").all_inner_texts()[1:]
    concerns = [each for each in listed if each["launches_imdsv1"] is not False]
    assert len(rows) == len(concerns) > 0
    assert all(each["launcher"].removeprefix("launch ") in row for each, row in zip(concerns, rows, strict=True))
    assert f"Not listed: {len(listed) - len(concerns)} launcher" in section.inner_text()


def test_the_table_sorts_by_each_column_both_ways(open_report: Open) -> None:
    """Numbers by value, and names with numbers naturally. Unknown values come last both ways."""
    report = open_report(document())
    headings = [text.strip() for text in report.page.locator("#table th").all_inner_texts()]
    assert report.column("Status")[0] == "Drift"  # what needs attention, until the reader sorts
    for heading in headings[1:]:
        assert report.sort(heading) == "ascending"
        assert report.page.locator("#table th[aria-sort]").count() == 1
        assert report.sort(heading) == "descending"
    report.sort("Instance")
    names = report.column("Instance")
    assert names.index("web-9") > names.index("web-8") > names.index("web-2")
    ages = [int(age.removesuffix(" d")) for age in report.column("Age")]
    report.sort("Age")
    assert [int(age.removesuffix(" d")) for age in report.column("Age")] == sorted(ages)
    report.sort("IMDSv1 calls")
    rising = [text for text in report.column("IMDSv1 calls") if text not in {"no data", _UNKNOWN}]
    report.sort("IMDSv1 calls")
    falling = [text for text in report.column("IMDSv1 calls") if text not in {"no data", _UNKNOWN}]
    assert rising[-1] == falling[0] == "1,204"
    assert report.column("IMDSv1 calls")[: len(falling)] == falling


def test_the_keyboard_sorts_too(open_report: Open) -> None:
    """A heading is a button, and keeps the focus."""
    report = open_report(document())
    report.page.get_by_role("button", name="Region", exact=True).focus()
    report.page.keyboard.press("Enter")
    report.page.keyboard.press("Space")
    assert report.column("Region")[0] == "us-east-1"
    expect(report.page.get_by_role("button", name="Region", exact=True)).to_be_focused()


def test_the_table_filters_by_status_region_and_text(open_report: Open) -> None:
    """All filters apply together, and a line says what is shown."""
    report = open_report(document())
    found = report.page.locator("#found")
    expect(found).to_have_text("57 instances")
    report.page.get_by_role("checkbox", name="Drift").check()
    assert set(report.column("Status")) == {"Drift"}
    expect(found).to_have_text("12 of 57 instances: Drift")
    report.page.get_by_role("checkbox", name="Held").check()
    assert set(report.column("Status")) == {"Drift", "Held"}
    report.page.get_by_role("combobox", name="Region").select_option("ap-southeast-2")
    assert set(report.column("Region")) == {"ap-southeast-2"}
    report.page.get_by_label("Search").fill("AGENT  lt-0c97")
    assert report.column("Instance") == ["build-agent-1", "build-agent-2", "build-agent-3"]
    expect(found).to_have_text("3 of 57 instances: Drift or Held, in ap-southeast-2, with “agent lt-0c97”")
    report.page.get_by_label("Search").fill("matches nothing")
    assert report.column("Instance") == []


def test_a_source_shows_its_findings(open_report: Open) -> None:
    """Even if a filter was set before."""
    report = open_report(document())
    report.page.get_by_label("Search").fill("matches nothing")
    report.page.get_by_role("button", name="Show").first.click()
    assert report.column("Instance") == [f"checkout-{number}" for number in range(1, 6)]


def test_the_report_is_dark_if_the_reader_prefers_that(open_report: Open) -> None:
    """It switches while open. Text and background have enough contrast in both schemes."""
    report = open_report(document(), color_scheme="light")
    light = _brightness(report.page)
    report.page.emulate_media(color_scheme="dark")
    dark = _brightness(report.page)
    assert light["ground"] - light["text"] > 180
    assert dark["text"] - dark["ground"] > 180


def _brightness(page: Page) -> dict[str, float]:
    """The brightness of the page's background and its text, from 0 to 255."""
    seen: dict[str, float] = page.evaluate(
        """() => {
          const style = getComputedStyle(document.body);
          const mean = (color) => color.match(/\\d+/g).slice(0, 3).reduce((sum, each) => sum + Number(each), 0) / 3;
          return { ground: mean(style.backgroundColor), text: mean(style.color) };
        }"""
    )
    return seen


def test_no_tag_becomes_markup(open_report: Open) -> None:
    """The page shows the name as written, without dialogs, requests or new elements."""
    report = open_report(audit([instance(1, "HELD", HOSTILE, name=HOSTILE, by=HOSTILE, region=HOSTILE)]))
    assert report.column("Instance") == [HOSTILE]
    assert report.page.locator("img").count() == 0
    assert report.page.locator("script").count() == 2


def test_the_security_policy_holds_if_escaping_fails(browser: Browser, tmp_path: Path) -> None:
    """Injected markup runs nothing and loads nothing. The blocked request proves that the test sees requests."""
    file = tmp_path / "audit.html"
    page = html_report(document()).replace("<footer", '<img src="http://127.0.0.1:9/x" onerror="alert(1)"><footer')
    file.write_text(page, encoding="utf-8")
    with browser.new_context() as context:
        report = Opened(context.new_page(), file)
        expect(report.page.locator("#found")).to_have_text("57 instances")
        # Playwright delivers events only while the test calls the page.
        until(lambda: [report.page.title(), *report.blocked], lambda seen: len(seen) > 1)
    assert report.requests == [report.address, "http://127.0.0.1:9/x"]
    assert report.blocked == ["csp"]
    assert all("Content Security Policy" in each for each in report.complaints)


def test_thousands_of_instances_stay_quick(open_report: Open) -> None:
    """With a hundred rows at a time. The limit is several times what a slow machine takes."""
    report = open_report(document(5000))
    expect(report.page.locator("#found")).to_have_text("5,000 instances")
    started = time.monotonic()
    report.sort("Instance")
    report.page.get_by_label("Search").fill("checkout-3")
    expect(report.page.locator("#found")).to_contain_text("of 5,000 instances: with “checkout-3”")
    assert time.monotonic() - started < 3
    report.page.get_by_label("Search").fill("")
    assert len(report.column("Instance")) == 100
    first = report.column("Instance")
    report.page.get_by_role("button", name="Next").click()
    expect(report.page.locator("#pages span")).to_have_text("101 to 200 of 5,000")
    assert not set(first) & set(report.column("Instance"))
    report.page.get_by_role("button", name="Previous").click()
    assert report.column("Instance") == first


def test_print_has_all_rows_and_no_controls(open_report: Open) -> None:
    """All filtered rows, not one page of them, with headings on each sheet; afterwards the screen is as before."""
    report = open_report(document(250))
    report.page.emulate_media(media="print")
    report.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert report.page.locator("#table tbody tr").count() == 250
    for control in ("#filters", "#pages", ".show >> nth=0"):
        expect(report.page.locator(control)).to_be_hidden()
    heads = report.page.locator("#table thead")
    assert heads.evaluate("(head) => getComputedStyle(head).display") == "table-header-group"
    button = heads.get_by_role("button").first
    assert button.evaluate("(button) => getComputedStyle(button).display") == "contents"  # else on the first sheet only
    report.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert report.page.locator("#table tbody tr").count() == 100


def test_the_summary_and_the_sources_need_no_scripts(open_report: Open) -> None:
    """Without scripts the page says what is missing, and shows no button that would do nothing."""
    report = open_report(document(), java_script_enabled=False)
    expect(report.page.get_by_text("36 of 57 instances comply.")).to_be_visible()
    expect(report.page.get_by_text("Auto Scaling group checkout").first).to_be_visible()
    expect(report.page.get_by_text("scripts do not run here")).to_be_visible()
    assert report.page.get_by_role("button").count() == 0


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(open_report: Open, width: int) -> None:
    """Only the tables within it do, at any width."""
    report = open_report(document(), viewport={"width": width, "height": 800})
    assert report.page.evaluate("document.documentElement.scrollWidth") <= width
