"""The EC2 within the process: its pages are like EC2's own, and botocore's parser reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.bench.pages import Pages

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client


@pytest.fixture(scope="module")
def ec2() -> EC2Client:
    """A client of 2,500 instances without a network."""
    session = boto3.Session(region_name="eu-west-1", aws_access_key_id="unit", aws_secret_access_key="unit")  # noqa: S106
    answer: Any = Pages(2500).answer
    session.events.register("before-send.ec2", answer)
    return session.client("ec2")


def listed(pages: Any) -> list[dict[str, Any]]:
    """Every instance of some pages."""
    return [instance for page in pages for each in page["Reservations"] for instance in each["Instances"]]


def test_all_are_listed_page_by_page_until_they_are_changed(ec2: EC2Client) -> None:
    """A read by id shows the change, and the list of differing instances loses the instance."""
    paginator = ec2.get_paginator("describe_instances")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 1000}))
    assert [len(page["Reservations"]) for page in pages] == [1000, 1000, 500]
    first, second = listed(pages)[:2]
    assert first["MetadataOptions"]["HttpTokens"] == "optional"

    ec2.modify_instance_metadata_options(InstanceId=first["InstanceId"], HttpTokens="required")

    assert len(listed(paginator.paginate())) == 2499
    by_name: Any = [{"Name": "instance-id", "Values": [first["InstanceId"], second["InstanceId"]]}]
    tokens = [each["MetadataOptions"]["HttpTokens"] for each in listed([ec2.describe_instances(Filters=by_name)])]
    assert tokens == ["required", "optional"]
