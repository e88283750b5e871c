"""DynamoDB: the settings of tables in templates besides their keys, and batches that are written only in part."""

import itertools
import json
from collections.abc import Callable
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import dynamodb
from ministack.services.cloudformation import provisioners

from infra.local.server.knobs import KNOBS

Properties = dict[str, Any]
Created = tuple[str, dict[str, Any]]
Create = Callable[[str, Properties, str], Created]
Response = tuple[int, dict[str, str], Any]

TYPES = ("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable")


def created_completely(original: Create) -> Create:
    """Create a template's table, with the settings that ministack ignores.

    A global table has some of them for each replica: here the first replica's count.
    """

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        name, attributes = original(logical_id, properties, stack)
        own = {**properties, **next(iter(properties.get("Replicas", [])), {})}
        table = dynamodb._tables[name]
        table["DeletionProtectionEnabled"] = _true(own.get("DeletionProtectionEnabled"))
        encryption = own.get("SSESpecification", {})
        enabled = _true(encryption.get("SSEEnabled"))
        table["SSEDescription"] = dynamodb._sse_description_from_spec(
            {**encryption, "Enabled": True} if enabled else {}
        )
        if expiry := own.get("TimeToLiveSpecification"):
            specification = {**expiry, "Enabled": _true(expiry.get("Enabled"))}
            dynamodb._update_ttl({"TableName": name, "TimeToLiveSpecification": specification})
        recovery = own.get("PointInTimeRecoverySpecification", {})
        dynamodb._pitr_settings[name] = _true(recovery.get("PointInTimeRecoveryEnabled"))
        return name, attributes

    return create


def written_in_part(original: Callable[[Properties], Response]) -> Callable[[Properties], Response]:
    """BatchWriteItem, which writes at most the knob's number of items and returns the rest as unprocessed."""

    def write(request: Properties) -> Response:
        room = KNOBS.batch_write_items
        requests = [(table, each) for table, writes in request.get("RequestItems", {}).items() for each in writes]
        if room is None or not room < len(requests) <= dynamodb._DDB_BATCH_WRITE_MAX:
            return original(request)
        if room < 1:
            return error_response_json(  # type: ignore[no-any-return]  # ministack is untyped
                "ProvisionedThroughputExceededException",
                "The level of configured provisioned throughput for the table was exceeded.",
            )
        status, headers, body = original({**request, "RequestItems": _by_table(requests[: int(room)])})
        answer = {**json.loads(body), "UnprocessedItems": _by_table(requests[int(room) :])}
        return (status, headers, json.dumps(answer).encode()) if status < 400 else (status, headers, body)  # noqa: PLR2004

    return write


def install() -> None:
    """Complete the tables of templates, and limit batches by the knob."""
    for name in TYPES:
        handlers = provisioners._RESOURCE_HANDLERS[name]
        handlers["create"] = created_completely(handlers["create"])
    dynamodb._batch_write_item = written_in_part(dynamodb._batch_write_item)


def _by_table(requests: list[tuple[str, Properties]]) -> dict[str, list[Properties]]:
    grouped = itertools.groupby(requests, key=lambda pair: pair[0])
    return {table: [request for _, request in pairs] for table, pairs in grouped}


def _true(value: object) -> bool:
    """A template's boolean, which may be text."""
    return str(value).lower() == "true"
