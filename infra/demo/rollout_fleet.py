"""A fleet with unknown IMDSv1 callers, to try a safe rollout on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.local.client import LocalAws

A_DAY = 24 * 3600
GROUP, TEMPLATE, IMAGE = "web", "lt-0a1b2c3d4e5f60718", "ami-0abcdef1234567890"
EXEMPTION = {
    "match": {"tag": {"key": "imds", "value": "v1"}},
    "reason": "vendor appliance calls IMDSv1",
    "owner": "network team",
}
_TEMPLATE_TAGS = {"aws:ec2launchtemplate:id": TEMPLATE, "aws:ec2launchtemplate:version": "7"}
_BATCH = 500


@dataclass(frozen=True, slots=True)
class RolloutFleet:
    """Sixty instances that allow IMDSv1, launched a day ago, by kind."""

    callers: Sequence[str]
    container_hosts: Sequence[str]
    exempt: Sequence[str]
    off: Sequence[str]
    plain: Sequence[str]

    @property
    def changeable(self) -> list[str]:
        """The instances that nothing keeps the enforcer from changing."""
        return [*self.container_hosts, *self.plain]

    @property
    def all(self) -> list[str]:
        """Every instance."""
        return list(itertools.chain(self.callers, self.container_hosts, self.exempt, self.off, self.plain))


def launch_rollout_fleet(aws: LocalAws, region: str) -> RolloutFleet:
    """Launch the fleet, without events: 20 that call IMDSv1, 10 container hosts, 5 exempt, 5 with IMDS off, 20 plain.

    Their options differ, so that only an exact revert restores them. The calls were made in the last two weeks.
    """
    aws.knobs(attached_seconds=A_DAY, state_change_events=False, cloudtrail_events=False)
    callers = aws.launch(region, 20, HttpTokens="optional")
    fleet = RolloutFleet(
        callers=callers,
        container_hosts=aws.launch(
            region, 10, tags={"kubernetes.io/cluster/shop": "owned"}, HttpTokens="optional", HttpPutResponseHopLimit=1
        ),
        exempt=aws.launch(region, 5, tags={"imds": "v1"}, HttpTokens="optional"),
        off=aws.launch(region, 5, HttpTokens="optional", HttpEndpoint="disabled"),
        plain=[
            *aws.launch(
                region, 8, auto_scaling_group=GROUP, tags=_TEMPLATE_TAGS, image_id=IMAGE, HttpTokens="optional"
            ),
            *aws.launch(region, 4, HttpTokens="optional", HttpPutResponseHopLimit=5),
            *aws.launch(region, 4, HttpTokens="optional", InstanceMetadataTags="enabled"),
            *aws.launch(region, 4, HttpTokens="optional", HttpProtocolIpv6="enabled", HttpPutResponseHopLimit=3),
        ],
    )
    aws.knobs(attached_seconds=0, state_change_events=True, cloudtrail_events=True)
    days_ago = datetime.now(UTC) - timedelta(days=3)
    put_calls(aws, region, "MetadataNoToken", {each: number + 1 for number, each in enumerate(callers)}, days_ago)
    return fleet


def put_calls(aws: LocalAws, region: str, metric: str, counts: Mapping[str, float], at: datetime) -> None:
    """Give CloudWatch a point of one of EC2's metrics for each of these instances, as EC2 itself would."""
    data = [
        {
            "MetricName": metric,
            "Dimensions": [{"Name": "InstanceId", "Value": each}],
            "Timestamp": at,
            "Value": count,
            "Unit": "Count",
        }
        for each, count in counts.items()
    ]
    for first in range(0, len(data), _BATCH):
        aws.client("cloudwatch", region).put_metric_data(Namespace="AWS/EC2", MetricData=data[first : first + _BATCH])
