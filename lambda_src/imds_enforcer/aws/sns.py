"""Mails to the operators, through SNS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imds_enforcer.aws.boto import aws_errors

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

_MAX_SUBJECT = 100
_MAX_MESSAGE_BYTES = 262_144


class Notifications:
    """The topic that operators subscribe to. Alarms go to it directly, not through here."""

    def __init__(self, client: SNSClient, topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def send(self, subject: str, message: str) -> None:
        """Publish one message, cut to what SNS accepts.

        Raises:
            AwsError: if SNS did not accept it.
        """
        cut = message.encode(errors="replace")[:_MAX_MESSAGE_BYTES].decode(errors="ignore")
        with aws_errors():
            self._client.publish(TopicArn=self._topic_arn, Subject=subject[:_MAX_SUBJECT], Message=cut)
