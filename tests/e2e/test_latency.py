import statistics

from tests.bench import latency
from tests.e2e.stage import Stage


def test_a_launch_is_enforced_within_two_and_a_half_seconds(stage: Stage) -> None:
    """The median of seven, with the batching window that is deployed; `tests.bench.latency` takes more."""
    stage.aws.knobs(batching_window_seconds=None)
    assert statistics.median(latency.measure(stage, 7)) < latency.LIMIT_SECONDS
