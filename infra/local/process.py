"""The local AWS's process: started on a free loopback port, stopped by its own pid, leaving nothing behind."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "local" / "bin" / "python"
START_SECONDS = 60.0
CONTROL_SECONDS = 30.0
STOP_SECONDS = 10.0


class ServerProcess:
    """A process of `infra.local.server`.

    Its standard input is a pipe from this program. When the pipe closes, because of `stop` or because this
    program was killed, the server ends and removes its folder.
    """

    def __init__(self, python: Path = PYTHON) -> None:
        if not python.exists():
            raise FileNotFoundError(
                f"{python} is missing; `make .venv/local` installs infra/local/requirements.txt there"
            )
        self._folder = Path(tempfile.mkdtemp(prefix="imds-enforcer-local-"))
        self._log = self._folder / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as listener, self._log.open("wb") as log:
            self.port: int = listener.getsockname()[1]
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [python, "-m", "infra.local.server", str(listener.fileno())],
                cwd=ROOT,
                env=_environment(self._folder, self.port),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C reaches this program only; the pipe ends the server
            )

    def wait_until_ready(self) -> None:
        """Return once the server answers; if it never does, raise with what it wrote."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            with contextlib.closing(connection):
                connection.request("GET", "/_local/ready")
                connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            written = self.log()
            self.stop()
            raise RuntimeError(f"the local AWS did not start:\n{written}") from error

    def control(self, method: str, path: str, wish: Mapping[str, object] | None = None) -> Any:
        """Call the control path, which AWS does not have: see `infra.local.server.control`.

        Raises:
            ValueError: with the server's message, if it refuses.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CONTROL_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, f"/_local/{path}", json.dumps(wish or {}))
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != http.HTTPStatus.OK:
            raise ValueError(answer["error"])
        return answer

    def log(self) -> str:
        """What the server has written so far; empty once it has stopped."""
        with contextlib.suppress(FileNotFoundError):
            return self._log.read_text(errors="replace")
        return ""

    def stop(self) -> None:
        """End the server and remove its folder; the second time, do nothing."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _environment(folder: Path, port: int) -> dict[str, str]:
    """The server's environment: without the user's AWS settings, and with no path outside its own folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    return {
        **kept,
        "TMPDIR": str(folder),
        "STATE_DIR": str(folder / "state"),
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "127.0.0.1",
        # ministack removes containers that it takes for its own: hide docker from it.
        "DOCKER_HOST": f"unix://{folder}/no-docker",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.2",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
