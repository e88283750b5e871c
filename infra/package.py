"""The function's package: the enforcer and its pinned libraries, put together without docker.

Pure Python throughout, which pip is made to guarantee, so that one package fits every architecture.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".build" / "package"
REQUIREMENTS = ROOT / "lambda_src" / "requirements.txt"
SOURCES = ROOT / "lambda_src" / "imds_enforcer"

SERVICES = ("ec2", "ssm", "sqs", "sns", "dynamodb", "cloudwatch")
"""The service models to keep, those of the services that the function calls: botocore's 400 others are nine
tenths of what would be uploaded."""

INSTALLER_NOTES = ("RECORD", "INSTALLER", "REQUESTED")
"""What pip leaves in dist-info for itself. The rest stays: vulnerability scanners read the versions there."""


def build() -> Path:
    """The folder to upload. Made anew when sources or requirements change, else found ready."""
    libraries = _cached("libraries", [REQUIREMENTS, Path(__file__)], _install)
    sources = sorted(path for path in SOURCES.rglob("*") if path.is_file() and "__pycache__" not in path.parts)

    def assemble(folder: Path) -> None:
        shutil.copytree(libraries, folder, dirs_exist_ok=True, copy_function=os.link)
        for source in sources:
            copy = folder / source.relative_to(SOURCES.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.parent.chmod(0o755)
            shutil.copyfile(source, copy)
            copy.chmod(0o644)

    return _cached("function", [REQUIREMENTS, Path(__file__), *sources], assemble)


def archive(folder: Path) -> Path:
    """The package as one zip in the folder, named after its content: the same sources make the same bytes."""
    built = build()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fresh = Path(scratch) / "package.zip"
        with zipfile.ZipFile(fresh, "w") as packed:
            for path in sorted(built.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    # Without a time of its own, it has the earliest that a zip can have.
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
            # Beside the target, so that what the user's own settings say of another place does not count.
            *("--target", str(folder), "--no-user", "--prefix=", "--root=/"),
            # What pip may choose from: wheels for any machine, and so without compiled code.
            *("--only-binary=:all:", "--platform=any", "--abi=none", "--implementation=py"),
            "--python-version=3.13",
        ],
        check=True,
    )
    shutil.rmtree(folder / "bin")
    for path in [folder, *folder.rglob("*")]:
        # Whatever the umask here: Lambda's user has to read it.
        path.chmod(0o755 if path.is_dir() else 0o644)
    for note in INSTALLER_NOTES:
        for path in folder.glob(f"*.dist-info/{note}"):
            path.unlink()
    for model in (folder / "botocore" / "data").iterdir():
        if model.is_dir() and model.name not in SERVICES:
            shutil.rmtree(model)
    _leave_out_documentation(folder / "botocore" / "data")


def _leave_out_documentation(models: Path) -> None:
    """Rewrite the service models without the texts from which botocore makes docstrings.

    Almost three quarters of the models are such texts, and nobody reads them in a function: without them, and
    unpacked, the first clients of EC2 and DynamoDB are there a seventh sooner, and the upload is a third smaller.
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
            # A member of a shape may have that name too: it is described by an object.
            texts = {key for key, value in model.items() if key == "documentation" and isinstance(value, str)}
            return {key: _undocumented(value) for key, value in model.items() if key not in texts}
        case list():
            return [_undocumented(each) for each in model]
        case _:
            return model


def _cached(name: str, inputs: list[Path], make: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256()
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
                if not folder.exists():  # else another synthesis, of the same inputs, was faster
                    raise
    return folder
