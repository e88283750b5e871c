from tests.infra.synthesized import Stack

USE = ["kms:Decrypt", "kms:GenerateDataKey"]
OF_THIS_ACCOUNT = {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}}


def test_the_key_admits_rules_and_alarms(home: Stack) -> None:
    """And, as every key by default, the principals that IAM allows. It is rotated, and deleted with the stack."""
    assert home.of_type("AWS::KMS::Key") == {
        "Key": {
            "Description": "Events and notifications of the IMDS enforcer",
            "EnableKeyRotation": True,
            "PendingWindowInDays": 7,
            "KeyPolicy": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"},
                        "Action": "kms:*",
                        "Resource": "*",
                    },
                    {
                        "Sid": "RulesSendToQueues",
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": USE,
                        "Resource": "*",
                    },
                    {
                        "Sid": "AlarmsPublishToTopic",
                        "Effect": "Allow",
                        "Principal": {"Service": "cloudwatch.amazonaws.com"},
                        "Action": USE,
                        "Resource": "*",
                        "Condition": OF_THIS_ACCOUNT,
                    },
                ],
            },
        }
    }


def test_the_topic_is_encrypted_and_takes_alarms_over_tls_only(home: Stack) -> None:
    """A topic with a policy must admit alarms explicitly."""
    assert home.of_type("AWS::SNS::Topic") == {
        "NotificationsTopic": {"DisplayName": "IMDS enforcer", "KmsMasterKeyId": "${Key.Arn}"}
    }
    assert home.of_type("AWS::SNS::TopicPolicy") == {
        "NotificationsTopicPolicy": {
            "Topics": ["${NotificationsTopic}"],
            "PolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "AllowPublishThroughSSLOnly",
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "sns:Publish",
                        "Resource": "${NotificationsTopic}",
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    },
                    {
                        "Sid": "AlarmsPublish",
                        "Effect": "Allow",
                        "Principal": {"Service": "cloudwatch.amazonaws.com"},
                        "Action": "sns:Publish",
                        "Resource": "${NotificationsTopic}",
                        "Condition": OF_THIS_ACCOUNT,
                    },
                ],
            },
        }
    }
