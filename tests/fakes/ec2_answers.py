"""What EC2 answers on the wire."""

from __future__ import annotations

from tests.fakes.examples import an_id

OPTIONS = (
    "<metadataOptions><state>applied</state><httpTokens>optional</httpTokens>"
    "<httpPutResponseHopLimit>2</httpPutResponseHopLimit><httpEndpoint>enabled</httpEndpoint>"
    "<httpProtocolIpv6>enabled</httpProtocolIpv6><instanceMetadataTags>enabled</instanceMetadataTags>"
    "</metadataOptions>"
)


def an_item(number: int, more: str = OPTIONS, state: str = "running") -> str:
    """One instance, by default with its options."""
    named = f"<instanceState><code>16</code><name>{state}</name></instanceState>" if state else ""
    return f"<item><instanceId>{an_id(number)}</instanceId>{named}{more}</item>"


def a_page(*items: str, following: str = "") -> str:
    """A page of DescribeInstances, with the token of the next one."""
    reservations = "".join(f"<item><instancesSet>{item}</instancesSet></item>" for item in items)
    end = f"<nextToken>{following}</nextToken>" if following else ""
    return (
        '<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
        f"<reservationSet>{reservations}</reservationSet>{end}</DescribeInstancesResponse>"
    )
