"""The entry point of `imds-enforcer` and of `python -m imds_enforcer_cli`."""

import gc
import io
import sys

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
    try:
        from imds_enforcer_cli.main import app  # noqa: PLC0415  # its libraries may be missing

        app(prog_name="imds-enforcer")
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in {"typer", "rich", "jinja2"}:
            raise
        print(f"imds-enforcer: {library} is missing; install it with: pip install '.[cli]'", file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main()
