import statistics
import time

from tests.bench import latency
from tests.e2e.stage import HOME, Stage
from tests.fakes import example_events

WINDOW_SECONDS = 1
"""The batching window of the event source, as it is deployed."""


def test_a_launch_waits_for_little_more_than_the_batching_window(stage: Stage) -> None:
    """Compared with the function called directly, on the same machine; `make latency` measures seconds."""
    stage.aws.knobs(batching_window_seconds=None)
    by_events = statistics.median(latency.measure(stage, 7))
    directly = statistics.median(called_directly(stage) for _ in range(7))
    assert by_events < WINDOW_SECONDS + 3 * directly


def called_directly(stage: Stage) -> float:
    """Seconds from a launch without events, which the test reports itself, until its tokens are required."""
    with stage.unseen():
        [instance] = stage.aws.launch(HOME, HttpTokens="optional")
    started = time.monotonic()
    event = example_events.running(instance, account=stage.aws.account, region=HOME)
    stage.invoke(example_events.a_batch(example_events.a_message(event)))
    stage.wait_for([instance], HttpTokens="required")
    return time.monotonic() - started
