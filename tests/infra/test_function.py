from dataclasses import fields
from typing import Any

from imds_enforcer.aws.ledger_items import LEASE
from imds_enforcer.runs.retry import MAX_RECEIVES
from imds_enforcer.settings import Settings
from tests.infra.synthesized import Stack, Synthesize

TABLE = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/imds-enforcer-ledger"
RULE = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:rule/imds-enforcer-parameter-changed"
LOG = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/imds-enforcer/function"
INSTANCES = "arn:${AWS::Partition}:ec2:*:${AWS::AccountId}:instance/*"
PARAMETERS = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/imds-enforcer"


def allow(sid: str, action: str | list[str], resource: str | list[str]) -> dict[str, Any]:
    """A statement as the template has it."""
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resource}


def test_the_role_allows_what_the_code_calls_and_nothing_else(home: Stack) -> None:
    """Every statement, exactly."""
    role = home.properties("EnforcerRole")
    assert {*role} == {"AssumeRolePolicyDocument", "Policies"}
    assert {policy["PolicyName"]: policy["PolicyDocument"]["Statement"] for policy in role["Policies"]} == {
        "enforce": [
            allow("ReadPolicy", "ssm:GetParameters", [f"{PARAMETERS}/http-tokens", f"{PARAMETERS}/policy"]),
            allow("ListRegions", "ec2:DescribeRegions", "*"),
            allow("ReadInstances", "ec2:DescribeInstances", "*"),
            allow("ReadDefaults", "ec2:GetInstanceMetadataDefaults", "*"),
            allow("ReadMetrics", "cloudwatch:GetMetricData", "*"),
            allow("ModifyOptions", "ec2:ModifyInstanceMetadataOptions", INSTANCES),
        ],
        "remember": [
            allow("ReadLedger", "dynamodb:Query", [TABLE, f"{TABLE}/index/by-month"]),
            allow("FindOpenChanges", "dynamodb:Scan", f"{TABLE}/index/open"),
            allow("WriteLedger", "dynamodb:BatchWriteItem", TABLE),
            allow("TakeLease", "dynamodb:PutItem", TABLE)
            | {
                "Condition": {
                    "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [LEASE]},
                    "Null": {"dynamodb:LeadingKeys": "false"},
                }
            },
        ],
        "run": [
            allow(
                "ConsumeEvents",
                ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
                "${EventsQueue.Arn}",
            ),
            allow("KeepLostInvocations", "sqs:SendMessage", "${LostInvocationsDeadLetters.Arn}"),
            allow("Notify", "sns:Publish", "${NotificationsTopic}"),
            allow("UseMessageKey", ["kms:Decrypt", "kms:GenerateDataKey"], "${Key.Arn}"),
            allow("WriteLogs", ["logs:CreateLogStream", "logs:PutLogEvents"], f"{LOG}:*"),
            allow("Trace", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
        ],
    }
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ]


def test_only_the_two_roles_have_permissions(home: Stack) -> None:
    """The CDK adds none of its own, and only the rule on the parameters may invoke the function."""
    assert {*home.of_type("AWS::IAM::Role")} == {"EnforcerRole", "TriggersSchedulerRole"}
    assert home.of_type("AWS::IAM::Policy") == home.of_type("AWS::IAM::ManagedPolicy") == {}
    assert home.of_type("AWS::Lambda::Permission") == {
        "EnforcerFunctionParameterChanged": {
            "Action": "lambda:InvokeFunction",
            "FunctionName": "${EnforcerFunction.Arn}",
            "Principal": "events.amazonaws.com",
            "SourceArn": RULE,
        }
    }


def test_the_function(home: Stack) -> None:
    """All of its properties except the location of its package."""
    properties = {**home.properties("EnforcerFunction")}
    assert {*properties.pop("Code")} == {"S3Bucket", "S3Key"}
    assert properties == {
        "Handler": "imds_enforcer.handler.handler",
        "Runtime": "python3.13",
        "Architectures": ["arm64"],
        "MemorySize": 1024,
        "Timeout": 900,
        "Role": "${EnforcerRole.Arn}",
        "TracingConfig": {"Mode": "Active"},
        "LoggingConfig": {"LogGroup": "/imds-enforcer/function"},
        "Environment": {
            "Variables": {
                "HTTP_TOKENS_PARAMETER": "/imds-enforcer/http-tokens",
                "POLICY_PARAMETER": "/imds-enforcer/policy",
                "EVENT_QUEUE_URL": "${EventsQueue}",
                "NOTIFICATION_TOPIC_ARN": "${NotificationsTopic}",
                "LEDGER_TABLE": "imds-enforcer-ledger",
                "HTTP_TOKENS_FLOOR": "optional",
                "ACCOUNT_DEFAULTS": "false",
                "BATCH_DEADLINE_SECONDS": "60",
                "SWEEP_DEADLINE_SECONDS": "720",
                "GONE_AFTER_SECONDS": "600",
                "VERIFY_TIMEOUT_SECONDS": "20",
                "POWERTOOLS_LOG_LEVEL": "INFO",
            }
        },
    }


def test_the_environment_is_what_the_settings_read(home: Stack) -> None:
    """No variable is missing, and none is unused; Powertools reads its own."""
    variables = home.properties("EnforcerFunction")["Environment"]["Variables"]
    own = {name for name in variables if not name.startswith("POWERTOOLS_")}
    assert own == {field.name.upper() for field in fields(Settings)}
    assert Settings.from_environment(variables).sweep_deadline_seconds == 720


def test_with_a_floor_the_role_allows_only_changes_to_required_tokens(synthesize: Synthesize) -> None:
    """The function's environment has the floor; every other statement is the same."""
    floored = Stack(synthesize(floor="required").get_stack_by_name("ImdsEnforcer").template)
    assert floored.properties("EnforcerFunction")["Environment"]["Variables"]["HTTP_TOKENS_FLOOR"] == "required"
    usual = Stack(synthesize().get_stack_by_name("ImdsEnforcer").template)
    statements, others = (
        {
            statement["Sid"]: statement
            for policy in stack.properties("EnforcerRole")["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
        }
        for stack in (floored, usual)
    )
    condition = {"StringEquals": {"ec2:Attribute/HttpTokens": "required"}}
    assert statements.pop("ModifyOptions") == others.pop("ModifyOptions") | {"Condition": condition}
    assert statements == others


def test_the_role_may_set_account_defaults_only_if_the_context_says_so(synthesize: Synthesize) -> None:
    """The function's environment has the switch; every other statement is the same."""
    keeping = Stack(synthesize(account_defaults="true").get_stack_by_name("ImdsEnforcer").template)
    assert keeping.properties("EnforcerFunction")["Environment"]["Variables"]["ACCOUNT_DEFAULTS"] == "true"
    usual = Stack(synthesize().get_stack_by_name("ImdsEnforcer").template)
    with_them, without = (
        {
            statement["Sid"]: statement
            for policy in stack.properties("EnforcerRole")["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
        }
        for stack in (keeping, usual)
    )
    assert with_them.pop("ModifyDefaults") == {
        "Sid": "ModifyDefaults",
        "Effect": "Allow",
        "Action": "ec2:ModifyInstanceMetadataDefaults",
        "Resource": "*",
    }
    assert with_them == without


def test_asynchronous_invocations_are_not_retried_and_expire_with_the_next_sweep(home: Stack) -> None:
    """They are sweeps, and the next sweep is the retry; dropped ones go to the queue of lost invocations."""
    assert [*home.of_type("AWS::Lambda::EventInvokeConfig").values()] == [
        {
            "FunctionName": "${EnforcerFunction}",
            "Qualifier": "$LATEST",
            "MaximumRetryAttempts": 0,
            "MaximumEventAgeInSeconds": 900,
            "DestinationConfig": {"OnFailure": {"Destination": "${LostInvocationsDeadLetters.Arn}"}},
        }
    ]


def test_the_function_takes_batches_from_the_queue(home: Stack) -> None:
    """Up to a hundred messages, gathered for a second; five batches at a time; failures reported per message."""
    assert home.of_type("AWS::Lambda::EventSourceMapping") == {
        "EnforcerEvents": {
            "EventSourceArn": "${EventsQueue.Arn}",
            "FunctionName": "${EnforcerFunction}",
            "BatchSize": 100,
            "MaximumBatchingWindowInSeconds": 1,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "ScalingConfig": {"MaximumConcurrency": 5},
        }
    }


def test_times_fit_together(home: Stack) -> None:
    """A message stays invisible for longer than an invocation may last; queue and code agree on the deliveries."""
    queue = home.properties("EventsQueue")
    assert queue["VisibilityTimeout"] > home.properties("EnforcerFunction")["Timeout"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == MAX_RECEIVES
