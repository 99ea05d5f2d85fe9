"""The query protocol against botocore's own serializer and parser, and against any form."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.model import ServiceModel as BotocoreModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.protocol.api import query
from fleetward.protocol.api.model import SerializationFault, ServiceModel, UnknownOperation, load_service
from fleetward.protocol.api.validate import check, check_result

SERVICES = ["sts", "iam", "cloudformation"]
VERSION = "2011-06-15"
Load = Callable[[str], ServiceModel]
Samples = Callable[..., list[dict[str, Any]]]
FindModel = Callable[[str], BotocoreModel]


@pytest.mark.parametrize("name", SERVICES)
def test_requests_written_by_botocore_are_read_back(
    name: str, load: Load, samples: Samples, botocore_model: FindModel
) -> None:
    serializer = create_serializer("query", include_validation=False)
    for operation in load(name).operations.values():
        theirs = botocore_model(name).operation_model(operation.name)
        for request in samples(operation, "input"):
            form = serializer.serialize_to_request(request, theirs)["body"]
            found = query.parse_request(load(name), [(key, str(text)) for key, text in form.items()])
            assert found == (operation, request)


@pytest.mark.parametrize("name", SERVICES)
def test_results_are_read_by_botocore(name: str, load: Load, samples: Samples, botocore_model: FindModel) -> None:
    parser = create_parser("query")
    for operation in load(name).operations.values():
        theirs = botocore_model(name).operation_model(operation.name)
        for result in samples(operation, "output"):
            assert check_result(operation, result) == []
            body = query.render_result(load(name), operation, result, "request-1")
            parsed = parser.parse({"headers": {}, "status_code": 200, "body": body}, theirs.output_shape)
            assert parsed.pop("ResponseMetadata")["RequestId"] == "request-1"
            assert parsed == result


def test_an_error_is_read_by_botocore(load: Load) -> None:
    body = query.render_error(load("sts"), "AccessDenied", "not <you>", "request-1")
    parsed = create_parser("query").parse({"headers": {}, "status_code": 403, "body": body}, None)
    assert parsed["Error"] == {"Type": "Sender", "Code": "AccessDenied", "Message": "not <you>"}
    assert parsed["ResponseMetadata"]["RequestId"] == "request-1"


def test_the_answer_to_get_caller_identity_is_aws_s(load: Load) -> None:
    operation = load("sts").operations["GetCallerIdentity"]
    result = {"UserId": "AIDA", "Account": "123456789012", "Arn": "arn:aws:iam::123456789012:root"}
    assert query.render_result(load("sts"), operation, result, "r") == (
        b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        b"<UserId>AIDA</UserId><Account>123456789012</Account><Arn>arn:aws:iam::123456789012:root</Arn>"
        b"</GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
        b"</GetCallerIdentityResponse>"
    )


def test_an_operation_without_result_answers_only_the_request_id(load: Load) -> None:
    body = query.render_result(load("iam"), load("iam").operations["DeleteUser"], {}, "r")
    assert b"Result" not in body
    assert b"<RequestId>r</RequestId>" in body


def test_times_have_milliseconds_when_they_need_them(load: Load) -> None:
    operation = load("sts").operations["AssumeRole"]
    credentials = {"Expiration": datetime(2026, 1, 1, 0, 0, 0, 250000, tzinfo=UTC)}
    body = query.render_result(load("sts"), operation, {"Credentials": credentials}, "r")
    assert b"<Expiration>2026-01-01T00:00:00.250Z</Expiration>" in body


def assume_role(*pairs: tuple[str, str]) -> dict[str, Any]:
    form = [("Action", "AssumeRole"), ("Version", VERSION), *pairs]
    return query.parse_request(load_service("sts"), form)[1]


def test_lists_follow_their_numbers_and_unknown_names_are_dropped() -> None:
    pairs = [("Tags.member.10.Key", "b"), ("Tags.member.2.Key", "a"), ("Nonsense.1", "x")]
    assert assume_role(*pairs) == {"Tags": [{"Key": "a"}, {"Key": "b"}]}


def test_an_empty_list_is_a_name_without_text() -> None:
    assert assume_role(("Tags", "")) == {"Tags": []}


@pytest.mark.parametrize(
    "form",
    [[], [("Action", "")], [("Action", "MakeCoffee")], [("Action", "AssumeRole"), ("Version", "1999-01-01")]],
)
def test_an_unknown_action_or_version_is_refused(form: list[tuple[str, str]]) -> None:
    with pytest.raises(UnknownOperation):
        query.parse_request(load_service("sts"), form)


@pytest.mark.parametrize(
    "pair",
    [
        ("DurationSeconds", "soon"),
        ("DurationSeconds", "99999999999"),
        ("DurationSeconds.1", "5"),
        ("Tags.member.x.Key", "a"),
        ("Tags.member.1.Key.deeper", "a"),
        (".".join("abcdefgh" * 8), "too deep"),
    ],
)
def test_what_does_not_fit_is_a_serialization_fault(pair: tuple[str, str]) -> None:
    with pytest.raises(SerializationFault):
        assume_role(pair)


PARTS = st.sampled_from(
    ["Tags", "member", "1", "2", "Key", "Value", "PolicyArns", "arn", "DurationSeconds", "RoleArn", ""]
)
NAMES = st.lists(PARTS, min_size=1, max_size=6).map(".".join)


@given(st.lists(st.tuples(NAMES | st.text(max_size=5), st.text(max_size=8)), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_form_is_read_and_checked_or_refused(pairs: list[tuple[str, str]]) -> None:
    operation = load_service("sts").operations["AssumeRole"]
    assert operation.input is not None
    try:
        found = assume_role(*[pair for pair in pairs if pair[0] not in ("Action", "Version")])
    except SerializationFault:
        return
    check(operation.input, found)
