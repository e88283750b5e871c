import pytest
from botocore.exceptions import ClientError

from infra.local.client import LocalAws
from infra.local.ledger_table import create_ledger_table
from tests.integration.local_resources import Queue, assumed, outcome, role


def test_policies_apply_once_iam_is_enforced(aws: LocalAws) -> None:
    """Actions, resources and conditions, for each parameter of a list."""
    [instance] = aws.launch(HttpTokens="optional")
    ssm = aws.client("ssm")
    for name in ("/one", "/two"):
        ssm.put_parameter(Name=name, Value="1", Type="String")
    arn = role(
        aws,
        "limited",
        {"Action": "ec2:DescribeInstances", "Resource": "*"},
        {
            "Action": "ec2:ModifyInstanceMetadataOptions",
            "Resource": f"arn:aws:ec2:*:{aws.account}:instance/*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": aws.region}},
        },
        {"Action": "ssm:GetParameters", "Resource": f"arn:aws:ssm:{aws.region}:{aws.account}:parameter/one"},
    )
    keys = assumed(aws, arn)
    aws.enforce_iam()
    ec2 = aws.client("ec2", keys=keys)
    ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [instance]}])
    ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
    limited = aws.client("ssm", keys=keys)
    assert limited.get_parameters(Names=["/one"])["Parameters"][0]["Value"] == "1"
    with pytest.raises(ClientError, match="AccessDenied"):
        limited.get_parameters(Names=["/one", "/two"])
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2.describe_regions()
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        aws.client("ec2", "us-east-1", keys=keys).modify_instance_metadata_options(
            InstanceId=instance, HttpTokens="required"
        )
    aws.enforce_iam(enforced=False)
    ec2.describe_regions()


def test_queues_and_topics_are_checked_too(aws: LocalAws) -> None:
    """By their own ARN."""
    queue, other = Queue(aws, "mine"), Queue(aws, "other")
    topic = aws.client("sns").create_topic(Name="mine")["TopicArn"]
    arn = role(
        aws,
        "limited",
        {"Action": "sqs:ChangeMessageVisibility", "Resource": queue.arn},
        {"Action": "sns:Publish", "Resource": topic},
    )
    keys = assumed(aws, arn)
    for each in (queue, other):
        each.send("1")
    handles = [each.sqs.receive_message(QueueUrl=each.url)["Messages"][0]["ReceiptHandle"] for each in (queue, other)]
    aws.enforce_iam()
    sqs = aws.client("sqs", keys=keys)
    sqs.change_message_visibility(QueueUrl=queue.url, ReceiptHandle=handles[0], VisibilityTimeout=5)
    entry = {"Id": "1", "ReceiptHandle": handles[0], "VisibilityTimeout": 5}
    assert sqs.change_message_visibility_batch(QueueUrl=queue.url, Entries=[entry])["Successful"]
    with pytest.raises(ClientError, match="AccessDenied"):
        sqs.change_message_visibility(QueueUrl=other.url, ReceiptHandle=handles[1], VisibilityTimeout=5)
    sns = aws.client("sns", keys=keys)
    sns.publish(TopicArn=topic, Message="1")
    with pytest.raises(ClientError, match="AuthorizationError"):
        sns.publish(TopicArn=f"{topic}-other", Message="1")


def test_a_permission_to_change_options_may_depend_on_their_values(aws: LocalAws) -> None:
    """If the condition names an option, a change without this option is not allowed either."""
    [instance] = aws.launch(HttpTokens="optional")
    arn = role(
        aws,
        "tightens",
        {
            "Action": "ec2:ModifyInstanceMetadataOptions",
            "Resource": f"arn:aws:ec2:*:{aws.account}:instance/*",
            "Condition": {"StringEquals": {"ec2:Attribute/HttpTokens": "required"}},
        },
    )
    ec2 = aws.client("ec2", keys=assumed(aws, arn))
    aws.enforce_iam()
    change = ec2.modify_instance_metadata_options
    assert outcome(change, InstanceId=instance, HttpTokens="required", HttpEndpoint="enabled") == ""
    assert outcome(change, InstanceId=instance, HttpTokens="optional") == "UnauthorizedOperation"
    assert outcome(change, InstanceId=instance, HttpPutResponseHopLimit=2) == "UnauthorizedOperation"
    assert aws.metadata_options(instance)["HttpTokens"] == "required"


def test_a_permission_for_items_may_depend_on_their_partition(aws: LocalAws) -> None:
    """PutItem is refused in every partition but one."""
    create_ledger_table(aws, "ledger")
    arn = role(
        aws,
        "leaseholder",
        {
            "Action": "dynamodb:PutItem",
            "Resource": f"arn:aws:dynamodb:{aws.region}:{aws.account}:table/ledger",
            "Condition": {
                "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["lease"]},
                "Null": {"dynamodb:LeadingKeys": "false"},
            },
        },
    )
    put = aws.client("dynamodb", keys=assumed(aws, arn)).put_item
    aws.enforce_iam()
    for partition, code in (("lease", ""), ("standing", "AccessDeniedException")):
        assert outcome(put, TableName="ledger", Item={"pk": {"S": partition}, "sk": {"S": "lease"}}) == code
