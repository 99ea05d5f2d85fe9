"""REST JSON against botocore's own serializer and parser; the channels of ssmmessages as agents see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.protocol.api import rest_json
from fleetward.protocol.api.model import SerializationFault, ServiceModel, UnknownOperation, load_service
from fleetward.protocol.api.validate import check, check_result

NODE = "mi-b50b9fe278c90b63c"
Load = Callable[[str], ServiceModel]
Samples = Callable[..., list[dict[str, Any]]]
FindModel = Callable[[str], BotocoreModel]


def test_requests_written_by_botocore_are_read_back(load: Load, samples: Samples, botocore_model: FindModel) -> None:
    service = load("resource-groups")
    serializer = create_serializer("rest-json", include_validation=False)
    for operation in service.operations.values():
        theirs = botocore_model("resource-groups").operation_model(operation.name)
        for request in samples(operation, "input", plain=True):
            wire = serializer.serialize_to_request(request, theirs)
            path, _, constant = wire["url_path"].partition("?")
            pairs = parse_qsl(constant) + [(name, str(text)) for name, text in wire["query_string"].items()]
            headers = {name.lower(): text for name, text in wire["headers"].items()}
            found = rest_json.parse_request(service, wire["method"], path, pairs, headers, wire["body"] or b"")
            assert found == (operation, request)


def test_results_are_read_by_botocore(load: Load, samples: Samples, botocore_model: FindModel) -> None:
    service, parser = load("resource-groups"), create_parser("rest-json")
    for operation in service.operations.values():
        theirs = botocore_model("resource-groups").operation_model(operation.name)
        for result in samples(operation, "output"):
            assert check_result(operation, result) == []
            answer = rest_json.render_result(service, operation, result)
            response = {"headers": HeadersDict(answer.headers), "status_code": answer.status, "body": answer.body}
            parsed = parser.parse(response, theirs.output_shape)
            parsed.pop("ResponseMetadata")
            assert parsed == result


def test_an_error_is_read_by_botocore(load: Load) -> None:
    answer = rest_json.render_error(load("resource-groups"), "NotFoundException", "no such group", "r", 404)
    response = {"headers": HeadersDict(answer.headers), "status_code": answer.status, "body": answer.body}
    parsed = create_parser("rest-json").parse(response, None)
    assert parsed["Error"] == {"Code": "NotFoundException", "Message": "no such group"}


def test_a_control_channel_is_created_as_agents_ask_for_it(load: Load) -> None:
    service = load("ssmmessages")
    body = b'{"MessageSchemaVersion":"1.0","RequestId":"885ddcb7-0926-4e2b-ac87-931f23172f84"}'
    operation, request = rest_json.parse_request(service, "POST", f"/v1/control-channel/{NODE}", [], {}, body)
    assert operation.name == "CreateControlChannel"
    assert request == {
        "ChannelId": NODE,
        "MessageSchemaVersion": "1.0",
        "RequestId": "885ddcb7-0926-4e2b-ac87-931f23172f84",
    }
    answer = rest_json.render_result(service, operation, {"TokenValue": "t<k", "MessageSchemaVersion": "1.0"})
    assert answer.status == 201
    assert answer.headers["content-type"] == "application/xml"
    assert answer.body.endswith(
        b"<CreateControlChannelResponse><TokenValue>t&lt;k</TokenValue>"
        b"<MessageSchemaVersion>1.0</MessageSchemaVersion></CreateControlChannelResponse>"
    )


def test_opening_a_channel_is_an_operation_of_its_own(load: Load) -> None:
    query = [("role", "subscribe"), ("stream", "input")]
    operation, request = rest_json.parse_request(
        load("ssmmessages"), "GET", f"/v1/control-channel/{NODE}", query, {"upgrade": "websocket"}, b""
    )
    assert operation.name == "OpenControlChannel"
    assert request == {"ChannelId": NODE, "Role": "subscribe", "Stream": "input"}


def test_the_body_cannot_name_another_channel_than_the_address(load: Load) -> None:
    body = b'{"SessionId":"other","MessageSchemaVersion":"1.0","RequestId":"r","ClientId":""}'
    _, request = rest_json.parse_request(load("ssmmessages"), "POST", "/v1/data-channel/alice%2D1", [], {}, body)
    assert request["SessionId"] == "alice-1"


def test_denied_channels_carry_the_text_agents_look_for(load: Load) -> None:
    answer = rest_json.render_error(load("ssmmessages"), "AccessDeniedException", "no", "r", 403)
    assert b"<AccessDeniedException>" in answer.body
    assert answer.status == 403


def test_an_unknown_path_is_an_unknown_operation(load: Load) -> None:
    for method, path in (("POST", "/v1/coffee"), ("DELETE", f"/v1/control-channel/{NODE}"), ("POST", "/v1/a/b/c")):
        with pytest.raises(UnknownOperation):
            rest_json.parse_request(load("ssmmessages"), method, path, [], {}, b"")


@given(st.text(max_size=20), st.binary(max_size=30), st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5))))
@settings(max_examples=200, deadline=None)
def test_any_request_is_read_and_checked_or_refused(tail: str, body: bytes, pairs: list[tuple[str, str]]) -> None:
    service = load_service("ssmmessages")
    try:
        operation, request = rest_json.parse_request(service, "POST", f"/v1/data-channel/{tail}", pairs, {}, body)
    except (SerializationFault, UnknownOperation):
        return
    assert operation.input is not None
    check(operation.input, request)
