"""The command `imds-enforcer`: the enforcer's own modules in the hands of an operator."""

VERSION = "1.0.0"
"""That of the project: a test holds it to pyproject.toml."""
