from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from imds_enforcer.aws.sns import Notifications
from imds_enforcer.model import AwsError

if TYPE_CHECKING:
    from tests.fakes.transport import FakeTransport

TOPIC = "arn:aws:sns:eu-west-1:111122223333:topic"
ANSWER = "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult></PublishResponse>"


def _sent(transport: FakeTransport, subject: str, message: str) -> dict[str, str]:
    transport.answer(ANSWER)
    Notifications(transport.client("sns"), TOPIC).send(subject, message)
    return transport.requests[-1]


def test_a_mail_is_published_to_the_topic(transport: FakeTransport) -> None:
    """With its subject."""
    assert _sent(transport, "imds-enforcer: news", "Two lines\nof text") == {
        "Action": "Publish",
        "TopicArn": TOPIC,
        "Subject": "imds-enforcer: news",
        "Message": "Two lines\nof text",
    }


def test_a_mail_that_is_too_long_is_cut(transport: FakeTransport) -> None:
    """The digest of a bad day still arrives; SNS counts bytes, and no character is split."""
    sent = _sent(transport, "s" * 101, "x" + "é" * 131_072)
    assert sent["Subject"] == "s" * 100
    assert sent["Message"] == "x" + "é" * 131_071


def test_half_a_character_does_not_stop_a_mail(transport: FakeTransport) -> None:
    """The text of a broken policy may contain one."""
    assert _sent(transport, "s", "a\ud800b")["Message"] == "a?b"


def test_a_refused_mail_is_an_error_with_its_code(transport: FakeTransport) -> None:
    """The caller decides what it means for the run."""
    transport.answer(
        "<ErrorResponse><Error><Code>NotFound</Code><Message>no topic</Message></Error></ErrorResponse>", 404
    )
    with pytest.raises(AwsError, match=r"^NotFound: no topic$"):
        Notifications(transport.client("sns"), TOPIC).send("s", "m")
