"""The operator's command, `imds-enforcer`: it runs the enforcer's own modules."""

VERSION = "1.0.0"
"""The project's version; a test compares it with pyproject.toml."""
