"""The real stacks on the local AWS, and what the demos and the tests do with them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from infra.local.process import ROOT
from infra.local.waiting import until

if TYPE_CHECKING:
    from infra.local.client import LocalAws

HTTP_TOKENS = "/imds-enforcer/http-tokens"
POLICY = "/imds-enforcer/policy"
STACK = "ImdsEnforcer"
STATE = "ImdsEnforcerState"

Options = Mapping[str, Any]


class Deployment:
    """The enforcer deployed to a local AWS."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.outputs = aws.stack_outputs(STACK)
        self._logs = aws.client("logs")
        self._ssm = aws.client("ssm")
        self._lambda = aws.client("lambda")
        function = self._lambda.get_function_configuration(FunctionName=self.outputs["FunctionName"])
        self.caller = f"role/{function['Role'].rpartition('/')[2]}"
        self._log_start = 0

    def set_http_tokens(self, value: str) -> int:
        """Set the toggle as an operator does; returns its new version."""
        return int(self._ssm.put_parameter(Name=HTTP_TOKENS, Value=value, Overwrite=True)["Version"])

    def set_policy(self, document: Mapping[str, Any] | str) -> int:
        """Store a policy, or a text that is not one; returns its version."""
        text = document if isinstance(document, str) else json.dumps(document)
        answer = self._ssm.put_parameter(Name=POLICY, Value=text, Overwrite=True, Tier="Intelligent-Tiering")
        return int(answer["Version"])

    def invoke(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke the function and return its answer; a sweep is invoked again until no other is in progress."""
        return until(lambda: self._answer(event), lambda answer: "already_running" not in answer, seconds=900)

    def _answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._lambda.invoke(FunctionName=self.outputs["FunctionName"], Payload=json.dumps(event))
        payload = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise RuntimeError(f"the function failed: {payload}")
        return dict(payload)

    def forget_log(self) -> None:
        """Ignore everything logged so far from now on."""
        self._log_start = int(time.time() * 1000) + 1

    def log_lines(self, **fields: object) -> list[dict[str, Any]]:
        """The function's structured log lines that have all these fields with these values, oldest first."""
        return [line for line in self._all_log_lines() if fields.items() <= line.items()]

    def reports(self, *, policy_versions: Mapping[str, int] | None = None, trigger: str = "") -> list[dict[str, Any]]:
        """The reports of finished runs: all, or those under these policy versions or by this trigger."""
        reports = [line["report"] for line in self._all_log_lines() if "report" in line]
        return [
            report
            for report in reports
            if policy_versions in (None, report["policy_versions"]) and trigger in ("", report["trigger"])
        ]

    def settle(self, **changed: int) -> dict[str, Any]:
        """Wait until both sweeps that a parameter's change starts have finished; returns the first one's report."""

        def finished(trigger: str) -> list[dict[str, Any]]:
            reports = self.reports(trigger=trigger)
            return [report for report in reports if changed.items() <= report["policy_versions"].items()]

        until(lambda: finished("second-look"), seconds=60, every=0.1)
        return finished("policy-change")[-1]

    def options(self, instance_ids: Collection[str], region: str = "") -> dict[str, Options]:
        """The current metadata options by instance."""
        pages = (
            self.aws.client("ec2", region)
            .get_paginator("describe_instances")
            .paginate(Filters=[{"Name": "instance-id", "Values": list(instance_ids)}], IncludeManagedResources=True)
        )
        return {
            instance["InstanceId"]: instance["MetadataOptions"]
            for page in pages
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        }

    def wait_for(
        self, instance_ids: Collection[str], region: str = "", *, seconds: float = 60, **wanted: object
    ) -> float:
        """Wait until all the instances have these options, applied; returns how many seconds it took."""
        started = time.monotonic()

        def there(options: Mapping[str, Options]) -> bool:
            target = {**wanted, "State": "applied"}
            return len(options) == len(instance_ids) and all(target.items() <= o.items() for o in options.values())

        until(lambda: self.options(instance_ids, region), there, seconds=seconds)
        return time.monotonic() - started

    def wait_for_outcome(self, instance_id: str, *outcomes: str, seconds: float = 60) -> dict[str, Any]:
        """Wait for the log line that gives the instance one of these outcomes."""

        def lines() -> Iterable[dict[str, Any]]:
            return [line for line in self.log_lines(instance_id=instance_id) if line["outcome"] in outcomes]

        return list(until(lines, seconds=seconds, every=0.1))[-1]

    def drain(self, *, seconds: float = 60) -> None:
        """Wait until no event is waiting, delayed or in progress."""
        until(lambda: self.messages("EventQueueUrl"), lambda count: count == 0, seconds=seconds)

    def messages(self, output: str) -> int:
        """How many messages the queue of this output has, in any state."""
        queue = self.aws.client("sqs").get_queue_attributes(QueueUrl=self.outputs[output], AttributeNames=["All"])
        states = ("", "NotVisible", "Delayed")
        return sum(int(queue["Attributes"][f"ApproximateNumberOfMessages{state}"]) for state in states)

    def calls(self) -> Counter[str]:
        """The numbers of AWS calls that the function has made, by action."""
        calls: Counter[str] = Counter()
        for row in self.aws.call_rows():
            if row["caller"] == self.caller:
                calls[row["action"]] += row["count"]
        return calls

    def _all_log_lines(self) -> list[dict[str, Any]]:
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self.outputs["LogGroupName"], startTime=self._log_start
        )
        messages = (event["message"] for page in pages for event in page["events"])
        lines = [json.loads(message) for message in messages if message.startswith("{")]
        # Metrics in the log have no time stamp, and sort first.
        return sorted(lines, key=lambda line: str(line.get("timestamp", "")))


def deploy(aws: LocalAws, *cdk_args: str) -> Deployment:
    """Bootstrap and deploy every stack, as `make deploy` does.

    Args:
        aws: a running local AWS; its region becomes the home region.
        cdk_args: for `cdk deploy`, for example `-c regions=eu-central-1`.

    Raises:
        RuntimeError: with what the CDK wrote, if the deployment failed.
    """
    done = command(aws, "deploy", *cdk_args)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(done.args)} failed:\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}")
    return Deployment(aws)


def command(aws: LocalAws, name: str, *cdk_args: str, confirm: str | None = None) -> subprocess.CompletedProcess[str]:
    """Do what `make deploy`, `make destroy` or `make destroy-state` does; it may fail."""
    return subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", "infra.deploy", name, *cdk_args],
        cwd=ROOT,
        env={**aws.environment(), "BOOTSTRAP": "yes", **({"CONFIRM": confirm} if confirm else {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
