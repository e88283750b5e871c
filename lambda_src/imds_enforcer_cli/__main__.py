"""The entry point of `imds-enforcer` and of `python -m imds_enforcer_cli`."""

import gc
import io
import sys

from imds_enforcer_cli.main import app

_NEW_OBJECTS = 10_000
"""New objects that start a garbage collection. With Python's default of 700, collections take a third of an audit, and
find nothing: the whole fleet is in use."""


def main() -> None:
    """Run the command with this process's arguments and exit with its exit code."""
    gc.set_threshold(_NEW_OBJECTS)
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal's encoding lacks, in a tag's value for example, must not end the command.
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="imds-enforcer")


if __name__ == "__main__":
    main()
