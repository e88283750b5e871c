"""Where the command starts; `python -m imds_enforcer_cli` is the same."""

import gc
import io
import sys

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
    try:
        from imds_enforcer_cli.main import app  # noqa: PLC0415  # what it needs may not be installed

        app(prog_name="imds-enforcer")
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in {"typer", "rich", "jinja2"}:
            raise
        print(f"imds-enforcer: {library} is missing; install it with: pip install '.[cli]'", file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main()
