"""The billed units of requests."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from tests.bench.meter import Meter, size_of

TABLE = "ledger"


class _Body:
    def __init__(self, text: str) -> None:
        self._text = text

    def stream(self) -> Any:
        yield self._text.encode()


class _Answering:
    """A session whose clients get the same answer to every request."""

    def __init__(self) -> None:
        self.session = boto3.Session("id", "secret", region_name="eu-west-1")
        self.meter = Meter(self.session)
        self.answer = "{}"
        # botocore uses a hook's answer, although its stubs say that a hook returns None.
        send: Any = self._send
        self.session.events.register("before-send", send)
        self.dynamodb = self.session.client("dynamodb")

    def _send(self, request: Any, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 200, HTTPHeaders(), _Body(self.answer))

    def put(self, **attributes: str) -> None:
        item: Any = {name: {"S": value} for name, value in {"pk": "p", "sk": "s", **attributes}.items()}
        self.dynamodb.batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": item}}]})


@pytest.fixture
def aws() -> _Answering:
    """A session that sends nothing out of the process."""
    return _Answering()


def test_an_item_is_as_large_as_its_names_and_values() -> None:
    """Text counts by its bytes, a number by half its digits, a map by its contents."""
    assert size_of({"pk": {"S": "ä"}}) == 2 + 2
    assert size_of({"n": {"N": "12345"}}) == 1 + 4
    assert size_of({"m": {"M": {"a": {"S": "b"}, "c": {"BOOL": True}}}}) == 1 + 3 + (2 + 1) + (2 + 1)


def test_an_item_is_written_to_the_table_and_to_each_index_that_has_it(aws: _Answering) -> None:
    """In whole kilobytes."""
    aws.put()
    assert aws.meter.writes == 1
    aws.put(sk="other", run_id="r", month="m", open="o", reason="x" * 1024)
    assert aws.meter.writes == 1 + 2 * 4


def test_leaving_an_index_is_a_write_of_the_old_item(aws: _Answering) -> None:
    """A finalized intent does this."""
    aws.put(run_id="r", month="m", open="o", reason="x" * 1024)
    aws.meter.reset()
    aws.put(run_id="r", month="m")
    assert aws.meter.writes == 2 * 4
    assert aws.meter.largest_entry > 1024


def test_a_page_is_read_in_units_of_four_kilobytes_or_half_without_consistency(aws: _Answering) -> None:
    """An empty page counts too."""
    aws.answer = '{"Items": []}'
    aws.dynamodb.scan(TableName=TABLE)
    assert aws.meter.reads == 0.5
    aws.answer = '{"Items": [{"pk": {"S": "%s"}}]}' % ("x" * 5000)
    aws.dynamodb.query(TableName=TABLE, ConsistentRead=True)
    assert aws.meter.reads == 0.5 + 2


def test_metrics_are_counted_once_however_many_pages_answer(aws: _Answering) -> None:
    """CloudWatch bills each metric requested."""
    cloudwatch = aws.session.client("cloudwatch")
    queries: Any = [{"Id": f"m{number}", "Expression": "1"} for number in range(3)]
    asked: Any = {"MetricDataQueries": queries, "StartTime": 0, "EndTime": 1}
    cloudwatch.get_metric_data(**asked)
    cloudwatch.get_metric_data(**asked, NextToken="next")
    assert aws.meter.metrics == 3
