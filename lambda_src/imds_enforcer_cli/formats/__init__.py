"""How an audit is written: tables, HTML, ASFF, SARIF."""
