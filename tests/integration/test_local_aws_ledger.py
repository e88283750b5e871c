"""The local DynamoDB, as far as the ledger uses it."""

import json
from typing import Any

import pytest

from infra.local.client import LocalAws
from tests.integration.local_resources import assumed, outcome, refused, role

TEXT = "S"
INDEXES = {"by-run": "run_id", "by-month": "month", "open": "open"}


def schema(partition: str) -> list[dict[str, str]]:
    """A key schema whose sort key is `sk`."""
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]


PROPERTIES: dict[str, Any] = {
    "KeySchema": schema("pk"),
    "AttributeDefinitions": [
        {"AttributeName": name, "AttributeType": TEXT} for name in ("pk", "sk", *INDEXES.values())
    ],
    "BillingMode": "PAY_PER_REQUEST",
    "GlobalSecondaryIndexes": [
        {"IndexName": name, "KeySchema": schema(key), "Projection": {"ProjectionType": "ALL"}}
        for name, key in INDEXES.items()
    ],
}


@pytest.fixture
def table(aws: LocalAws) -> str:
    """The name of a table with the ledger's keys and indexes."""
    aws.client("dynamodb").create_table(TableName="ledger", **PROPERTIES)
    return "ledger"


def item(pk: str, sk: str, **attributes: str) -> dict[str, Any]:
    """An item as DynamoDB writes it."""
    return {name: {TEXT: value} for name, value in {"pk": pk, "sk": sk, **attributes}.items()}


def put(*items: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests of a batch that writes these items."""
    return [{"PutRequest": {"Item": each}} for each in items]


def write(aws: LocalAws, *items: dict[str, Any]) -> None:
    """Store items."""
    for start in range(0, len(items), 25):
        aws.client("dynamodb").batch_write_item(RequestItems={"ledger": put(*items[start : start + 25])})


def sort_keys(answer: dict[str, Any]) -> list[str]:
    """The sort keys of the items in an answer."""
    return [each["sk"][TEXT] for each in answer["Items"]]


class TestQuery:
    """One partition, in order."""

    @pytest.mark.parametrize(
        ("condition", "values", "wanted"),
        [
            ("pk = :pk", {}, ["c#1", "c#2", "c#3", "hold"]),
            ("pk = :pk AND sk = :a", {":a": "hold"}, ["hold"]),
            ("pk = :pk AND begins_with(sk, :a)", {":a": "c#"}, ["c#1", "c#2", "c#3"]),
            ("pk = :pk AND sk BETWEEN :a AND :b", {":a": "c#2", ":b": "c#3"}, ["c#2", "c#3"]),
            ("pk = :pk AND sk >= :a", {":a": "c#3"}, ["c#3", "hold"]),
            ("pk = :pk AND sk < :a", {":a": "c#2"}, ["c#1"]),
        ],
    )
    def test_conditions_on_the_key(
        self, aws: LocalAws, table: str, condition: str, values: dict[str, str], wanted: list[str]
    ) -> None:
        """With a consistent read, forwards and backwards."""
        write(aws, *(item("i-1", sk) for sk in ("hold", "c#3", "c#1", "c#2")), item("i-2", "c#1"))
        arguments: dict[str, Any] = {
            "TableName": table,
            "ConsistentRead": True,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {name: {TEXT: value} for name, value in {":pk": "i-1", **values}.items()},
        }
        query = aws.client("dynamodb").query
        assert sort_keys(query(**arguments)) == wanted
        assert sort_keys(query(**arguments, ScanIndexForward=False)) == wanted[::-1]

    def test_a_filter_comes_after_the_limit(self, aws: LocalAws, table: str) -> None:
        """So a page may be empty without being the last."""
        write(aws, item("i-1", "1", outcome="A"), item("i-1", "2", outcome="B"))
        arguments = {
            "TableName": table,
            "KeyConditionExpression": "pk = :pk",
            "FilterExpression": "#outcome = :outcome",
            "ExpressionAttributeNames": {"#outcome": "outcome"},
            "ExpressionAttributeValues": {":pk": {TEXT: "i-1"}, ":outcome": {TEXT: "B"}},
        }
        query = aws.client("dynamodb").query
        assert sort_keys(query(**arguments)) == ["2"]
        first = query(**arguments, Limit=1)
        assert (first["Items"], first["ScannedCount"]) == ([], 1)
        assert sort_keys(query(**arguments, ExclusiveStartKey=first["LastEvaluatedKey"])) == ["2"]

    def test_a_page_holds_one_megabyte(self, aws: LocalAws, table: str) -> None:
        """On an index too, whose last key has the table's keys beside its own."""
        large = "x" * 300_000
        for number in range(5):
            write(aws, item(f"i-{number}", str(number), month="2026-11", text=large))
        arguments = {
            "TableName": table,
            "IndexName": "by-month",
            "KeyConditionExpression": "#month = :month",
            "ExpressionAttributeNames": {"#month": "month"},
            "ExpressionAttributeValues": {":month": {TEXT: "2026-11"}},
        }
        query = aws.client("dynamodb").query
        first = query(**arguments)
        assert sort_keys(first) == ["0", "1", "2"]
        assert first["LastEvaluatedKey"].keys() == {"pk", "sk", "month"}
        second = query(**arguments, ExclusiveStartKey=first["LastEvaluatedKey"])
        assert sort_keys(second) == ["3", "4"]
        assert "LastEvaluatedKey" not in second

    def test_an_index_is_not_read_consistently(self, aws: LocalAws, table: str) -> None:
        """DynamoDB refuses it."""
        arguments = {
            "TableName": table,
            "IndexName": "by-run",
            "KeyConditionExpression": "run_id = :run",
            "ExpressionAttributeValues": {":run": {TEXT: "r"}},
        }
        query = aws.client("dynamodb").query
        assert query(**arguments)["Items"] == []
        assert refused(query, **arguments, ConsistentRead=True) == "ValidationException"


def test_only_items_with_its_key_are_in_an_index(aws: LocalAws, table: str) -> None:
    """An item that loses the key leaves the index; a scan of the index finds the others in every partition."""
    write(aws, item("i-1", "1", open="eu-west-1"), item("i-2", "2", open="us-east-1"), item("i-3", "3"))
    scan = aws.client("dynamodb").scan
    assert sorted(sort_keys(scan(TableName=table, IndexName="open"))) == ["1", "2"]
    write(aws, item("i-1", "1"))
    assert sort_keys(scan(TableName=table, IndexName="open")) == ["2"]
    first = scan(TableName=table, IndexName="open", Limit=1)
    assert scan(TableName=table, IndexName="open", ExclusiveStartKey=first["LastEvaluatedKey"])["Items"] == []


class TestWrites:
    """One at a time, and in batches."""

    def test_a_batch_takes_twenty_five_items_each_once(self, aws: LocalAws, table: str) -> None:
        """An invalid request writes none of them."""
        batch = aws.client("dynamodb").batch_write_item
        items = [item("i-1", str(number)) for number in range(26)]
        assert refused(batch, RequestItems={table: put(*items)}) == "ValidationException"
        assert refused(batch, RequestItems={table: put(items[0], items[0])}) == "ValidationException"
        too_large = item("i-1", "x", text="x" * 410_000)
        assert refused(batch, RequestItems={table: put(items[0], too_large)}) == "ValidationException"
        assert aws.client("dynamodb").scan(TableName=table)["Count"] == 0
        assert batch(RequestItems={table: put(*items[:25])})["UnprocessedItems"] == {}
        assert aws.client("dynamodb").scan(TableName=table)["Count"] == 25

    def test_a_batch_may_be_written_in_part(self, aws: LocalAws, table: str) -> None:
        """The rest comes back in a form to send again; if nothing was written, it is an error."""
        batch = aws.client("dynamodb").batch_write_item
        left = {table: put(*(item("i-1", str(number)) for number in range(25)))}
        aws.knobs(batch_write_items=10)
        seen = []
        while left:
            left = batch(RequestItems=left)["UnprocessedItems"]
            seen.append(aws.client("dynamodb").scan(TableName=table)["Count"])
        assert seen == [10, 20, 25]
        aws.knobs(batch_write_items=0)
        code = refused(batch, RequestItems={table: put(item("i-2", "1"))})
        assert code == "ProvisionedThroughputExceededException"

    def test_a_condition_prevents_the_replacement_of_an_item(self, aws: LocalAws, table: str) -> None:
        """A put without a condition replaces the whole item."""
        dynamodb = aws.client("dynamodb")
        new = {"TableName": table, "ConditionExpression": "attribute_not_exists(pk)"}
        dynamodb.put_item(Item=item("i-1", "1", reason="first"), **new)
        again = item("i-1", "1", month="2026-11")
        assert refused(dynamodb.put_item, Item=again, **new) == "ConditionalCheckFailedException"
        dynamodb.put_item(TableName=table, Item=again)
        got = dynamodb.batch_get_item(RequestItems={table: {"Keys": [item("i-1", "1")], "ConsistentRead": True}})
        assert got["Responses"][table] == [again]

    def test_an_item_is_replaced_only_as_it_was_read(self, aws: LocalAws, table: str) -> None:
        """Each attribute must match; a missing one, or one of another type, does not."""
        dynamodb = aws.client("dynamodb")
        dynamodb.put_item(TableName=table, Item={**item("i-1", "1", until="2026"), "n": {"N": "1"}})
        condition = {
            "ConditionExpression": "#0 = :0 AND #1 = :1 AND #2 = :2",
            "ExpressionAttributeNames": {"#0": "pk", "#1": "until", "#2": "n"},
        }
        seen = {":0": {TEXT: "i-1"}, ":1": {TEXT: "2026"}, ":2": {"N": "1"}}
        for wrong in ({":1": {TEXT: "2027"}}, {":2": {"N": "2"}}, {":2": {TEXT: "1"}}):
            values = {**seen, **wrong}
            replace = {"Item": item("i-1", "1"), "ExpressionAttributeValues": values, **condition}
            assert refused(dynamodb.put_item, TableName=table, **replace) == "ConditionalCheckFailedException"
        replace = {"Item": item("i-1", "1"), "ExpressionAttributeValues": seen, **condition}
        dynamodb.put_item(TableName=table, **replace)
        assert refused(dynamodb.put_item, TableName=table, **replace) == "ConditionalCheckFailedException"

    def test_an_item_holds_400_kilobytes(self, aws: LocalAws, table: str) -> None:
        """With names; a key must not be empty, and an index's key must have the index's type."""
        put_item = aws.client("dynamodb").put_item
        size = 400 * 1024 - len("pksktext") - len("i-11")
        put_item(TableName=table, Item=item("i-1", "1", text="x" * size))
        for wrong in (item("i-1", "1", text="x" * (size + 1)), item("", "1"), item("i-1", "1", open="")):
            assert refused(put_item, TableName=table, Item=wrong) == "ValidationException"
        number = {**item("i-1", "1"), "month": {"N": "1"}}
        assert refused(put_item, TableName=table, Item=number) == "ValidationException"

    def test_a_table_that_is_not_there(self, aws: LocalAws) -> None:
        """It has its own error code."""
        dynamodb = aws.client("dynamodb")
        assert refused(dynamodb.put_item, TableName="none", Item=item("1", "1")) == "ResourceNotFoundException"
        assert refused(dynamodb.scan, TableName="none") == "ResourceNotFoundException"


GLOBAL = {
    **PROPERTIES,
    "SSESpecification": {"SSEEnabled": True, "SSEType": "KMS"},
    "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
    "Replicas": [
        {
            "Region": {"Ref": "AWS::Region"},
            "DeletionProtectionEnabled": True,
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        }
    ],
}
PLAIN = {key: value for key, value in GLOBAL.items() if key != "Replicas"} | {
    "DeletionProtectionEnabled": True,
    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
}


@pytest.mark.parametrize(("kind", "properties"), [("GlobalTable", GLOBAL), ("Table", PLAIN)])
def test_cloudformation_sets_every_property(aws: LocalAws, kind: str, properties: dict[str, Any]) -> None:
    """With a retain policy the table outlives the stack."""
    resource = {"Type": f"AWS::DynamoDB::{kind}", "DeletionPolicy": "Retain", "Properties": properties}
    template = {"Resources": {"Ledger": resource}, "Outputs": {"Name": {"Value": {"Ref": "Ledger"}}}}
    cloudformation, dynamodb = aws.client("cloudformation"), aws.client("dynamodb")
    cloudformation.create_stack(StackName="ledger", TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(StackName="ledger", WaiterConfig={"Delay": 1})
    name = aws.stack_outputs("ledger")["Name"]
    table = dynamodb.describe_table(TableName=name)["Table"]
    assert (table["TableStatus"], table["DeletionProtectionEnabled"]) == ("ACTIVE", True)
    assert table["SSEDescription"]["Status"] == "ENABLED"
    assert {each["IndexName"] for each in table["GlobalSecondaryIndexes"]} == INDEXES.keys()
    expiry = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert refused(dynamodb.delete_table, TableName=name) == "ValidationException"
    cloudformation.delete_stack(StackName="ledger")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="ledger", WaiterConfig={"Delay": 1})
    assert dynamodb.describe_table(TableName=name)["Table"]["TableName"] == name


def test_table_and_indexes_are_resources_of_their_own(aws: LocalAws, table: str) -> None:
    """Permission to query the table does not allow to scan it, nor does that for one index cover another."""
    arn = f"arn:aws:dynamodb:{aws.region}:{aws.account}:table/{table}"
    may = role(
        aws,
        "limited",
        {"Action": "dynamodb:Query", "Resource": [arn, f"{arn}/index/by-month"]},
        {"Action": "dynamodb:Scan", "Resource": f"{arn}/index/open"},
        {"Action": ["dynamodb:BatchWriteItem"], "Resource": arn},
    )
    dynamodb = aws.client("dynamodb", keys=assumed(aws, may))
    aws.enforce_iam()

    def query(name: str, **index: str) -> str:
        value = {":value": {TEXT: "1"}}
        condition = {"KeyConditionExpression": "#name = :value", "ExpressionAttributeNames": {"#name": name}}
        return outcome(dynamodb.query, TableName=table, ExpressionAttributeValues=value, **condition, **index)

    assert [query("pk"), query("month", IndexName="by-month")] == ["", ""]
    assert query("run_id", IndexName="by-run") == "AccessDeniedException"
    assert outcome(dynamodb.scan, TableName=table, IndexName="open") == ""
    assert outcome(dynamodb.scan, TableName=table) == "AccessDeniedException"
    assert outcome(dynamodb.scan, TableName=table, IndexName="by-month") == "AccessDeniedException"
    assert outcome(dynamodb.batch_write_item, RequestItems={table: put(item("1", "1"))}) == ""
    assert outcome(dynamodb.put_item, TableName=table, Item=item("1", "1")) == "AccessDeniedException"
    elsewhere = aws.client("dynamodb", "us-east-1", keys=assumed(aws, may))
    assert outcome(elsewhere.scan, TableName=table, IndexName="open") == "AccessDeniedException"
