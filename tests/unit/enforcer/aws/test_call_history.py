from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from imds_enforcer.aws.call_history import CallHistory, CallQuery
from imds_enforcer.aws.cloudwatch import MAX_POINTS
from imds_enforcer.decision.legacy_calls import CALLS_SERVED, SERVED, Calls
from imds_enforcer.model import AwsError
from tests.fakes.clock import START
from tests.fakes.examples import THROTTLED, an_id
from tests.fakes.records import FakeCallMetrics, FakeTable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fakes.clock import FakeClock

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SINCE = datetime(2026, 11, 8, tzinfo=UTC)


class Asked:
    """A table, CloudWatch, and a history that asks them."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.table = FakeTable()
        self.metrics = FakeCallMetrics()

    def history(self, topic: str = "a", period: timedelta = DAY, good_for: timedelta = DAY) -> CallHistory:
        """A history as in a process that has asked nothing yet."""
        query = CallQuery(topic=topic, counted=CALLS_SERVED, period=period, good_for=good_for)
        return CallHistory(self.table.ledger_table(self.clock).notes, lambda: self.metrics, self.clock, query)

    def ids(self) -> list[list[str]]:
        """The instances that CloudWatch was asked about, by request."""
        return [ids for _, ids, _ in self.metrics.requests]


@pytest.fixture
def asked(clock: FakeClock) -> Asked:
    """No answers are known yet, and the first instance made two calls."""
    asked = Asked(clock)
    asked.metrics.data[SERVED, an_id(1)] = [(SINCE, 2.0), (SINCE + DAY, 5.0), (SINCE - DAY, 9.0)]
    return asked


def _since(numbers: Iterable[int], moment: datetime = SINCE) -> dict[str, datetime]:
    return {an_id(number): moment for number in numbers}


def test_each_instance_has_its_calls(asked: Asked) -> None:
    """Also those of which CloudWatch has no data, which is then known."""
    assert asked.history().of(_since([1, 2])) == {an_id(1): Calls(7, date(2026, 11, 9)), an_id(2): Calls()}
    assert asked.metrics.requests == [(SERVED, [an_id(1), an_id(2)], 86_400)]


def test_calls_count_from_each_instances_own_moment(asked: Asked) -> None:
    """Even though CloudWatch is asked about all from the earliest moment on."""
    calls = asked.history().of({an_id(1): SINCE + DAY, an_id(2): SINCE - 2 * DAY})
    assert calls[an_id(1)] == Calls(5, date(2026, 11, 9))


def test_only_unknown_instances_are_asked_about(asked: Asked) -> None:
    """Each one costs money; without instances there is no request."""
    history = asked.history()
    assert history.of({}) == {}
    history.of(_since([1, 2]))
    assert set(history.of(_since([2, 3, 1]))) == {an_id(1), an_id(2), an_id(3)}
    history.of(_since([3]))
    assert asked.ids() == [[an_id(1), an_id(2)], [an_id(3)]]


def test_the_notes_are_read_once(asked: Asked) -> None:
    """They cover thousands of instances."""
    history = asked.history()
    for number in range(3):
        history.of(_since([number]))
    assert [request for request in asked.table.requests if request.startswith("Query")] == ["Query calls#a"]


@pytest.mark.parametrize("count", [500, 501, 1_001])
def test_500_instances_are_asked_about_at_a_time_and_noted_together(asked: Asked, count: int) -> None:
    """CloudWatch accepts no more, and few notes have to be read."""
    assert len(asked.history().of(_since(range(count)))) == count
    assert [len(ids) for ids in asked.ids()] == [min(500, count - done) for done in range(0, count, 500)]
    assert len(asked.table.written) == len(asked.ids())


@pytest.mark.parametrize(
    ("since", "period", "at_most"),
    [
        (START - 14 * DAY, DAY, 500),
        # A point for each hour or day that has begun, and one more if the two do not begin together.
        (START - 199 * HOUR, HOUR, 500),
        (START - 200 * HOUR, HOUR, 499),
        (START - 336 * HOUR, HOUR, 298),
        (START - 455 * DAY, DAY, 220),
    ],
)
def test_no_answer_has_more_points_than_cloudwatch_gives(
    asked: Asked, since: datetime, period: timedelta, at_most: int
) -> None:
    """CloudWatch would silently leave out the rest."""
    asked.history(period=period).of(_since(range(600), since))
    sizes = [len(ids) for ids in asked.ids()]
    assert (max(sizes), sum(sizes)) == (at_most, 600)
    assert at_most * ((START - since) // period + 2) <= MAX_POINTS


def test_another_process_uses_the_notes(asked: Asked) -> None:
    """As long as an answer is good, to its last moment."""
    first = asked.history().of(_since([1, 2]))
    asked.clock.advance(DAY.total_seconds())
    assert asked.history().of(_since([1, 2])) == first
    assert len(asked.ids()) == 1
    asked.history().of(_since([1, 2, 3]))
    assert asked.ids()[1:] == [[an_id(3)]]


def test_an_outdated_answer_is_asked_for_again(asked: Asked) -> None:
    """Calls may have ended or begun since."""
    asked.history().of(_since([1]))
    asked.clock.advance(DAY.total_seconds() + 0.001)
    asked.metrics.data[SERVED, an_id(1)].append((START + 0.5 * DAY, 1.0))
    assert asked.history().of(_since([1])) == {an_id(1): Calls(8, date(2026, 11, 23))}
    assert len(asked.ids()) == 2


def test_notes_under_another_topic_do_not_count(asked: Asked) -> None:
    """They concern another region or another number of days."""
    asked.history("a").of(_since([1]))
    asked.history("b").of(_since([1]))
    assert len(asked.ids()) == 2


def test_a_failed_request_is_an_error_and_not_noted(asked: Asked) -> None:
    """The next request asks again."""
    history = asked.history()
    asked.metrics.failure = THROTTLED
    with pytest.raises(AwsError) as raised:
        history.of(_since([1]))
    assert raised.value.failure is THROTTLED
    assert asked.table.written == []
    asked.metrics.failure = None
    assert history.of(_since([1]))[an_id(1)].total == 7


def test_answers_before_an_error_are_noted(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost money."""
    points = asked.metrics.points
    answered = iter([True, False])

    def once(*args: object, **kwargs: object) -> object:
        asked.metrics.failure = None if next(answered) else THROTTLED
        return points(*args, **kwargs)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(asked.metrics, "points", once)
    with pytest.raises(AwsError):
        asked.history().of(_since(range(501)))
    monkeypatch.undo()
    asked.metrics.failure = None
    asked.history().of(_since(range(501)))
    assert [len(ids) for ids in asked.ids()] == [500, 1, 1]


@pytest.mark.parametrize("name", ["read_failure", "write_failure"])
def test_a_table_out_of_reach_is_an_error(asked: Asked, name: str) -> None:
    """Without notes, every run would ask and pay again for every instance."""
    setattr(asked.table, name, THROTTLED)
    with pytest.raises(AwsError):
        asked.history().of(_since([1]))
