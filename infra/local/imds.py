"""The metadata service of one instance of the local AWS, on a loopback port of its own.

with LocalImds(aws, instance_id, role="web") as imds:
    subprocess.run([...], env=imds.environment())

ministack has a metadata service on its own port. It describes a made-up instance, requires tokens only if its
process was started so, issues tokens without a lifetime, is never off, and its credentials belong to no principal.
This one follows the current options of a real instance, and has credentials of the instance's role.
"""

import json
import secrets
import threading
import time
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from infra.local.client import LocalAws

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "/latest/api/token"  # noqa: S105  # a path
IDENTITY = "/latest/dynamic/instance-identity/document"
METADATA = "/latest/meta-data/"
CREDENTIALS = f"{METADATA}iam/security-credentials/"
TOKEN_SECONDS = range(1, 21_601)

Answer = tuple[HTTPStatus, str]


class LocalImds:
    """What answers at 169.254.169.254 on one instance. It serves in a `with` block.

    Options that EC2 shows as pending are not yet in force. `requests` has the requests received, in order: method,
    path, status, and whether there was a token.

    Args:
        aws: where the instance is.
        instance_id: the instance.
        region: its region; the home region if empty.
        role: the name of the role in its instance profile; empty if it has none.
    """

    def __init__(self, aws: LocalAws, instance_id: str, region: str = "", *, role: str = "") -> None:
        self.requests: list[tuple[str, str, int, bool]] = []
        self._aws = aws
        self._instance_id = instance_id
        self._region = region or aws.region
        self._role = role
        self._tokens: dict[str, float] = {}
        self._in_force = self._described()["MetadataOptions"]
        service = self

        class Handler(BaseHTTPRequestHandler):
            """Handles a request; http.server requires the methods' names."""

            def do_GET(self) -> None:
                self._answer(service.get(self.path, self.headers))

            def do_PUT(self) -> None:
                self._answer(service.put(self.path, self.headers))

            def log_message(self, *_: object) -> None:
                """Write nothing: `requests` has every request."""

            def _answer(self, answer: Answer) -> None:
                status, text = answer
                has_token = "X-aws-ec2-metadata-token" in self.headers
                service.requests.append((self.command, self.path, status.value, has_token))
                content = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint_url(self) -> str:
        """The service's URL."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """The environment of a process on the instance: keys and region come only from the service."""
        given = self._aws.environment()
        from_service = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")
        return {
            **{name: value for name, value in given.items() if name not in from_service},
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint_url,
            "AWS_METADATA_SERVICE_TIMEOUT": "30",  # instead of a second: this machine may be busy
        }

    def put(self, path: str, headers: Message) -> Answer:
        """A token, if the request is as EC2 requires."""
        if self._options()["HttpEndpoint"] == "disabled" or "X-Forwarded-For" in headers:
            return HTTPStatus.FORBIDDEN, "Forbidden"
        if path != TOKEN:
            return HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed"
        seconds = headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not seconds.isdigit() or int(seconds) not in TOKEN_SECONDS:
            return HTTPStatus.BAD_REQUEST, "Bad Request"
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + int(seconds)
        return HTTPStatus.OK, token

    def get(self, path: str, headers: Message) -> Answer:
        """Metadata, if the instance's options allow the request."""
        options = self._options()
        if options["HttpEndpoint"] == "disabled":
            return HTTPStatus.FORBIDDEN, "Forbidden"
        token = headers.get("X-aws-ec2-metadata-token")
        admitted = options["HttpTokens"] == "optional" if token is None else self._is_valid(token)
        if not admitted:
            return HTTPStatus.UNAUTHORIZED, "Unauthorized"
        text = self._text(path)
        return (HTTPStatus.NOT_FOUND, "Not Found") if text is None else (HTTPStatus.OK, text)

    def _is_valid(self, token: str) -> bool:
        return self._tokens.get(token, 0) > time.monotonic()

    def _text(self, path: str) -> str | None:
        """The content at a path; None if the path is unknown."""
        texts: dict[str, Callable[[], str]] = {
            METADATA: lambda: "ami-id\niam/\ninstance-id\nplacement/",
            f"{METADATA}instance-id": lambda: self._instance_id,
            f"{METADATA}placement/region": lambda: self._region,
            IDENTITY: lambda: json.dumps(self._identity()),
        }
        if self._role:
            texts |= {
                CREDENTIALS: lambda: self._role,
                f"{CREDENTIALS}{self._role}": lambda: json.dumps(self._credentials()),
            }
        return texts[path]() if path in texts else None

    def _identity(self) -> dict[str, Any]:
        instance = self._described()
        return {
            "accountId": self._aws.account,
            "architecture": "x86_64",
            "availabilityZone": instance["Placement"]["AvailabilityZone"],
            "imageId": instance["ImageId"],
            "instanceId": self._instance_id,
            "instanceType": instance["InstanceType"],
            "pendingTime": instance["LaunchTime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "privateIp": instance["PrivateIpAddress"],
            "region": self._region,
            "version": "2017-09-30",
        }

    def _credentials(self) -> dict[str, Any]:
        """A session of the role, named after the instance as EC2 names it."""
        arn = f"arn:aws:iam::{self._aws.account}:role/{self._role}"
        keys = self._aws.client("sts").assume_role(RoleArn=arn, RoleSessionName=self._instance_id)["Credentials"]
        return {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "AccessKeyId": keys["AccessKeyId"],
            "SecretAccessKey": keys["SecretAccessKey"],
            "Token": keys["SessionToken"],
            "Expiration": keys["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _options(self) -> dict[str, Any]:
        """The options in force."""
        shown = self._described()["MetadataOptions"]
        if shown["State"] == "applied":
            self._in_force = shown
        return dict(self._in_force)

    def _described(self) -> dict[str, Any]:
        answer = self._aws.client("ec2", self._region).describe_instances(InstanceIds=[self._instance_id])
        return dict(answer["Reservations"][0]["Instances"][0])
