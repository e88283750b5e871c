"""The metadata service of an instance in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from imds_enforcer.model import HttpTokens, Switch
from imds_enforcer_cli.account.instance_metadata import Answer, InstanceMetadata
from tests.fakes.examples import HOME, V1_ALLOWED, an_id

if TYPE_CHECKING:
    from tests.fakes.clients import FakeClients

TOKEN = "token-1"  # noqa: S105  # it opens nothing


class FakeImds(InstanceMetadata):
    """Follows the options of the instance `instance_id` in `region`.

    `answers` replace the answers to some requests, by method and path; an exception is raised, as the network would
    do. `requests` has the method, path and token of each request.
    """

    def __init__(self, clients: FakeClients) -> None:
        super().__init__("http://169.254.169.254")
        self._clients = clients
        self.instance_id, self.region = an_id(1), HOME
        self.answers: dict[tuple[str, str], Answer | Exception] = {}
        self.requests: list[tuple[str, str, str | None]] = []

    def send(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        """Answer one request."""
        token = headers.get("X-aws-ec2-metadata-token")
        self.requests.append((method, path, token))
        answer = self.answers.get((method, path))
        if isinstance(answer, Exception):
            raise answer
        return answer or self._answer(method, path, token, headers)

    def _answer(self, method: str, path: str, token: str | None, headers: dict[str, str]) -> Answer:
        ec2 = self._clients.ec2(self.region)
        # The instance runs, even if EC2 does not list it.
        options = ec2.actual(self.instance_id).options if self.instance_id in ec2.instance_ids else V1_ALLOWED
        assert options is not None
        if options.http_endpoint is Switch.DISABLED:
            return Answer(403, "Forbidden")
        if method == "PUT":
            assert headers == {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
            return Answer(200, TOKEN)
        if token != TOKEN and not (token is None and options.http_tokens is HttpTokens.OPTIONAL):
            return Answer(401, "Unauthorized")
        if path.endswith("/document"):
            return Answer(200, json.dumps({"instanceId": self.instance_id, "region": self.region}))
        return Answer(200, "ami-id")
