"""What the costs take for granted about the templates."""

from tests.bench.costs import ALARMS
from tests.infra.synthesized import Stack


def test_every_alarm_is_paid_for(home: Stack) -> None:
    """One more in the template is one more in the costs."""
    assert len(home.of_type("AWS::CloudWatch::Alarm")) == ALARMS
