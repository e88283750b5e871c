"""Writes an audit in each format, from its document."""

from dataclasses import dataclass
from enum import StrEnum

from imds_enforcer_cli.audit.document import Document
from imds_enforcer_cli.audit.judge import Status
from imds_enforcer_cli.console.output import say, write_csv, write_json, write_table, write_text
from imds_enforcer_cli.formats.asff import asff
from imds_enforcer_cli.formats.html_page import html_report
from imds_enforcer_cli.formats.sarif import MAX_RESULTS, sarif
from imds_enforcer_cli.formats.tables import (
    INSTANCE_COLUMNS,
    INSTANCE_HEADINGS,
    REGION_HEADINGS,
    SOURCE_COLUMNS,
    SOURCE_HEADINGS,
    instance_row,
    region_row,
    source_row,
)


class AuditFormat(StrEnum):
    """The output formats of an audit."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"
    ASFF = "asff"
    SARIF = "sarif"

    @property
    def can_group(self) -> bool:
        """True if the format can list sources instead of instances, or lists both."""
        return self not in {AuditFormat.ASFF, AuditFormat.SARIF}

    @property
    def has_sources(self) -> bool:
        """True if the format always lists the sources."""
        return self in {AuditFormat.JSON, AuditFormat.HTML}


@dataclass(frozen=True, slots=True)
class Written:
    """What to write: sources or instances, only findings or `every` instance; and where Security Hub is."""

    by_source: bool
    every: bool
    partition: str
    hub_region: str


def write_audit(document: Document, output: AuditFormat, wanted: Written) -> None:
    """Write an audit as the command's data."""
    match output:
        case AuditFormat.JSON:
            write_json(document)
        case AuditFormat.HTML:
            write_text(html_report(document))
        case AuditFormat.ASFF:
            write_json(asff(document, wanted.partition, wanted.hub_region))
        case AuditFormat.SARIF:
            _write_sarif(document, wanted.partition)
        case AuditFormat.CSV if wanted.by_source:
            write_csv(SOURCE_COLUMNS, document["sources"])
        case AuditFormat.CSV:
            write_csv(INSTANCE_COLUMNS, document["instances"])
        case AuditFormat.TABLE if wanted.by_source:
            write_table(SOURCE_HEADINGS, [source_row(each) for each in document["sources"]])
        case AuditFormat.TABLE:
            _write_tables(document, every=wanted.every)


def _write_sarif(document: Document, partition: str) -> None:
    log = sarif(document, partition)
    write_json(log)
    if (results := len(log["runs"][0]["results"])) > MAX_RESULTS:
        say(f"The log has {results:,} results; GitHub accepts at most {MAX_RESULTS:,}: audit fewer regions at a time.")


def _write_tables(document: Document, *, every: bool) -> None:
    shown = [each for each in document["instances"] if every or not Status(each["status"]).compliant]
    write_table(INSTANCE_HEADINGS, [instance_row(each) for each in shown])
    counted = [each for each in document["regions"] if each["instances"] or each["error"]]
    write_table(REGION_HEADINGS, [region_row(each) for each in counted], aside=True)
