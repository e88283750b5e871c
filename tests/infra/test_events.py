import json
from typing import Any

import pytest

from infra.local.client import LocalAws
from tests.fakes.example_events import TOKENS_ENFORCED
from tests.infra.synthesized import Stack

OWN = {"account": ["${AWS::AccountId}"]}
CALL = {**OWN, "source": ["aws.ec2"], "detail-type": ["AWS API Call via CloudTrail"]}
LAUNCHED = {
    **CALL,
    "detail": {
        "eventSource": ["ec2.amazonaws.com"],
        "eventName": ["RunInstances"],
        "errorCode": [{"exists": False}],
    },
}
LAUNCH_REFUSED = {
    **CALL,
    "detail": {
        "eventSource": ["ec2.amazonaws.com"],
        "eventName": ["RunInstances"],
        "errorCode": [{"exists": True}],
        "errorMessage": [
            {"wildcard": "*httpTokensEnforced is enabled*"},
            {"wildcard": "*explicit deny in a service control policy*"},
            {"wildcard": "*organizational policy in effect*"},
        ],
    },
}
RUNNING = {
    **OWN,
    "source": ["aws.ec2"],
    "detail-type": ["EC2 Instance State-change Notification"],
    "detail": {"state": ["running"]},
}
OPTIONS_CHANGED: dict[str, Any] = {
    **CALL,
    "detail": {
        "eventSource": ["ec2.amazonaws.com"],
        "eventName": ["ModifyInstanceMetadataOptions", "ModifyInstanceMetadataDefaults"],
        "errorCode": [{"exists": False}],
    },
}
OPTIONS_CHANGED_BY_OTHERS: dict[str, Any] = {
    **OPTIONS_CHANGED,
    "detail": {
        **OPTIONS_CHANGED["detail"],
        "$or": [
            {
                "userIdentity": {
                    "sessionContext": {"sessionIssuer": {"arn": [{"anything-but": ["${EnforcerRole.Arn}"]}]}}
                }
            },
            {"userIdentity": {"sessionContext": {"sessionIssuer": {"arn": [{"exists": False}]}}}},
        ],
    },
}
OWN_ROLE = "arn:aws:iam::111122223333:role/ImdsEnforcer-EnforcerRole-1A2B3C"
RULES = ("RulesLaunched", "RulesLaunchRefused", "RulesRunning", "RulesOptionsChanged")
RULE = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:rule"
NAMES = (
    "imds-enforcer-launched",
    "imds-enforcer-launch-refused",
    "imds-enforcer-running",
    "imds-enforcer-options-changed",
)
FORWARDED_RULES = tuple(name.replace("Rules", "RulesForwarded") for name in RULES)


class TestRules:
    """What reaches the queue."""

    @pytest.mark.parametrize(
        ("names", "bus"),
        [(RULES, {}), (FORWARDED_RULES, {"EventBusName": "${RulesBus}"})],
        ids=["default", "forwarders'"],
    )
    def test_both_buses_send_the_same_events_to_the_queue(
        self, home: Stack, names: tuple[str, ...], bus: dict[str, str]
    ) -> None:
        """Each bus has the same rules; a rule sends what it cannot deliver to the dead-letter queue."""
        target = {
            "Id": "EventQueue",
            "Arn": "${EventsQueue.Arn}",
            "DeadLetterConfig": {"Arn": "${EventsDeadLetters.Arn}"},
        }
        assert [home.properties(name) for name in names] == [
            {"Name": name, "EventPattern": pattern, "Targets": [target], **bus}
            for name, pattern in zip(NAMES, (LAUNCHED, LAUNCH_REFUSED, RUNNING, OPTIONS_CHANGED_BY_OTHERS), strict=True)
        ]

    def test_there_are_no_other_rules(self, home: Stack) -> None:
        """Except the one for the parameters."""
        assert {*home.of_type("AWS::Events::Rule")} == {*RULES, *FORWARDED_RULES, "TriggersParameterChanged"}

    def test_the_forwarders_bus_has_its_agreed_name(self, home: Stack) -> None:
        """The forwarders of all regions use it."""
        assert home.of_type("AWS::Events::EventBus") == {"RulesBus": {"Name": "imds-enforcer"}}

    def test_a_forwarder_has_the_same_patterns_for_every_caller(self, forwarder: Stack) -> None:
        """It does not know the enforcer's role, whose changes only the home rules exclude."""
        target = {
            "Id": "Home",
            "Arn": "arn:${AWS::Partition}:events:eu-central-1:${AWS::AccountId}:event-bus/imds-enforcer",
            "RoleArn": "${Role.Arn}",
        }
        assert forwarder.of_type("AWS::Events::Rule") == {
            name: {"EventPattern": pattern, "Targets": [target]}
            for name, pattern in zip(
                ("Launched", "LaunchRefused", "Running", "OptionsChanged"),
                (LAUNCHED, LAUNCH_REFUSED, RUNNING, OPTIONS_CHANGED),
                strict=True,
            )
        }


def api_call(name: str, *, identity: dict[str, Any] | None = None, **detail: object) -> dict[str, Any]:
    """CloudTrail's event of a call to EC2."""
    user = {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/alice", "userName": "alice"}
    return {
        "source": "aws.ec2",
        "detail-type": "AWS API Call via CloudTrail",
        "detail": {"eventSource": "ec2.amazonaws.com", "eventName": name, "userIdentity": identity or user, **detail},
    }


def session_of(role: str) -> dict[str, Any]:
    """The identity of a session of the role."""
    return {
        "type": "AssumedRole",
        "arn": role.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/session",
        "sessionContext": {"sessionIssuer": {"type": "Role", "arn": role}},
    }


def state_change(state: str) -> dict[str, Any]:
    """EC2's event of an instance's new state."""
    return {
        "source": "aws.ec2",
        "detail-type": "EC2 Instance State-change Notification",
        "detail": {"instance-id": "i-0123456789abcdef0", "state": state},
    }


OWN_ACCOUNT, OTHER_ACCOUNT = {"account": "111122223333"}, {"account": "444455556666"}
ROOT = {"type": "Root", "arn": "arn:aws:iam::111122223333:root"}
BY_SCP = "explicit deny in a service control policy"
ORGANIZATION = "This action is denied due to an organizational policy in effect"
DRY_RUN = "Request would have succeeded, but DryRun flag is set."
CHANGE, DEFAULTS = "ModifyInstanceMetadataOptions", "ModifyInstanceMetadataDefaults"


@pytest.mark.parametrize(
    ("event", "rules"),
    [
        pytest.param(api_call("RunInstances"), {"RulesLaunched"}, id="launch"),
        pytest.param(
            api_call("RunInstances", identity=session_of("arn:aws:iam::1:role/x"), errorCode=""),
            set(),
            id="launch with an error code",
        ),
        pytest.param(api_call("RunInstances", errorCode="Client.InstanceLimitExceeded"), set(), id="failed launch"),
        *(
            pytest.param(api_call("RunInstances", errorCode=code, errorMessage=text), {"RulesLaunchRefused"}, id=kind)
            for kind, code, text in (
                ("refused launch", "Client.UnsupportedOperation", TOKENS_ENFORCED),
                ("launch denied by an SCP", "Client.UnauthorizedOperation", f"x with an {BY_SCP}: arn:x. Encoded: y"),
                ("launch denied by a declarative policy", "Client.OperationNotPermitted", ORGANIZATION),
            )
        ),
        pytest.param(
            api_call("RunInstances", errorCode="Client.DryRunOperation", errorMessage=DRY_RUN), set(), id="dry run"
        ),
        pytest.param(
            api_call("RunInstances", errorCode="Client.UnauthorizedOperation", errorMessage="You are not authorized"),
            set(),
            id="launch denied by a policy of the account",
        ),
        pytest.param(
            api_call(CHANGE, errorCode="Client.UnsupportedOperation", errorMessage=TOKENS_ENFORCED),
            set(),
            id="change refused because tokens are enforced",
        ),
        pytest.param(api_call("StopInstances"), set(), id="another call"),
        pytest.param(state_change("running"), {"RulesRunning"}, id="running"),
        pytest.param(state_change("stopped"), set(), id="stopped"),
        pytest.param(api_call(CHANGE), {"RulesOptionsChanged"}, id="change by an IAM user"),
        pytest.param(api_call(CHANGE, identity=ROOT), {"RulesOptionsChanged"}, id="change by root"),
        pytest.param(
            api_call(CHANGE, identity=session_of("arn:aws:iam::111122223333:role/admin")),
            {"RulesOptionsChanged"},
            id="change by another role",
        ),
        pytest.param(api_call(CHANGE, identity=session_of(OWN_ROLE)), set(), id="change by the enforcer"),
        pytest.param(api_call(CHANGE, errorCode="Client.UnauthorizedOperation"), set(), id="refused change"),
        pytest.param(api_call(DEFAULTS), {"RulesOptionsChanged"}, id="change of the account's defaults"),
        pytest.param(
            api_call(DEFAULTS, identity=session_of(OWN_ROLE)),
            set(),
            id="change of the account's defaults by the enforcer",
        ),
        pytest.param(api_call("RunInstances") | OTHER_ACCOUNT, set(), id="launch in another account"),
        pytest.param(state_change("running") | OTHER_ACCOUNT, set(), id="running in another account"),
        pytest.param(api_call(CHANGE) | OTHER_ACCOUNT, set(), id="change in another account"),
    ],
)
def test_what_the_rules_match(home: Stack, local_aws: LocalAws, event: dict[str, Any], rules: set[str]) -> None:
    """The patterns as EventBridge reads them, its `$or` and its missing fields included."""
    envelope = {
        "id": "1",
        **OWN_ACCOUNT,
        "time": "2026-11-01T00:00:00Z",
        "region": "eu-west-1",
        "resources": [],
    }
    events = local_aws.client("events")

    def matches(rule: str) -> bool:
        pattern = json.dumps(home.properties(rule)["EventPattern"]).replace("${EnforcerRole.Arn}", OWN_ROLE)
        pattern = pattern.replace("${AWS::AccountId}", OWN_ACCOUNT["account"])
        return bool(events.test_event_pattern(EventPattern=pattern, Event=json.dumps(envelope | event))["Result"])

    assert {rule for rule in RULES if matches(rule)} == rules


class TestQueues:
    """The event queue and the dead-letter queues."""

    def test_the_event_queue(self, home: Stack) -> None:
        """Messages stay invisible for longer than an invocation; twelve deliveries; encrypted."""
        assert home.properties("EventsQueue") == {
            "KmsMasterKeyId": "${Key.Arn}",
            "VisibilityTimeout": 960,
            "RedrivePolicy": {"deadLetterTargetArn": "${EventsDeadLetters.Arn}", "maxReceiveCount": 12},
        }

    @pytest.mark.parametrize("name", ["EventsDeadLetters", "LostInvocationsDeadLetters"])
    def test_dead_letters_are_kept_for_as_long_as_sqs_can(self, home: Stack, name: str) -> None:
        """Two weeks; encrypted as well."""
        assert home.properties(name) == {"KmsMasterKeyId": "${Key.Arn}", "MessageRetentionPeriod": 1209600}

    @pytest.mark.parametrize(
        ("queue", "rules"),
        [
            ("EventsQueue", [*NAMES, *(f"imds-enforcer/{name}" for name in NAMES)]),
            ("EventsDeadLetters", [*NAMES, *(f"imds-enforcer/{name}" for name in NAMES)]),
            ("LostInvocationsDeadLetters", ["imds-enforcer-parameter-changed"]),
        ],
    )
    def test_only_our_rules_may_send_and_only_over_tls(self, home: Stack, queue: str, rules: list[str]) -> None:
        """The whole policy of each queue. It names the rules, because they are created after it."""
        arn = f"${{{queue}.Arn}}"
        assert home.properties(f"{queue}Policy") == {
            "Queues": [f"${{{queue}}}"],
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Deny",
                        "Principal": {"AWS": "*"},
                        "Action": "sqs:*",
                        "Resource": arn,
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    },
                    {
                        "Sid": "RulesSend",
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": "sqs:SendMessage",
                        "Resource": arn,
                        "Condition": {"ArnEquals": {"aws:SourceArn": [f"{RULE}/{name}" for name in rules]}},
                    },
                ],
            },
        }
