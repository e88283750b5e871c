"""The function's package: the enforcer and its pinned libraries, assembled without docker.

It is pure Python, which pip's options guarantee, so that one package fits every architecture.
"""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".build" / "package"
REQUIREMENTS = ROOT / "lambda_src" / "requirements.txt"
SOURCES = ROOT / "lambda_src" / "imds_enforcer"

SERVICES = ("ec2", "ssm", "sqs", "sns", "dynamodb", "cloudwatch")
"""The services that the function calls. Only their models stay: botocore's 400 others would be nine tenths of the
upload."""

RUNTIME = (3, 13)
"""The function's runtime, which can use only byte code of its own Python version."""

LAMBDA_ROOT = "/var/task"
"""Where Lambda unpacks the package (Lambda Developer Guide, "Working with .zip file archives for Python Lambda
functions"); tracebacks show it."""

INSTALLER_NOTES = ("RECORD", "INSTALLER", "REQUESTED")
"""pip's own notes in dist-info, which are removed. The rest stays: vulnerability scanners read the versions there."""


def build() -> Path:
    """The folder to upload; rebuilt only when sources or requirements change."""
    own = [REQUIREMENTS, Path(__file__)]
    libraries = _cached("libraries", own, _install)
    sources = sorted(path for path in SOURCES.rglob("*") if path.is_file() and "__pycache__" not in path.parts)

    def assemble(folder: Path) -> None:
        shutil.copytree(libraries, folder, dirs_exist_ok=True, copy_function=os.link)
        for source in sources:
            copy = folder / source.relative_to(SOURCES.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.parent.chmod(0o755)
            shutil.copyfile(source, copy)
            copy.chmod(0o644)
        if has_byte_code():
            _compile(folder / SOURCES.name, root=folder)

    return _cached("function", [*own, *sources], assemble)


def has_byte_code() -> bool:
    """Whether the package has byte code: only if this Python is the runtime's.

    Lambda's package folder is read-only: without byte code in it, Python compiles every import at each cold start.
    """
    return sys.version_info[:2] == RUNTIME


def byte_code_missing() -> str:
    """A notice if the package has no byte code, with the command that adds it; otherwise empty."""
    if has_byte_code():
        return ""
    runtime = ".".join(map(str, RUNTIME))
    return (
        f"The package was built with Python {sys.version_info[0]}.{sys.version_info[1]}, so it has no byte code for "
        f"Lambda's Python {runtime}: each cold start compiles everything, and takes longer. To include byte code: "
        f"make PYTHON=python{runtime} …\n"
    )


def excluded() -> list[str]:
    """What to leave out of the upload: if the package has no byte code, that of imports from its folder."""
    return [] if has_byte_code() else ["**/__pycache__"]


def archive(folder: Path) -> Path:
    """The package as one zip in the folder, named after its content: the same sources make the same bytes."""
    built = build()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fresh = Path(scratch) / "package.zip"
        with zipfile.ZipFile(fresh, "w") as packed:
            for path in sorted(built.rglob("*")):
                if path.is_file() and (has_byte_code() or "__pycache__" not in path.parts):
                    # Without a given time, the entry has the earliest that a zip allows, the same in every build.
                    entry = zipfile.ZipInfo(path.relative_to(built).as_posix())
                    entry.external_attr = 0o100644 << 16  # a plain file that Lambda's user may read
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    packed.writestr(entry, path.read_bytes())
        digest = hashlib.sha256(fresh.read_bytes()).hexdigest()
        return fresh.rename(folder / f"imds-enforcer-{digest[:16]}.zip")


def _install(folder: Path) -> None:
    subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--requirement", str(REQUIREMENTS), "--require-hashes", "--no-deps", "--no-compile"),
            # The other options override any other place to install to in the user's own settings.
            *("--target", str(folder), "--no-user", "--prefix=", "--root=/"),
            # Only wheels for any machine, which contain no compiled code.
            *("--only-binary=:all:", "--platform=any", "--abi=none", "--implementation=py"),
            f"--python-version={'.'.join(map(str, RUNTIME))}",
        ],
        check=True,
    )
    shutil.rmtree(folder / "bin")
    for path in [folder, *folder.rglob("*")]:
        # Lambda's user must be able to read it, whatever the umask here.
        path.chmod(0o755 if path.is_dir() else 0o644)
    for note in INSTALLER_NOTES:
        for path in folder.glob(f"*.dist-info/{note}"):
            path.unlink()
    for model in (folder / "botocore" / "data").iterdir():
        if model.is_dir() and model.name not in SERVICES:
            shutil.rmtree(model)
    _leave_out_documentation(folder / "botocore" / "data")
    if has_byte_code():
        _compile(folder, root=folder)


def _compile(folder: Path, *, root: Path) -> None:
    """Compile all modules in the folder, a part of the package's `root`, into the same bytes each time.

    Python uses this byte code without checking its source (PEP 552, "unchecked hash"): a package never changes.
    """
    options = ("-q", "-f", "-s", str(root), "-p", LAMBDA_ROOT, "--invalidation-mode", "unchecked-hash")
    # In a new process: the byte code that a process writes can depend on what it did before.
    subprocess.run([sys.executable, "-I", "-m", "compileall", *options, str(folder)], check=True)  # noqa: S603
    for path in folder.rglob("*"):
        if "__pycache__" in {path.name, path.parent.name}:
            # Lambda's user must be able to read it, whatever the umask here.
            path.chmod(0o755 if path.is_dir() else 0o644)


def _leave_out_documentation(models: Path) -> None:
    """Rewrite the service models without the texts from which botocore makes docstrings.

    These are almost three quarters of the models, and a function never reads them. With models that lack them and are
    not compressed, the first clients of EC2 and DynamoDB start a seventh faster, and the upload is a third smaller.
    """
    for packed in models.rglob("service-2.json.gz"):
        model = _undocumented(json.loads(gzip.decompress(packed.read_bytes())))
        plain = packed.with_suffix("")
        plain.write_text(json.dumps(model, separators=(",", ":")))
        plain.chmod(0o644)
        packed.unlink()


def _undocumented(model: Any) -> Any:
    match model:
        case dict():
            # A shape may also have a member of that name: its value is an object.
            texts = {key for key, value in model.items() if key == "documentation" and isinstance(value, str)}
            return {key: _undocumented(value) for key, value in model.items() if key not in texts}
        case list():
            return [_undocumented(each) for each in model]
        case _:
            return model


def _cached(name: str, inputs: list[Path], make: Callable[[Path], None]) -> Path:
    # The format of byte code depends on the Python that compiled it.
    digest = hashlib.sha256(MAGIC_NUMBER if has_byte_code() else b"")
    for path in inputs:
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    folder = BUILD / f"{name}-{digest.hexdigest()[:16]}"
    if not folder.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
            fresh = Path(scratch) / name
            fresh.mkdir()
            make(fresh)
            try:
                fresh.rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another synthesis, of the same inputs, was faster
                    raise
    return folder
