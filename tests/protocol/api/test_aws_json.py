"""AWS JSON against botocore's own serializer and parser, and against whatever clients may send."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import orjson
import pytest
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.protocol.api import aws_json
from fleetward.protocol.api.model import Operation, SerializationFault, ServiceModel, load_service
from fleetward.protocol.api.validate import check, check_result

SERVICES = ["ssm", "ec2messages", "kms", "logs"]
Load = Callable[[str], ServiceModel]
Samples = Callable[..., list[dict[str, Any]]]
FindModel = Callable[[str], BotocoreModel]


@pytest.mark.parametrize("name", SERVICES)
def test_requests_written_by_botocore_are_read_back(
    name: str, load: Load, samples: Samples, botocore_model: FindModel
) -> None:
    serializer = create_serializer("json", include_validation=False)
    for operation in load(name).operations.values():
        theirs = botocore_model(name).operation_model(operation.name)
        for request in samples(operation, "input"):
            body = serializer.serialize_to_request(request, theirs)["body"]
            assert aws_json.parse_request(operation, body) == request


@pytest.mark.parametrize("name", SERVICES)
def test_results_are_read_by_botocore(name: str, load: Load, samples: Samples, botocore_model: FindModel) -> None:
    parser = create_parser("json")
    for operation in load(name).operations.values():
        theirs = botocore_model(name).operation_model(operation.name)
        for result in samples(operation, "output"):
            assert check_result(operation, result) == []
            response = {"headers": {}, "status_code": 200, "body": aws_json.render_result(operation, result)}
            parsed = parser.parse(response, theirs.output_shape)
            parsed.pop("ResponseMetadata")
            assert parsed == result


def test_an_error_is_read_by_botocore() -> None:
    body = aws_json.render_error("ItemSizeLimitExceededException", "too large", {"TypeName": "AWS:File"})
    parsed = create_parser("json").parse({"headers": {}, "status_code": 400, "body": body}, None)
    assert parsed["Error"] == {"Message": "too large", "Code": "ItemSizeLimitExceededException"}
    assert orjson.loads(body)["TypeName"] == "AWS:File"


def operation(load: Load, name: str) -> Operation:
    return load("ssm").operations[name]


def test_an_empty_body_is_an_empty_request(load: Load) -> None:
    assert aws_json.parse_request(operation(load, "ListCommands"), b"") == {}


def test_null_and_unknown_members_are_dropped(load: Load) -> None:
    body = b'{"CommandId":null,"Nonsense":{"a":[1]},"MaxResults":5.0}'
    assert aws_json.parse_request(operation(load, "ListCommands"), body) == {"MaxResults": 5}


@pytest.mark.parametrize(
    ("body", "wording"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b'{"DocumentName":5}', "Expected a string but found a number at 'DocumentName'"),
        (b'{"InstanceIds":"mi"}', "Expected a list but found a string at 'InstanceIds'"),
        (b'{"InstanceIds":[null]}', "Expected a string but found null at 'InstanceIds.1'"),
        (b'{"TimeoutSeconds":"60"}', "Expected a whole number but found a string at 'TimeoutSeconds'"),
        (b'{"TimeoutSeconds":true}', "Expected a whole number but found a truth value at 'TimeoutSeconds'"),
        (b'{"TimeoutSeconds":2147483648}', "does not fit into an integer at 'TimeoutSeconds'"),
        (b'{"TimeoutSeconds":1e400}', ""),
        (b'{"Parameters":{"commands":["a",{}]}}', "Expected a string but found an object at 'Parameters.commands.2'"),
        (b'{"Targets":[{"Key":["a"]}]}', "Expected a string but found a list at 'Targets.1.Key'"),
        (b'{"Comment":"\xff"}', "not valid JSON"),
    ],
)
def test_a_wrong_type_is_a_serialization_fault(load: Load, body: bytes, wording: str) -> None:
    with pytest.raises(SerializationFault) as caught:
        aws_json.parse_request(operation(load, "SendCommand"), body)
    assert wording in caught.value.message


@pytest.mark.parametrize(
    "text",
    ["1795381449.371", '"2026-11-22T20:24:09.371Z"', '"2026-11-22T20:24:09.371"', '"2026-11-22T21:24:09.371+01:00"'],
)
def test_timestamps_are_numbers_or_texts(load: Load, text: str) -> None:
    body = f'{{"ExpirationDate":{text},"IamRole":"r"}}'.replace("1795381449", "1795379049").encode()
    found = aws_json.parse_request(operation(load, "CreateActivation"), body)
    assert found["ExpirationDate"] == datetime(2026, 11, 22, 20, 24, 9, 371000, tzinfo=UTC)


def test_nesting_without_end_is_refused(load: Load) -> None:
    def nested(levels: int) -> bytes:
        return b'{"Aggregators":[' * levels + b"{}" + b"]}" * levels

    get_inventory = operation(load, "GetInventory")
    assert aws_json.parse_request(get_inventory, nested(20))
    for levels in (40, 400, 100_000):
        with pytest.raises(SerializationFault):
            aws_json.parse_request(get_inventory, nested(levels))


class Colour(Enum):
    RED = "red"


def test_results_may_hold_what_python_code_uses(load: Load) -> None:
    result = {
        "At": datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC),
        "Whole": datetime(2026, 1, 1, tzinfo=UTC),
        "Blob": b"\xff",
        "Enum": Colour.RED,
        "Set": {"a"},
    }
    assert orjson.loads(aws_json.render_result(operation(load, "ListCommands"), result)) == {
        "At": 1767225600.123,
        "Whole": 1767225600,
        "Blob": "/w==",
        "Enum": "red",
        "Set": ["a"],
    }


def test_a_time_without_zone_is_a_bug_of_ours(load: Load) -> None:
    with pytest.raises((TypeError, ValueError)):
        aws_json.render_result(operation(load, "ListCommands"), {"At": datetime(2026, 1, 1)})


MEMBER_NAMES = st.sampled_from(
    (
        "DocumentName",
        "InstanceIds",
        "Targets",
        "Key",
        "Values",
        "Parameters",
        "ExpirationDate",
        "Tags",
        "MaxResults",
        "x",
    )
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(max_size=12)
    | st.just("2026-13-01"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBER_NAMES | st.text(max_size=3), inner, max_size=5),
    max_leaves=12,
)
FUZZED = [
    "SendCommand",
    "GetInventory",
    "CreateActivation",
    "PutInventory",
    "PutComplianceItems",
    "DescribeActivations",
]
FUZZED += ["UpdateInstanceAssociationStatus", "RegisterTaskWithMaintenanceWindow", "StartAutomationExecution"]


@given(st.sampled_from(FUZZED), st.dictionaries(MEMBER_NAMES, JSON_VALUES, max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_json_is_read_and_checked_or_refused(name: str, value: dict[str, Any]) -> None:
    described = load_service("ssm").operations[name]
    assert described.input is not None
    try:
        found = aws_json.parse_request(described, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str))
    except (orjson.JSONEncodeError, SerializationFault):
        return
    check(described.input, found)


@given(st.sampled_from(FUZZED), st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(name: str, body: bytes) -> None:
    try:
        aws_json.parse_request(load_service("ssm").operations[name], body)
    except SerializationFault:
        return
