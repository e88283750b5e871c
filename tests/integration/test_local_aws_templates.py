"""Launch templates on the local AWS, as EC2 documents them.

EC2 User Guide: "Manage launch template versions", "Create a launch template"; API Reference:
DescribeLaunchTemplateVersions, CreateLaunchTemplateVersion, ModifyLaunchTemplate, DeleteLaunchTemplateVersions,
"Error codes for the Amazon EC2 API".
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.model import ListShape, Shape, StructureShape

from infra.local.client import LocalAws
from tests.integration.local_resources import assumed, outcome, refused, role

IMAGE = "ami-0abcdef1234567890"
OPTIONAL, REQUIRED = ({"HttpTokens": tokens} for tokens in ("optional", "required"))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NEWER = {"MetricCategoryIds"}
"""Members that the local AWS drops because ministack's botocore, older than boto3's here, does not know them."""

GONE = "lt-00000000000000000"


class Templates:
    """The launch templates of an account, through boto3."""

    def __init__(self, aws: LocalAws) -> None:
        self.ec2 = aws.client("ec2")

    def template(self, name: str, *versions: Mapping[str, Any], **fields: Any) -> str:
        """A template with these versions; the first is its default, the last its latest."""
        first, *later = versions
        answer = self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=first, **fields)
        template_id = str(answer["LaunchTemplate"]["LaunchTemplateId"])
        for data in later:
            self.version(template_id, data)
        return template_id

    def version(self, template_id: str, data: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
        """A new version."""
        answer = self.ec2.create_launch_template_version(
            LaunchTemplateId=template_id, LaunchTemplateData=data, **fields
        )
        return dict(answer["LaunchTemplateVersion"])

    def data(self, template_id: str, version: str = "$Latest") -> dict[str, Any]:
        """The data of a version, without the State of its options."""
        answer = self.ec2.describe_launch_template_versions(LaunchTemplateId=template_id, Versions=[version])
        data = dict(answer["LaunchTemplateVersions"][0]["LaunchTemplateData"])
        data.get("MetadataOptions", {}).pop("State", None)
        return data

    def listed(self, *filters: tuple[str, str], **fields: Any) -> list[tuple[str, int]]:
        """Names and numbers of the versions found, over all pages."""
        wanted = {"Filters": [{"Name": name, "Values": [value]} for name, value in filters]} if filters else {}
        pages = self.ec2.get_paginator("describe_launch_template_versions").paginate(**wanted, **fields)
        found = [each for page in pages for each in page["LaunchTemplateVersions"]]
        return [(each["LaunchTemplateName"], each["VersionNumber"]) for each in found]

    def numbers(self, template_id: str) -> tuple[int, int]:
        """The numbers of the default version and the latest."""
        [template] = self.ec2.describe_launch_templates(LaunchTemplateIds=[template_id])["LaunchTemplates"]
        return template["DefaultVersionNumber"], template["LatestVersionNumber"]


@pytest.fixture
def templates(aws: LocalAws) -> Templates:
    """The templates of a new account."""
    return Templates(aws)


@pytest.mark.parametrize(
    ("versions", "filters", "expected"),
    [
        (["$Default", "$Latest"], [], [("one", 1), ("two", 1), ("two", 3)]),
        (["$Latest"], [], [("one", 1), ("two", 3)]),
        (["$Default"], [], [("one", 1), ("two", 1)]),
        (["$Latest"], [("http-tokens", "required")], [("two", 3)]),
        (["$Default"], [("http-tokens", "optional")], [("two", 1)]),
        (["$Default", "$Latest"], [("http-endpoint", "disabled")], [("two", 3)]),
        (["$Default", "$Latest"], [("is-default-version", "true")], [("one", 1), ("two", 1)]),
        (["$Default", "$Latest"], [("image-id", "ami-0abc*")], [("one", 1)]),
        (["$Latest"], [("http-tokens", "required"), ("instance-type", "t3.micro")], []),
        (["$Latest"], [("network-card-index", "1")], [("two", 3)]),
    ],
)
def test_aliases_cover_all_templates(
    templates: Templates, versions: list[str], filters: list[tuple[str, str]], expected: list[tuple[str, int]]
) -> None:
    """API Reference, DescribeLaunchTemplateVersions: both in one request, each version once; filters combine with AND.

    "one" does not name tokens, so no value of the filter matches it.
    """
    templates.template("one", {"ImageId": IMAGE})
    last = {
        "MetadataOptions": {**REQUIRED, "HttpEndpoint": "disabled"},
        "NetworkInterfaces": [{"DeviceIndex": 0, "NetworkCardIndex": 1}],
    }
    templates.template("two", {"MetadataOptions": OPTIONAL}, {"InstanceType": "t3.micro"}, last)
    assert templates.listed(*filters, Versions=versions) == expected


def test_a_page_has_200_versions_or_the_requested_number(templates: Templates) -> None:
    """API Reference: MaxResults is between 1 and 200; the token gives the next page."""
    for number in range(205):
        templates.template(f"web-{number}", {"ImageId": IMAGE})
    ask = templates.ec2.describe_launch_template_versions
    first = ask(Versions=["$Default", "$Latest"])
    second = ask(Versions=["$Default", "$Latest"], NextToken=first["NextToken"])
    assert [len(page["LaunchTemplateVersions"]) for page in (first, second)] == [200, 5]
    assert "NextToken" not in second
    assert len(set(templates.listed(Versions=["$Latest"], PaginationConfig={"PageSize": 50}))) == 205
    pages = templates.ec2.get_paginator("describe_launch_templates").paginate()
    assert [len(page["LaunchTemplates"]) for page in pages] == [200, 5]
    assert refused(ask, Versions=["$Latest"], MaxResults=201) == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("call", "fields", "code"),
    [
        ("describe_launch_template_versions", {"LaunchTemplateId": GONE}, "InvalidLaunchTemplateId.NotFound"),
        ("describe_launch_template_versions", {"LaunchTemplateId": "web"}, "InvalidLaunchTemplateId.Malformed"),
        (
            "describe_launch_template_versions",
            {"LaunchTemplateName": "gone"},
            "InvalidLaunchTemplateName.NotFoundException",
        ),
        (
            "describe_launch_template_versions",
            {"LaunchTemplateName": "web", "Versions": ["2"]},
            "InvalidLaunchTemplateId.VersionNotFound",
        ),
        ("describe_launch_template_versions", {"Versions": ["1"]}, "InvalidParameterValue"),
        ("describe_launch_template_versions", {}, "InvalidParameterValue"),
        (
            "describe_launch_template_versions",
            {"Versions": ["$Latest"], "Filters": [{"Name": "tokens", "Values": ["optional"]}]},
            "InvalidParameterValue",
        ),
        ("describe_launch_template_versions", {"LaunchTemplateName": "web", "DryRun": True}, "DryRunOperation"),
        ("describe_launch_templates", {"LaunchTemplateIds": [GONE]}, "InvalidLaunchTemplateId.NotFound"),
        (
            "describe_launch_templates",
            {"LaunchTemplateNames": ["web", "gone"]},
            "InvalidLaunchTemplateName.NotFoundException",
        ),
        (
            "describe_launch_templates",
            {"Filters": [{"Name": "name", "Values": ["web"]}]},
            "InvalidParameterValue",
        ),
        (
            "create_launch_template",
            {"LaunchTemplateName": "web", "LaunchTemplateData": {"ImageId": IMAGE}},
            "InvalidLaunchTemplateName.AlreadyExistsException",
        ),
        (
            "create_launch_template",
            {"LaunchTemplateName": "w b", "LaunchTemplateData": {"ImageId": IMAGE}},
            "InvalidLaunchTemplateName.MalformedException",
        ),
        ("create_launch_template", {"LaunchTemplateName": "new", "LaunchTemplateData": {}}, "MissingParameter"),
        (
            "create_launch_template",
            {"LaunchTemplateName": "new", "LaunchTemplateData": {"ImageId": IMAGE}, "DryRun": True},
            "DryRunOperation",
        ),
        (
            "create_launch_template_version",
            {"LaunchTemplateName": "web", "SourceVersion": "7", "LaunchTemplateData": {"ImageId": IMAGE}},
            "InvalidLaunchTemplateId.VersionNotFound",
        ),
        (
            "create_launch_template_version",
            {"LaunchTemplateId": GONE, "LaunchTemplateData": {"ImageId": IMAGE}},
            "InvalidLaunchTemplateId.NotFound",
        ),
        ("create_launch_template_version", {"LaunchTemplateName": "web", "LaunchTemplateData": {}}, "MissingParameter"),
        (
            "create_launch_template_version",
            {"LaunchTemplateName": "web", "LaunchTemplateData": {"ImageId": IMAGE}, "DryRun": True},
            "DryRunOperation",
        ),
        (
            "modify_launch_template",
            {"LaunchTemplateName": "web", "DefaultVersion": "2"},
            "InvalidLaunchTemplateId.VersionNotFound",
        ),
        ("modify_launch_template", {"LaunchTemplateName": "web"}, "MissingParameter"),
        (
            "modify_launch_template",
            {"LaunchTemplateName": "web", "DefaultVersion": "1", "DryRun": True},
            "DryRunOperation",
        ),
        (
            "delete_launch_template_versions",
            {"LaunchTemplateName": "web", "Versions": ["1"]},
            "InvalidParameterValue",
        ),
        (
            "delete_launch_template_versions",
            {"LaunchTemplateName": "gone", "Versions": ["1"]},
            "InvalidLaunchTemplateName.NotFoundException",
        ),
        (
            "delete_launch_template_versions",
            {"LaunchTemplateName": "web", "Versions": ["2"], "DryRun": True},
            "DryRunOperation",
        ),
        ("delete_launch_template", {"LaunchTemplateName": "web", "DryRun": True}, "DryRunOperation"),
    ],
)
def test_refusals(templates: Templates, call: str, fields: dict[str, Any], code: str) -> None:
    """Each has EC2's code and no effect."""
    template_id = templates.template("web", {"ImageId": IMAGE})
    assert refused(getattr(templates.ec2, call), **fields) == code
    assert templates.listed(Versions=["$Latest"]) == [("web", 1)]
    assert templates.data(template_id) == {"ImageId": IMAGE}


@pytest.mark.parametrize(
    ("source", "sent", "expected"),
    [
        (None, {"InstanceType": "t3.nano"}, {"InstanceType": "t3.nano"}),
        ("1", {"InstanceType": "t3.nano"}, {"ImageId": IMAGE, "UserData": "MQ==", "InstanceType": "t3.nano"}),
        ("$Default", {}, {"ImageId": IMAGE, "UserData": "MQ=="}),
        ("$Latest", {"UserData": "Mg=="}, {"KeyName": "latest", "UserData": "Mg=="}),
    ],
)
def test_a_version_inherits_from_its_source(
    templates: Templates, source: str | None, sent: dict[str, Any], expected: dict[str, Any]
) -> None:
    """API Reference, CreateLaunchTemplateVersion, SourceVersion: it inherits the parameters that are not sent."""
    template_id = templates.template("web", {"ImageId": IMAGE, "UserData": "MQ=="}, {"KeyName": "latest"})
    made = templates.version(template_id, sent, **({"SourceVersion": source} if source else {}), VersionDescription="x")
    assert (made["VersionNumber"], made["VersionDescription"], made["DefaultVersion"]) == (3, "x", False)
    assert templates.data(template_id) == expected


def test_snapshots_are_not_inherited(templates: Templates) -> None:
    """API Reference: ignored "unless they are explicitly included"; the rest of the mapping is inherited."""
    mapping = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1", "VolumeSize": 8}}
    template_id = templates.template("web", {"BlockDeviceMappings": [mapping]})
    templates.version(template_id, {"KeyName": "k"}, SourceVersion="1")
    assert templates.data(template_id)["BlockDeviceMappings"] == [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 8}}]
    templates.version(template_id, {"BlockDeviceMappings": [mapping]}, SourceVersion="1")
    assert templates.data(template_id)["BlockDeviceMappings"] == [mapping]
    assert templates.data(template_id, "1")["BlockDeviceMappings"] == [mapping]


@pytest.mark.parametrize("merged", [False, True])
def test_options_in_the_request_replace_or_extend_those_of_the_source(
    aws: LocalAws, templates: Templates, *, merged: bool
) -> None:
    """EC2's choice is not documented, so a knob has both."""
    aws.knobs(merge_template_options=merged)
    template_id = templates.template("web", {"MetadataOptions": {**OPTIONAL, "HttpPutResponseHopLimit": 3}})
    templates.version(template_id, {"MetadataOptions": REQUIRED}, SourceVersion="1")
    kept = {"HttpPutResponseHopLimit": 3} if merged else {}
    assert templates.data(template_id) == {"MetadataOptions": {**REQUIRED, **kept}}


def test_a_knob_can_lose_a_field(aws: LocalAws, templates: Templates) -> None:
    """So a program that reads back has something to find."""
    aws.knobs(template_fields_lost=["UserData"])
    template_id = templates.template("web", {"ImageId": IMAGE, "UserData": "MQ=="})
    templates.version(template_id, {"MetadataOptions": REQUIRED}, SourceVersion="1")
    assert templates.data(template_id) == {"ImageId": IMAGE, "MetadataOptions": REQUIRED}


def _filled(shape: Shape, name: str) -> Any:
    """A value with every member of a shape, two of each in lists."""
    if isinstance(shape, StructureShape):
        return {member: _filled(each, member) for member, each in shape.members.items() if member not in NEWER}
    if isinstance(shape, ListShape):
        return [_filled(shape.member, f"{name}-{number}") for number in (1, 2)]
    kinds: dict[str, Any] = {"integer": 7, "long": 70, "double": 0.5, "float": 0.5, "boolean": True, "timestamp": NOON}
    return kinds.get(shape.type_name, f"<{name}> & more")


def test_every_field_that_boto3_knows_is_kept(templates: Templates) -> None:
    """User Guide: a version is immutable and keeps its data; so does a version made from it."""
    shape = templates.ec2.meta.service_model.shape_for("RequestLaunchTemplateData")
    data = _filled(shape, "data")
    template_id = templates.template("web", data)
    assert templates.data(template_id) == data
    changed = {"MetadataOptions": {**data["MetadataOptions"], **REQUIRED}}
    sent = {**changed, "BlockDeviceMappings": data["BlockDeviceMappings"]}
    templates.version(template_id, sent, SourceVersion="1")
    assert templates.data(template_id) == {**data, **changed}


def test_empty_texts_and_whitespace_are_kept(templates: Templates) -> None:
    """An empty tag value is a value; XML's special characters and line ends arrive as sent."""
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Empty", "Value": ""}]}]
    data = {"KeyName": " <a> & 'b'\r\n\t\"ü\" ", "TagSpecifications": tags}
    assert templates.data(templates.template("web", data)) == data


def test_a_client_token_makes_one_version(templates: Templates) -> None:
    """User Guide, "Ensuring idempotency in Amazon EC2 API requests"."""
    template_id = templates.template("web", {"ImageId": IMAGE})
    first, second = (templates.version(template_id, {"KeyName": "k"}, ClientToken="once") for _ in range(2))
    assert first == second
    assert templates.numbers(template_id) == (1, 2)
    again = {"LaunchTemplateId": template_id, "LaunchTemplateData": {"KeyName": "other"}, "ClientToken": "once"}
    assert refused(templates.ec2.create_launch_template_version, **again) == "IdempotentParameterMismatch"


def _warned(answer: Mapping[str, Any]) -> Iterator[str]:
    return (each["Code"] for each in answer.get("Warning", {}).get("Errors", ()))


def test_invalid_parameters_are_warnings(aws: LocalAws, templates: Templates) -> None:
    """API Reference: parameters are not validated; EC2 makes the version, and the answer names what is wrong."""
    template_id = templates.template("web", {"ImageId": IMAGE})
    make = templates.ec2.create_launch_template_version
    cases = {
        (): {"ImageId": IMAGE, "MetadataOptions": REQUIRED},
        ("InvalidAMIID.Malformed",): {"ImageId": "image"},
        ("InvalidParameterValue",): {"MetadataOptions": {"HttpTokens": "maybe"}},
    }
    for codes, data in cases.items():
        assert tuple(_warned(make(LaunchTemplateId=template_id, LaunchTemplateData=data))) == codes
    aws.knobs(template_warnings=["InvalidAMIID.NotFound"])
    answer = make(LaunchTemplateId=template_id, LaunchTemplateData={"ImageId": IMAGE})
    assert [*_warned(answer)] == ["InvalidAMIID.NotFound"]
    assert templates.numbers(template_id) == (1, 5)


def test_the_default_moves_and_versions_go(templates: Templates) -> None:
    """User Guide: numbers are never reused; the latest is the highest left; the default cannot be deleted."""
    template_id = templates.template("web", *({"KeyName": str(number)} for number in range(1, 5)))
    answer = templates.ec2.modify_launch_template(LaunchTemplateId=template_id, DefaultVersion="3")
    assert answer["LaunchTemplate"]["DefaultVersionNumber"] == 3
    assert templates.data(template_id, "$Default") == {"KeyName": "3"}
    delete = templates.ec2.delete_launch_template_versions
    assert refused(delete, LaunchTemplateId=template_id, Versions=["4", "3"]) == "InvalidParameterValue"
    assert templates.numbers(template_id) == (3, 4)
    answer = delete(LaunchTemplateId=template_id, Versions=["4", "9"])
    gone, missing = (answer[f"{kind}DeletedLaunchTemplateVersions"] for kind in ("Successfully", "Unsuccessfully"))
    assert [(each["LaunchTemplateId"], each["VersionNumber"]) for each in gone] == [(template_id, 4)]
    assert [(each["VersionNumber"], each["ResponseError"]["Code"]) for each in missing] == [
        (9, "launchTemplateVersionDoesNotExist")
    ]
    assert templates.numbers(template_id) == (3, 3)
    assert templates.data(template_id, "$Latest") == {"KeyName": "3"}
    assert templates.version(template_id, {"KeyName": "5"})["VersionNumber"] == 5
    assert templates.numbers(template_id) == (3, 5)


def test_creator_tags_and_operator_are_shown(aws: LocalAws, templates: Templates) -> None:
    """User Guide, "Amazon EC2 managed instances": hidden from lists, found by id, changed only by its operator."""
    tags = [{"ResourceType": "launch-template", "Tags": [{"Key": "Owner", "Value": "web"}]}]
    own = templates.template("own", {"ImageId": IMAGE}, TagSpecifications=tags)
    managed = templates.template("managed", {"ImageId": IMAGE}, Operator={"Principal": "eks.amazonaws.com"})
    list_all = templates.ec2.describe_launch_templates
    [shown] = list_all()["LaunchTemplates"]
    assert (shown["LaunchTemplateId"], shown["Tags"]) == (own, tags[0]["Tags"])
    assert shown["CreatedBy"] == f"arn:aws:iam::{aws.account}:root"
    assert shown["Operator"] == {"Managed": False}
    assert [
        each["LaunchTemplateName"]
        for each in list_all(Filters=[{"Name": "tag:Owner", "Values": ["w*"]}])["LaunchTemplates"]
    ] == ["own"]
    assert templates.listed(Versions=["$Latest"]) == [("own", 1)]
    assert templates.listed(Versions=["$Latest"], IncludeManagedResources=True) == [("own", 1), ("managed", 1)]
    answer = templates.ec2.describe_launch_template_versions(LaunchTemplateId=managed)
    assert answer["LaunchTemplateVersions"][0]["Operator"]["Principal"] == "eks.amazonaws.com"
    assert len(list_all(IncludeManagedResources=True)["LaunchTemplates"]) == 2
    changes: list[tuple[str, dict[str, Any]]] = [
        ("create_launch_template_version", {"LaunchTemplateData": {"KeyName": "k"}}),
        ("modify_launch_template", {"DefaultVersion": "1"}),
        ("delete_launch_template_versions", {"Versions": ["1"]}),
        ("delete_launch_template", {}),
    ]
    codes = {outcome(getattr(templates.ec2, call), LaunchTemplateId=managed, **fields) for call, fields in changes}
    assert codes == {"OperationNotPermitted"}
    keys = assumed(aws, role(aws, "maker", {"Action": "*", "Resource": "*"}))
    maker = aws.client("ec2", keys=keys)
    made = maker.create_launch_template_version(LaunchTemplateId=own, LaunchTemplateData={"KeyName": "k"})
    assert made["LaunchTemplateVersion"]["CreatedBy"] == f"arn:aws:sts::{aws.account}:assumed-role/maker/session"


def test_a_launch_takes_parameters_missing_in_the_request_from_its_template(
    aws: LocalAws, templates: Templates
) -> None:
    """User Guide, "Launch instances from a launch template": the request overrides the template."""
    given = [{"Key": "Name", "Value": "template"}, {"Key": "Team", "Value": "web"}]
    data = {
        "ImageId": IMAGE,
        "InstanceType": "t3.nano",
        "MetadataOptions": {**REQUIRED, "HttpPutResponseHopLimit": 3},
        "TagSpecifications": [{"ResourceType": "instance", "Tags": given}],
    }
    template_id = templates.template("web", data)
    asked = {"LaunchTemplate": {"LaunchTemplateId": template_id}, "MinCount": 1, "MaxCount": 1}
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "request"}]}]
    answer = templates.ec2.run_instances(**asked, MetadataOptions=OPTIONAL, TagSpecifications=tags)
    [launched] = (each["InstanceId"] for each in answer["Instances"])
    [reservation] = templates.ec2.describe_instances(InstanceIds=[launched])["Reservations"]
    [instance] = reservation["Instances"]
    assert (instance["ImageId"], instance["InstanceType"]) == (IMAGE, "t3.nano")
    options = aws.metadata_options(launched)
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("optional", 3)
    shown = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
    assert (shown["Name"], shown["Team"]) == ("request", "web")
    asked["LaunchTemplate"] = {"LaunchTemplateId": template_id, "Version": "2"}
    assert refused(templates.ec2.run_instances, **asked) == "InvalidLaunchTemplateId.VersionNotFound"
