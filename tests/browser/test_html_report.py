"""The HTML report in a browser, used as its readers use it."""

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
    """A report in a tab, with every request and every complaint that it led to."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.address = file.as_uri()
        self.requests: list[str] = []
        self.blocked: list[str] = []
        self.complaints: list[str] = []
        # The protocol's own events: they tell of requests that were blocked, too.
        protocol = page.context.new_cdp_session(page)
        protocol.send("Network.enable")
        protocol.on("Network.requestWillBeSent", lambda event: self.requests.append(event["request"]["url"]))
        protocol.on("Network.loadingFailed", lambda event: self.blocked.append(event.get("blockedReason", "")))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.goto(self.address)

    def column(self, heading: str) -> list[str]:
        """What stands in a column of the table of instances, first lines only."""
        at = [text.strip() for text in self.page.locator("#table th").all_inner_texts()].index(heading) + 1
        cells = self.page.locator(f"#table tbody td:nth-child({at})").all_inner_texts()
        return [text.strip().split("\n")[0] for text in cells]

    def sort(self, heading: str) -> str | None:
        """Click on a heading; the direction in which the table is sorted then."""
        self.page.get_by_role("button", name=heading, exact=True).click()
        return (
            self.page.locator("#table").get_by_role("columnheader", name=heading, exact=True).get_attribute("aria-sort")
        )


@pytest.fixture
def open_report(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a document as a report; in the end nothing was asked for but the file, and nothing was complained of."""
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


def test_it_names_what_will_launch_imdsv1(open_report: Open) -> None:
    """With what to change there; what will not is counted."""
    listed = document()["launchers"]
    section = open_report(document()).page.get_by_role("region", name="What will launch IMDSv1")
    rows = section.get_by_role("row").all_inner_texts()[1:]
    concerns = [each for each in listed if each["launches_imdsv1"] is not False]
    assert len(rows) == len(concerns) > 0
    assert all(each["launcher"].removeprefix("launch ") in row for each, row in zip(concerns, rows, strict=True))
    assert f"Not listed: {len(listed) - len(concerns)} launcher" in section.inner_text()


def test_it_sorts_by_each_column_both_ways(open_report: Open) -> None:
    """Numbers as numbers, names as people order them; what is not known comes last both ways."""
    report = open_report(document())
    headings = [text.strip() for text in report.page.locator("#table th").all_inner_texts()]
    assert report.column("Status")[0] == "Drift"  # what needs attention, before anybody sorts
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
    """A heading is a button; focus stays on it."""
    report = open_report(document())
    report.page.get_by_role("button", name="Region", exact=True).focus()
    report.page.keyboard.press("Enter")
    report.page.keyboard.press("Space")
    assert report.column("Region")[0] == "us-east-1"
    expect(report.page.get_by_role("button", name="Region", exact=True)).to_be_focused()


def test_it_filters_by_status_region_and_text(open_report: Open) -> None:
    """All of them together; and says what is shown."""
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
    report.page.get_by_label("Search").fill("nobody")
    assert report.column("Instance") == []


def test_a_source_shows_its_findings(open_report: Open) -> None:
    """Whatever was filtered before."""
    report = open_report(document())
    report.page.get_by_label("Search").fill("nobody")
    report.page.get_by_role("button", name="Show").first.click()
    assert report.column("Instance") == [f"checkout-{number}" for number in range(1, 6)]


def test_it_is_dark_where_the_reader_wants_it_dark(open_report: Open) -> None:
    """And turns while it is open; text and ground differ enough in both."""
    report = open_report(document(), color_scheme="light")
    light = _brightness(report.page)
    report.page.emulate_media(color_scheme="dark")
    dark = _brightness(report.page)
    assert light["ground"] - light["text"] > 180
    assert dark["text"] - dark["ground"] > 180


def _brightness(page: Page) -> dict[str, float]:
    """How bright the page's ground and its text are, of 255."""
    seen: dict[str, float] = page.evaluate(
        """() => {
          const style = getComputedStyle(document.body);
          const mean = (color) => color.match(/\\d+/g).slice(0, 3).reduce((sum, each) => sum + Number(each), 0) / 3;
          return { ground: mean(style.backgroundColor), text: mean(style.color) };
        }"""
    )
    return seen


def test_no_tag_becomes_markup(open_report: Open) -> None:
    """The name is shown as it was written; no dialog, no request, no element of its making."""
    report = open_report(audit([instance(1, "HELD", HOSTILE, name=HOSTILE, by=HOSTILE, region=HOSTILE)]))
    assert report.column("Instance") == [HOSTILE]
    assert report.page.locator("img").count() == 0
    assert report.page.locator("script").count() == 2


def test_its_security_policy_holds_where_escaping_would_not(browser: Browser, tmp_path: Path) -> None:
    """Markup that got into the page after all runs nothing and asks nobody; which shows, too, that it is watched."""
    file = tmp_path / "audit.html"
    page = html_report(document()).replace("<footer", '<img src="http://127.0.0.1:9/x" onerror="alert(1)"><footer')
    file.write_text(page, encoding="utf-8")
    with browser.new_context() as context:
        report = Opened(context.new_page(), file)
        expect(report.page.locator("#found")).to_have_text("57 instances")
        # Events come in while something is asked of the page.
        until(lambda: [report.page.title(), *report.blocked], lambda seen: len(seen) > 1)
    assert report.requests == [report.address, "http://127.0.0.1:9/x"]
    assert report.blocked == ["csp"]
    assert all("Content Security Policy" in each for each in report.complaints)


def test_thousands_of_instances_stay_quick(open_report: Open) -> None:
    """A hundred rows at a time; the seconds are several times what a slow machine takes."""
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


def test_on_paper_are_all_rows_and_no_controls(open_report: Open) -> None:
    """What the filter shows, beyond the page that the screen has; headings again on each sheet; and back."""
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


def test_without_scripts_the_summary_and_the_sources_are_there(open_report: Open) -> None:
    """And what is missing is said; no button is left that would do nothing."""
    report = open_report(document(), java_script_enabled=False)
    expect(report.page.get_by_text("36 of 57 instances comply.")).to_be_visible()
    expect(report.page.get_by_text("Auto Scaling group checkout").first).to_be_visible()
    expect(report.page.get_by_text("scripts do not run here")).to_be_visible()
    assert report.page.get_by_role("button").count() == 0


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_width_makes_the_page_itself_scroll_sideways(open_report: Open, width: int) -> None:
    """Only the tables do, within the page."""
    report = open_report(document(), viewport={"width": width, "height": 800})
    assert report.page.evaluate("document.documentElement.scrollWidth") <= width
