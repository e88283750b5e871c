"""The event queue's one operation that its event source mapping leaves to the function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.aws import aws_errors, batched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_sqs import SQSClient

    from imds_enforcer.events import QueuedMessage

_ENTRIES_A_REQUEST = 10


class EventQueue:
    """The queue that a batch came from."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def deliver_again(self, delays: Mapping[QueuedMessage, int]) -> None:
        """Make each message visible again after its delay in seconds.

        A message for which this fails comes back all the same, once the queue's visibility
        time-out is over.

        Raises:
            AwsError: for a request that failed.
        """
        for batch in batched(delays.items(), _ENTRIES_A_REQUEST):
            with aws_errors():
                self._client.change_message_visibility_batch(
                    QueueUrl=self._queue_url,
                    Entries=[
                        {
                            "Id": str(number),
                            "ReceiptHandle": message.receipt_handle,
                            "VisibilityTimeout": delay,
                        }
                        for number, (message, delay) in enumerate(batch)
                    ],
                )
