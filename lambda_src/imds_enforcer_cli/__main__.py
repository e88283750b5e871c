"""Where the command starts; `python -m imds_enforcer_cli` is the same."""

import gc
import io
import sys

from imds_enforcer_cli.main import app

_NEW_OBJECTS = 10_000
"""Objects more before Python looks for garbage. At its own 700 it looks again and again at a fleet, of which nothing
is garbage yet, for a third of the time of an audit."""


def main() -> None:
    """Run the command with the arguments of this process, and end the process with its exit code."""
    gc.set_threshold(_NEW_OBJECTS)
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            # An arrow, a tag's value or an answer that the terminal's encoding lacks must not end the command.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="imds-enforcer")


if __name__ == "__main__":
    main()
