"""The output formats of audits and listings: tables, CSV, HTML, ASFF, SARIF."""
