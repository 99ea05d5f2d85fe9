"""REST XML against botocore's own serializer and parser (S3), and against hostile documents."""

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

from fleetward.protocol.api import rest_xml
from fleetward.protocol.api.model import Operation, SerializationFault, ServiceModel, load_service
from fleetward.protocol.api.validate import check, check_result

Load = Callable[[str], ServiceModel]
Samples = Callable[..., list[dict[str, Any]]]
FindModel = Callable[[str], BotocoreModel]

SAME_ADDRESS = {"ListDirectoryBuckets"}
"""Told from another operation (ListBuckets) by the host alone."""


def streams(operation: Operation, direction: str) -> bool:
    shape = operation.input if direction == "input" else operation.output
    return shape is not None and any(use.streaming for use in shape.members.values())


def test_requests_written_by_botocore_are_read_back(load: Load, samples: Samples, botocore_model: FindModel) -> None:
    service = load("s3")
    serializer = create_serializer("rest-xml", include_validation=False)
    read = 0
    for operation in service.operations.values():
        theirs = botocore_model("s3").operation_model(operation.name)
        if theirs.deprecated or operation.name in SAME_ADDRESS:
            continue
        for request in [] if streams(operation, "input") else samples(operation, "input", plain=True):
            wire = serializer.serialize_to_request(request, theirs)
            path, _, constant = wire["url_path"].partition("?")
            pairs = parse_qsl(constant, keep_blank_values=True)
            for name, text in wire["query_string"].items():
                pairs += [(name, str(each)) for each in (text if isinstance(text, list) else [text])]
            headers = {name.lower(): text for name, text in wire["headers"].items()}
            found = rest_xml.parse_request(service, wire["method"], path, pairs, headers, wire["body"] or b"")
            assert found == (operation, request)
            read += 1
    assert read > 250


def test_results_are_read_by_botocore(load: Load, samples: Samples, botocore_model: FindModel) -> None:
    service, parser = load("s3"), create_parser("rest-xml")
    read = 0
    for operation in service.operations.values():
        theirs = botocore_model("s3").operation_model(operation.name)
        if theirs.deprecated:
            continue
        for result in [] if streams(operation, "output") else samples(operation, "output", plain=True):
            assert check_result(operation, result) == []
            answer = rest_xml.render_result(service, operation, result)
            response = {"headers": HeadersDict(answer.headers), "status_code": answer.status, "body": answer.body}
            parsed = parser.parse(response, theirs.output_shape)
            parsed.pop("ResponseMetadata")
            if theirs.output_shape is not None and theirs.output_shape.serialization.get("payload") not in result:
                parsed = {name: value for name, value in parsed.items() if value != {}}
            assert parsed == result
            read += 1
    assert read > 180


def test_an_error_is_read_by_botocore() -> None:
    body = rest_xml.render_error("NoSuchKey", "not <here>", "r", {"Key": "k"})
    parsed = create_parser("rest-xml").parse({"headers": {}, "status_code": 404, "body": body}, None)
    assert parsed["Error"] == {"Code": "NoSuchKey", "Message": "not <here>", "Key": "k"}


def test_characters_xml_cannot_carry_are_replaced() -> None:
    assert rest_xml.escape("a\x00b\x1b\r\ud800<") == "a\ufffdb\ufffd&#13;\ufffd&lt;"


@pytest.mark.parametrize(
    "document",
    [
        b'<!DOCTYPE a [<!ENTITY b "boom">]><a>&b;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>&undefined;</a>",
        b"<a>",
        b"",
        b"<a/><b/>",
        b"\xff\xfe",
        b'<?xml version="1.0" encoding="nonsense"?><a/>',
        b"<a>" * 100 + b"</a>" * 100,
        b"<r>" + b"<a/>" * 60_000 + b"</r>",
        b" " * (rest_xml.LARGEST_DOCUMENT + 1),
    ],
)
def test_hostile_documents_are_refused(document: bytes) -> None:
    with pytest.raises(SerializationFault):
        rest_xml.parse_document(document)


def test_namespaces_do_not_matter_to_names() -> None:
    shape = load_service("s3").operations["PutBucketTagging"].input
    assert shape is not None
    tag = b"<s:Tag><s:Key>k</s:Key><s:Value>v</s:Value></s:Tag>"
    body = b'<s:Tagging xmlns:s="urn:x"><s:TagSet>' + tag + b"</s:TagSet></s:Tagging>"
    found = rest_xml.read_element(shape.members["Tagging"].shape, rest_xml.parse_document(body))
    assert found == {"TagSet": [{"Key": "k", "Value": "v"}]}


TAGS = st.sampled_from(["LifecycleConfiguration", "Rule", "Filter", "And", "Tag", "Key", "Days", "Expiration", "Date"])
DOCUMENTS = st.recursive(
    st.text("ab12 -T:", max_size=6),
    lambda inner: st.tuples(TAGS, st.lists(inner, max_size=4)).map(lambda e: f"<{e[0]}>{''.join(e[1])}</{e[0]}>"),
    max_leaves=12,
)


@given(DOCUMENTS.map(str.encode) | st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_document_is_read_and_checked_or_refused(body: bytes) -> None:
    try:
        operation, request = rest_xml.parse_request(
            load_service("s3"), "PUT", "/bucket", [("lifecycle", "")], {"content-type": "application/xml"}, body
        )
    except SerializationFault:
        return
    assert operation.input is not None
    check(operation.input, request)
