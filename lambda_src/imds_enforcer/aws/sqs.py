"""The one operation on the event queue that its event source mapping leaves to the function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.aws.boto import aws_errors, batched
from imds_enforcer.model import AwsError, Failure, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import ChangeMessageVisibilityBatchRequestEntryTypeDef

_ENTRIES_A_REQUEST = 10


class EventQueue:
    """The queue that a batch came from."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def deliver_again(self, delays: Mapping[str, int]) -> None:
        """Make each message, named by its receipt handle, visible again after its delay in seconds.

        A message for which this fails still comes back after the queue's visibility time-out;
        the others keep their delays.

        Raises:
            AwsError: the first failure, after every message was tried.
        """
        entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
            {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": delay}
            for number, (handle, delay) in enumerate(delays.items())
        ]
        failures = [self._change_visibility(batch) for batch in batched(entries, _ENTRIES_A_REQUEST)]
        for failure in filter(None, failures):
            raise AwsError(failure)

    def _change_visibility(self, entries: Sequence[ChangeMessageVisibilityBatchRequestEntryTypeDef]) -> Failure | None:
        """Send one request; the failure, if the call failed or SQS refused one of its messages."""
        try:
            with aws_errors():
                answer = self._client.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)
        except AwsError as error:
            return error.failure
        refused = answer.get("Failed", [])
        return Failure(refused[0]["Code"], refused[0].get("Message", ""), Kind.FINAL) if refused else None
