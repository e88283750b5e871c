"""The local EC2 answers as EC2 does, wherever the enforcer's tests and the demo rely on it."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.client import LocalAws
from infra.local.waiting import until
from tests.integration.local_resources import UNKNOWN, refused

SHOW_MANAGED = {"IncludeManagedResources": True}


def _found(aws: LocalAws, *filters: tuple[str, str], **arguments: Any) -> list[str]:
    """Ids of the instances that fit all the filters."""
    wanted = [{"Name": name, "Values": [value]} for name, value in filters]
    answer = aws.client("ec2").describe_instances(Filters=wanted, **arguments)
    return [each["InstanceId"] for group in answer["Reservations"] for each in group["Instances"]]


class TestLaunch:
    """RunInstances."""

    def test_max_count_instances_are_launched(self, aws: LocalAws) -> None:
        """EC2 launches as many as it can, up to MaxCount."""
        answer = aws.client("ec2").run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=3)
        assert len(answer["Instances"]) == 3
        assert len(_found(aws)) == 3

    def test_options_tags_and_group_are_kept(self, aws: LocalAws) -> None:
        """DescribeInstances shows what the launch requested."""
        [launched] = aws.launch(
            tags={"Owner": "web"}, auto_scaling_group="fleet", HttpTokens="optional", HttpPutResponseHopLimit=3
        )
        [reservation] = aws.client("ec2").describe_instances(InstanceIds=[launched])["Reservations"]
        [instance] = reservation["Instances"]
        assert instance["MetadataOptions"]["HttpTokens"] == "optional"
        assert instance["MetadataOptions"]["HttpPutResponseHopLimit"] == 3
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        assert tags == {"Owner": "web", "aws:autoscaling:groupName": "fleet"}
        assert instance["NetworkInterfaces"][0]["Attachment"]["AttachTime"] == instance["LaunchTime"]
        assert instance["Operator"] == {"Managed": False}

    def test_dry_run_launches_nothing(self, aws: LocalAws) -> None:
        """It only says that the launch would be allowed."""
        ec2 = aws.client("ec2")
        assert (
            refused(ec2.run_instances, ImageId="ami-12345678", MinCount=1, MaxCount=1, DryRun=True) == "DryRunOperation"
        )
        assert _found(aws) == []

    def test_account_defaults_come_between_request_and_image(self, aws: LocalAws) -> None:
        """Each option comes from the first of the three that names it."""
        aws.knobs(imds_v2_images=["ami-0000000000000v200"])
        ec2 = aws.client("ec2")
        [plain] = aws.launch()
        ec2.modify_instance_metadata_defaults(HttpTokens="optional", HttpPutResponseHopLimit=5)
        [by_account] = aws.launch(image_id="ami-0000000000000v200")
        [by_request] = aws.launch(HttpPutResponseHopLimit=7)
        ec2.modify_instance_metadata_defaults(HttpTokens="no-preference", HttpPutResponseHopLimit=-1)
        [by_image] = aws.launch(image_id="ami-0000000000000v200")
        shown = [
            (options["HttpTokens"], options["HttpPutResponseHopLimit"])
            for options in map(aws.metadata_options, (plain, by_account, by_request, by_image))
        ]
        assert shown == [("optional", 1), ("optional", 5), ("optional", 7), ("required", 2)]

    def test_a_new_instance_stays_invisible_for_a_set_time(self, aws: LocalAws) -> None:
        """EC2 is eventually consistent: right after a launch an id may be unknown."""
        aws.knobs(visibility_seconds=3600)
        ec2 = aws.client("ec2")
        [new] = aws.launch()
        assert _found(aws, ("instance-id", new)) == []
        assert refused(ec2.describe_instances, InstanceIds=[new]) == "InvalidInstanceID.NotFound"
        assert (
            refused(ec2.modify_instance_metadata_options, InstanceId=new, HttpTokens="required")
            == "InvalidInstanceID.NotFound"
        )
        aws.knobs(visibility_seconds=0)
        assert _found(aws, ("instance-id", new)) == [new]

    def test_a_booting_instance_is_pending_then_running(self, aws: LocalAws) -> None:
        """A knob sets the time between the two."""
        aws.knobs(boot_seconds=3600)
        [slow] = aws.launch()
        aws.knobs(boot_seconds=0.1)
        [quick] = aws.launch()
        assert until(lambda: _found(aws, ("instance-state-name", "running"))) == [quick]
        assert _found(aws, ("instance-state-name", "pending")) == [slow]


class TestModify:
    """ModifyInstanceMetadataOptions."""

    def test_pending_right_after_and_applied_later(self, aws: LocalAws) -> None:
        """An accepted change is not applied yet."""
        aws.knobs(apply_seconds=3600)
        [instance] = aws.launch(HttpTokens="optional")
        answer = aws.client("ec2").modify_instance_metadata_options(
            InstanceId=instance, HttpTokens="required", HttpEndpoint="enabled"
        )
        assert answer["InstanceId"] == instance
        assert answer["InstanceMetadataOptions"]["State"] == "pending"
        assert aws.metadata_options(instance)["HttpTokens"] == "required"
        aws.knobs(apply_seconds=0)
        assert aws.metadata_options(instance)["State"] == "applied"

    def test_omitted_options_keep_their_value(self, aws: LocalAws) -> None:
        """A change of the tokens leaves the other four options alone."""
        launched: dict[str, Any] = {
            "HttpTokens": "optional",
            "HttpPutResponseHopLimit": 3,
            "HttpEndpoint": "enabled",
            "HttpProtocolIpv6": "enabled",
            "InstanceMetadataTags": "enabled",
        }
        [instance] = aws.launch(**launched)
        aws.client("ec2").modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
        options = aws.metadata_options(instance)
        assert {name: options[name] for name in launched} == {**launched, "HttpTokens": "required"}

    def test_dry_run_changes_nothing(self, aws: LocalAws) -> None:
        """It only says that the change would be allowed."""
        [instance] = aws.launch(HttpTokens="optional")
        modify = aws.client("ec2").modify_instance_metadata_options
        assert refused(modify, InstanceId=instance, HttpTokens="required", DryRun=True) == "DryRunOperation"
        assert aws.metadata_options(instance)["HttpTokens"] == "optional"

    def test_a_stopped_instance_applies_at_its_next_start(self, aws: LocalAws) -> None:
        """Until then the change is pending."""
        aws.knobs(apply_seconds=0)
        [instance] = aws.launch(HttpTokens="optional")
        ec2 = aws.client("ec2")
        ec2.stop_instances(InstanceIds=[instance])
        ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
        assert aws.metadata_options(instance)["State"] == "pending"
        ec2.start_instances(InstanceIds=[instance])
        assert aws.metadata_options(instance)["State"] == "applied"

    def test_bad_values_are_refused(self, aws: LocalAws) -> None:
        """EC2 names the value and the valid ones."""
        [instance] = aws.launch()
        modify = aws.client("ec2").modify_instance_metadata_options
        bad: list[dict[str, Any]] = [
            {"HttpTokens": "sometimes"},
            {"HttpEndpoint": "on"},
            {"HttpProtocolIpv6": "yes"},
            {"InstanceMetadataTags": "true"},
            {"HttpPutResponseHopLimit": 0},
            {"HttpPutResponseHopLimit": 65},
        ]
        codes = [refused(modify, InstanceId=instance, **options) for options in bad]
        assert codes == ["InvalidParameterValue"] * len(bad)

    def test_unknown_malformed_and_terminated_instances_are_refused(self, aws: LocalAws) -> None:
        """Each has its own code."""
        ec2 = aws.client("ec2")
        modify = ec2.modify_instance_metadata_options
        [ended] = aws.launch()
        ec2.terminate_instances(InstanceIds=[ended])
        assert refused(modify, InstanceId=UNKNOWN, HttpTokens="required") == "InvalidInstanceID.NotFound"
        assert refused(modify, InstanceId="i-xyz", HttpTokens="required") == "InvalidInstanceID.Malformed"
        assert refused(modify, InstanceId=ended, HttpTokens="required") == "IncorrectInstanceState"

    def test_an_instance_managed_by_a_service_is_refused(self, aws: LocalAws) -> None:
        """Only EKS Auto Mode may change its instances."""
        [managed] = aws.launch(managed_by="eks.amazonaws.com")
        [own] = aws.launch()
        assert _found(aws, ("operator.managed", "true"), **SHOW_MANAGED) == [managed]
        assert _found(aws, ("operator.managed", "false"), **SHOW_MANAGED) == [own]
        modify = aws.client("ec2").modify_instance_metadata_options
        assert refused(modify, InstanceId=managed, HttpTokens="required") == "OperationNotPermitted"

    def test_enforced_tokens_forbid_optional_ones(self, aws: LocalAws) -> None:
        """At launch and afterwards, in the same words (EC2 User Guide, "Troubleshoot instance launch issues")."""
        ec2 = aws.client("ec2")
        ec2.modify_instance_metadata_defaults(HttpTokens="required", HttpTokensEnforced="enabled")
        [instance] = aws.launch()
        assert refused(aws.launch, HttpTokens="optional") == "UnsupportedOperation"
        with pytest.raises(ClientError) as answer:
            ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="optional")
        assert answer.value.response["Error"] == {
            "Code": "UnsupportedOperation",
            "Message": "You can't launch instances with IMDSv1 because httpTokensEnforced is enabled for this account. "
            "Either launch the instance with httpTokens=required or contact your account owner to disable "
            "httpTokensEnforced using the ModifyInstanceMetadataDefaults API or the account settings in the EC2 "
            "console.",
        }

    def test_a_declarative_policy_without_enforcement_allows_optional_tokens(self, aws: LocalAws) -> None:
        """It may manage only other defaults than HttpTokensEnforced."""
        aws.knobs(declarative_policy_message="Ask security")
        [instance] = aws.launch(HttpTokens="required")
        aws.client("ec2").modify_instance_metadata_options(InstanceId=instance, HttpTokens="optional")

    def test_the_strict_service_wants_the_endpoint_beside_other_options(self, aws: LocalAws) -> None:
        """As the user guide says and an older service did; a knob turns it on."""
        aws.knobs(strict_options=True)
        [instance] = aws.launch()
        modify = aws.client("ec2").modify_instance_metadata_options
        assert refused(modify, InstanceId=instance, HttpTokens="required") == "InvalidParameterValue"
        assert (
            refused(modify, InstanceId=instance, HttpTokens="required", HttpEndpoint="disabled")
            == "InvalidParameterCombination"
        )
        modify(InstanceId=instance, HttpTokens="required", HttpEndpoint="enabled")


class TestOptionsThatEc2Refuses:
    """ModifyInstanceMetadataOptions with an option that the instance cannot have changes nothing."""

    @pytest.mark.parametrize("key", ["Patch Group", "k8s.io/cluster-autoscaler/enabled", "größe", ".", "_index"])
    def test_tags_with_a_key_that_does_not_fit_a_path(self, aws: LocalAws, key: str) -> None:
        """EC2 User Guide, "View tags for your EC2 instances using instance metadata"; text: aws/aws-cli issue 8825."""
        [instance] = aws.launch(tags={key: "x", "Owner": "web"}, HttpTokens="optional")
        modify = aws.client("ec2").modify_instance_metadata_options
        wanted = {"HttpTokens": "required", "InstanceMetadataTags": "enabled"}
        with pytest.raises(ClientError, match=f"'{key}' is not a valid tag key. Tag keys must match pattern") as error:
            modify(InstanceId=instance, **wanted)
        assert error.value.response["Error"]["Code"] == "InvalidParameterValue"
        assert aws.metadata_options(instance)["HttpTokens"] == "optional"
        modify(InstanceId=instance, HttpTokens="required", InstanceMetadataTags="disabled")
        aws.client("ec2").delete_tags(Resources=[instance], Tags=[{"Key": key}])
        modify(InstanceId=instance, **wanted)
        assert aws.metadata_options(instance)["InstanceMetadataTags"] == "enabled"

    def test_ipv6_on_xen(self, aws: LocalAws) -> None:
        """Only Nitro has the IPv6 address; text: aws/aws-ec2-imdsv2-get pull request 6."""
        ec2 = aws.client("ec2")
        answer = ec2.run_instances(ImageId="ami-12345678", InstanceType="m4.large", MinCount=1, MaxCount=1)
        instance, modify = answer["Instances"][0]["InstanceId"], ec2.modify_instance_metadata_options
        with pytest.raises(ClientError, match="HttpProtocolIpv6 metadata option cannot be enabled for Xen") as error:
            modify(InstanceId=instance, HttpTokens="required", HttpProtocolIpv6="enabled")
        assert error.value.response["Error"]["Code"] == "UnsupportedOperation"
        modify(InstanceId=instance, HttpTokens="required", HttpProtocolIpv6="disabled")
        assert aws.metadata_options(instance)["HttpTokens"] == "required"

    def test_an_option_that_the_region_does_not_have(self, aws: LocalAws) -> None:
        """EC2 refuses every value of it. No document names such regions, so a knob sets them."""
        aws.knobs(unsupported_options=["InstanceMetadataTags"])
        [instance] = aws.launch()
        modify = aws.client("ec2").modify_instance_metadata_options
        for value in ("enabled", "disabled"):
            wanted = {"HttpTokens": "required", "InstanceMetadataTags": value}
            assert refused(modify, InstanceId=instance, **wanted) == "UnsupportedOperation"
        modify(InstanceId=instance, HttpTokens="required")


def test_account_defaults_make_the_round_trip_and_belong_to_one_region(aws: LocalAws) -> None:
    """A default without a preference is absent."""
    ec2 = aws.client("ec2")
    assert ec2.get_instance_metadata_defaults()["AccountLevel"] == {}
    ec2.modify_instance_metadata_defaults(
        HttpTokens="required", HttpPutResponseHopLimit=2, InstanceMetadataTags="enabled"
    )
    level = ec2.get_instance_metadata_defaults()["AccountLevel"]
    assert level == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 2,
        "InstanceMetadataTags": "enabled",
        "ManagedBy": "account",
    }
    assert aws.client("ec2", "us-east-1").get_instance_metadata_defaults()["AccountLevel"] == {}
    assert refused(ec2.modify_instance_metadata_defaults, HttpTokens="maybe") == "InvalidParameterValue"


class TestDescribe:
    """DescribeInstances."""

    def test_filters_filter(self, aws: LocalAws) -> None:
        """Each filter finds only the one instance."""
        aws.knobs(apply_seconds=0)
        [sought] = aws.launch(
            tags={"Owner": "web-1"},
            image_id="ami-0ddddddddddddddd4",
            HttpTokens="required",
            HttpEndpoint="disabled",
            HttpPutResponseHopLimit=4,
            HttpProtocolIpv6="enabled",
            InstanceMetadataTags="enabled",
        )
        [other] = aws.launch(tags={"owner": "db"})
        ec2 = aws.client("ec2")
        ec2.stop_instances(InstanceIds=[other])
        ec2.modify_instance_metadata_options(InstanceId=other, HttpTokens="optional")  # pending until it starts
        filters = {
            "metadata-options.http-tokens": "required",
            "metadata-options.http-endpoint": "disabled",
            "metadata-options.http-put-response-hop-limit": "4",
            "metadata-options.http-protocol-ipv6": "enabled",
            "metadata-options.instance-metadata-tags": "enabled",
            "metadata-options.state": "applied",
            "instance-state-name": "running",
            "tag:Owner": "w?b*",
            "tag-key": "Owner",
            "image-id": "ami-0ddddddddddddddd4",
            "instance-id": sought,
        }
        wrong = {name: ids for name, value in filters.items() if (ids := _found(aws, (name, value))) != [sought]}
        assert wrong == {}

    def test_values_of_one_filter_are_alternatives_and_filters_add_up(self, aws: LocalAws) -> None:
        """EC2 combines values with OR and filters with AND."""
        optional, required = aws.launch(HttpTokens="optional"), aws.launch(HttpTokens="required")
        ec2 = aws.client("ec2")
        both = {"Name": "metadata-options.http-tokens", "Values": ["optional", "required"]}
        assert len(ec2.describe_instances(Filters=[both])["Reservations"]) == 2
        assert _found(aws, ("metadata-options.http-tokens", "optional"), ("instance-id", required[0])) == []
        assert _found(aws, ("metadata-options.http-tokens", "optional"), ("instance-id", optional[0])) == optional

    def test_one_unknown_id_fails_the_call_but_not_the_filter(self, aws: LocalAws) -> None:
        """For this reason the enforcer reads by filter."""
        [known] = aws.launch()
        ec2 = aws.client("ec2")
        assert refused(ec2.describe_instances, InstanceIds=[known, UNKNOWN]) == "InvalidInstanceID.NotFound"
        ids = {"Name": "instance-id", "Values": [known, UNKNOWN]}
        [reservation] = ec2.describe_instances(Filters=[ids])["Reservations"]
        assert [each["InstanceId"] for each in reservation["Instances"]] == [known]

    def test_managed_instances_are_shown_on_request(self, aws: LocalAws) -> None:
        """The parameter or an id shows them, a filter does not; a setting of the account always shows them.

        EC2 API Reference, "DescribeInstances", and EC2 User Guide, "Managed resource visibility".
        """
        [own], [managed] = aws.launch(), aws.launch(managed_by="eks.amazonaws.com")
        it = ("instance-id", managed)
        assert _found(aws) == [own]
        assert _found(aws, it) == []
        assert _found(aws, **SHOW_MANAGED) == [own, managed]
        assert _found(aws, IncludeManagedResources=False) == [own]
        assert _found(aws, it, **SHOW_MANAGED) == [managed]
        assert _found(aws, InstanceIds=[managed]) == [managed]
        aws.knobs(managed_visible=True)
        assert _found(aws) == [own, managed]

    def test_an_unknown_filter_or_too_many_values_are_refused(self, aws: LocalAws) -> None:
        """A filter that EC2 silently ignored would match every instance."""
        ec2 = aws.client("ec2")
        wrong = {"Name": "metadata-options.tokens", "Values": ["optional"]}
        assert refused(ec2.describe_instances, Filters=[wrong]) == "InvalidParameterValue"
        many = {"Name": "instance-id", "Values": [f"i-{number:017x}" for number in range(201)]}
        assert refused(ec2.describe_instances, Filters=[many]) == "FilterLimitExceeded"

    def test_pages_have_the_requested_size_and_a_token(self, aws: LocalAws) -> None:
        """Instances are listed in the order of their launches."""
        launched = aws.launch(count=12)
        pages = list(aws.client("ec2").get_paginator("describe_instances").paginate(MaxResults=5))
        sizes = [sum(len(group["Instances"]) for group in page["Reservations"]) for page in pages]
        assert sizes == [5, 5, 2]
        ids = [each["InstanceId"] for page in pages for group in page["Reservations"] for each in group["Instances"]]
        assert ids == launched

    def test_pages_have_limits_and_exclude_ids(self, aws: LocalAws) -> None:
        """From 5 to 1,000 rows, and not together with ids."""
        [instance] = aws.launch()
        describe = aws.client("ec2").describe_instances
        assert refused(describe, InstanceIds=[instance], MaxResults=5) == "InvalidParameterCombination"
        assert refused(describe, MaxResults=1001) == "InvalidParameterValue"

    def test_a_filtered_page_may_be_empty_before_the_last(self, aws: LocalAws) -> None:
        """More pages may follow an empty one."""
        aws.knobs(sparse_pages=True)
        [instance] = aws.launch(HttpTokens="optional")
        ec2 = aws.client("ec2")
        wanted = [{"Name": "metadata-options.http-tokens", "Values": ["optional"]}]
        first = ec2.describe_instances(Filters=wanted, MaxResults=100)
        assert first["Reservations"] == []
        second = ec2.describe_instances(Filters=wanted, MaxResults=100, NextToken=first["NextToken"])
        assert second["Reservations"][0]["Instances"][0]["InstanceId"] == instance
        assert "NextToken" not in second


class TestRegions:
    """DescribeRegions, and the regions themselves."""

    def test_regions_that_need_an_opt_in_are_listed_only_on_request(self, aws: LocalAws) -> None:
        """AllRegions also lists regions that are not enabled."""
        ec2 = aws.client("ec2")
        enabled = {each["RegionName"]: each["OptInStatus"] for each in ec2.describe_regions()["Regions"]}
        assert len(enabled) == 17
        assert set(enabled.values()) == {"opt-in-not-required"}
        everything = ec2.describe_regions(AllRegions=True)["Regions"]
        assert {"af-south-1"} < {each["RegionName"] for each in everything if each["OptInStatus"] == "not-opted-in"}

    def test_a_region_that_is_not_enabled_refuses_until_it_is(self, aws: LocalAws) -> None:
        """It does not know the account's keys."""
        cape_town = aws.client("ec2", "af-south-1")
        assert refused(cape_town.describe_instances) == "AuthFailure"
        aws.knobs(opted_in_regions=["af-south-1"])
        assert cape_town.describe_instances()["Reservations"] == []
        names = [each["RegionName"] for each in aws.client("ec2").describe_regions()["Regions"]]
        assert "af-south-1" in names

    def test_instances_belong_to_one_region(self, aws: LocalAws) -> None:
        """No other region shows them."""
        aws.launch("us-east-1")
        assert _found(aws) == []
