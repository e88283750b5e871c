from infra.local.ledger_table import INDEXES
from tests.infra.synthesized import Stack

TABLE_TYPE = "AWS::DynamoDB::GlobalTable"


def test_the_table(home: Stack) -> None:
    """All of its properties: what is kept in it is the way back."""
    assert home.of_type(TABLE_TYPE) == {
        "LedgerTable": {
            "KeySchema": keys("pk"),
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "run_id", "month", "open")
            ],
            "BillingMode": "PAY_PER_REQUEST",
            "SSESpecification": {"SSEEnabled": True, "SSEType": "KMS"},
            "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
            "GlobalSecondaryIndexes": [
                {"IndexName": name, "KeySchema": keys(key), "Projection": {"ProjectionType": "ALL"}}
                for name, key in (("by-run", "run_id"), ("by-month", "month"), ("open", "open"))
            ],
            "Replicas": [
                {
                    "Region": "eu-central-1",
                    "GlobalSecondaryIndexes": [{"IndexName": name} for name in ("by-run", "by-month", "open")],
                    "DeletionProtectionEnabled": True,
                    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                }
            ],
        }
    }


def test_the_table_outlives_the_stack(home: Stack) -> None:
    """And a table that takes its place. Its name is CloudFormation's, so that neither is in the other's way."""
    table = home.resources["LedgerTable"]
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert "TableName" not in table["Properties"]


def test_the_table_without_a_stack_has_the_same_indexes(home: Stack) -> None:
    """Tests and benchmarks that need no deployment work on a table like the deployed one."""
    (table,) = home.of_type(TABLE_TYPE).values()
    assert {
        index["IndexName"]: index["KeySchema"][0]["AttributeName"] for index in table["GlobalSecondaryIndexes"]
    } == INDEXES


def keys(partition: str) -> list[dict[str, str]]:
    """A key schema whose sort key is `sk`."""
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
