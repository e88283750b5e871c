"""An EC2 within the process, for more instances than a local AWS holds; it answers in place of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE_SIZE = 1000
_XMLNS = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'


class Pages:
    """This many running instances, which allow IMDSv1 until they are changed."""

    def __init__(self, candidates: int) -> None:
        self._candidates = candidates
        self._changed: set[str] = set()

    def answer(self, request: Any, **_: object) -> AWSResponse | None:
        """EC2's answer; None passes a request that is not about instances on to the local AWS."""
        body = request.body.decode() if isinstance(request.body, bytes) else request.body
        wish = {name: values[0] for name, values in parse_qs(body).items()}
        if wish["Action"] == "ModifyInstanceMetadataOptions":
            self._changed.add(wish["InstanceId"])
            text = f"<ModifyInstanceMetadataOptionsResponse {_XMLNS}><instanceId>{wish['InstanceId']}</instanceId>"
            text += f"{_options('required', 'instanceMetadataOptions')}</ModifyInstanceMetadataOptionsResponse>"
        elif wish["Action"] == "DescribeInstances":
            text = self._described(wish)
        else:
            return None
        return AWSResponse(request.url, 200, HTTPHeaders(), _Body(text))

    def _described(self, wish: dict[str, str]) -> str:
        ids = [value for value in wish.values() if value.startswith("i-")]
        following = ""
        if not ids:
            first = int(wish.get("NextToken", "0"))
            last = min(first + PAGE_SIZE, self._candidates)
            ids = [each for number in range(first, last) if (each := f"i-{number:017x}") not in self._changed]
            following = f"<nextToken>{last}</nextToken>" if last < self._candidates else ""
        items = "".join(_item(each, "required" if each in self._changed else "optional") for each in ids)
        return (
            f"<DescribeInstancesResponse {_XMLNS}><reservationSet>{items}</reservationSet>{following}"
            "</DescribeInstancesResponse>"
        )


class _Body:
    def __init__(self, text: str) -> None:
        self._text = text

    def stream(self) -> Iterator[bytes]:
        yield self._text.encode()


def _options(tokens: str, tag: str = "metadataOptions") -> str:
    return (
        f"<{tag}><state>applied</state><httpTokens>{tokens}</httpTokens><httpEndpoint>enabled</httpEndpoint>"
        "<httpPutResponseHopLimit>1</httpPutResponseHopLimit><httpProtocolIpv6>disabled</httpProtocolIpv6>"
        f"<instanceMetadataTags>disabled</instanceMetadataTags></{tag}>"
    )


def _item(instance_id: str, tokens: str) -> str:
    """An instance in its own reservation, of about the size of EC2's description."""
    suffix = instance_id.removeprefix("i-")
    return (
        f"<item><reservationId>r-{suffix}</reservationId><ownerId>000000000000</ownerId><groupSet/><instancesSet><item>"
        f"<instanceId>{instance_id}</instanceId><imageId>ami-0abcdef1234567890</imageId>"
        "<instanceState><code>16</code><name>running</name></instanceState>"
        "<privateDnsName>ip-10-0-0-1.eu-west-1.compute.internal</privateDnsName><dnsName/><reason/>"
        "<amiLaunchIndex>0</amiLaunchIndex><productCodes/><instanceType>m7g.large</instanceType>"
        "<launchTime>2026-11-22T10:00:00.000Z</launchTime><placement><availabilityZone>eu-west-1a</availabilityZone>"
        "<groupName/><tenancy>default</tenancy></placement><monitoring><state>disabled</state></monitoring>"
        f"<subnetId>subnet-{suffix}</subnetId><vpcId>vpc-{suffix}</vpcId><privateIpAddress>10.0.0.1</privateIpAddress>"
        f"<groupSet><item><groupId>sg-{suffix}</groupId><groupName>default</groupName></item></groupSet>"
        "<architecture>arm64</architecture><rootDeviceType>ebs</rootDeviceType><virtualizationType>hvm"
        "</virtualizationType><hypervisor>xen</hypervisor><ebsOptimized>true</ebsOptimized>"
        f"<tagSet><item><key>Name</key><value>bench-{suffix}</value></item></tagSet>{_options(tokens)}"
        f"<networkInterfaceSet><item><networkInterfaceId>eni-{suffix}</networkInterfaceId><status>in-use</status>"
        f"<attachment><attachmentId>eni-attach-{suffix}</attachmentId><deviceIndex>0</deviceIndex>"
        "<status>attached</status><attachTime>2026-11-22T10:00:00.000Z</attachTime></attachment></item>"
        "</networkInterfaceSet><operator><managed>false</managed></operator></item></instancesSet></item>"
    )
