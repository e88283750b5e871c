"""What `make dist` writes: a release, with the SHA-256 sums of its files.

The command as sdist and wheel, the stacks as plain CloudFormation with the function's zip, and the policy's schema.
The same sources make the same bytes, with the same version of Python.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from infra import package, state, templates
from infra.arguments import ROOT, Arguments, DeployError
from infra.checks import SCHEMA
from infra.deploy import tool_environment

FOLDER = ROOT / ".build" / "dist"
SUMS = "SHA256SUMS"
"""For `sha256sum -c`."""

_DAY_ONE = 315_532_800
"""The time of every packed file: 1980-01-01 in UTC, the earliest that a zip can have."""


def write(folder: Path) -> None:
    """Write the release into the folder, which has nothing else then.

    Raises:
        DeployError: if the templates cannot be made.
    """
    if folder.exists():
        shutil.rmtree(folder)
    # The project's own context: what a user's files or CDK_ARGS add shapes no release.
    context = json.loads((ROOT / "cdk.json").read_text("utf-8"))["context"]
    first_values = state.first_values(**Arguments(standing=context).first_values())
    if not templates.write(folder, context, first_values, tool_environment()):
        raise DeployError("there is no release without its templates")
    write_command(folder)
    shutil.copyfile(SCHEMA, folder / "policy.schema.json")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(sums), "utf-8")


def write_command(folder: Path) -> None:
    """Write the command's sdist into the folder, and the wheel that this makes."""
    with tempfile.TemporaryDirectory() as scratch:
        sources, made = Path(scratch, "sources"), Path(scratch, "made")
        # A copy: setuptools leaves files where it builds, and would pack what it left there earlier.
        left_over = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / "lambda_src", sources / "lambda_src", ignore=left_over)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, sources)
        _python("-c", f"from setuptools.build_meta import build_sdist; build_sdist({str(made)!r})", cwd=sources)
        [sdist] = made.iterdir()
        _pack_again(sdist, folder / sdist.name)
    # With the setuptools that is here, and nothing of the user's settings.
    options = ("--isolated", "--quiet", "--no-cache-dir", "--no-index", "--no-deps", "--no-build-isolation")
    _python("-m", "pip", "wheel", *options, f"--wheel-dir={folder}", str(folder / sdist.name), cwd=folder)


def _python(*arguments: str, cwd: Path) -> None:
    """Run this Python where neither the time nor the umask shows in what it packs."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(_DAY_ONE)}
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=cwd, env=environment, umask=0o022, stdout=subprocess.DEVNULL, check=True)  # noqa: S603


def _pack_again(archive: Path, target: Path) -> None:
    """The files of an archive in one that does not say when, by whom and with which rights they were written."""
    with (
        tarfile.open(archive) as made,
        gzip.GzipFile(target, "wb", mtime=_DAY_ONE) as packed,
        tarfile.open(fileobj=packed, mode="w") as fresh,
    ):
        for file in sorted(filter(tarfile.TarInfo.isfile, made), key=lambda member: member.name):
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mtime = file.size, _DAY_ONE
            fresh.addfile(entry, made.extractfile(file))


def main() -> None:
    """Write the release to `.build/dist`, and say what is in it."""
    write(FOLDER)
    files = "".join(f"  {path.name}\n" for path in sorted(FOLDER.iterdir()))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    sys.stdout.write(
        f"In {os.path.relpath(FOLDER)}:\n{files}"
        f"The zip's bytes depend on the version of Python, here {version}: byte code differs between versions.\n"
    )
    sys.stdout.write(package.byte_code_missing())


if __name__ == "__main__":
    try:
        main()
    except DeployError as error:
        sys.exit(str(error))
