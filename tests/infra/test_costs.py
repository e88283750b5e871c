"""What the cost calculation assumes about the templates."""

from tests.bench.costs import ALARMS
from tests.infra.synthesized import Stack


def test_the_costs_include_every_alarm(home: Stack) -> None:
    """A new alarm in the template must appear in the costs."""
    assert len(home.of_type("AWS::CloudWatch::Alarm")) == ALARMS
