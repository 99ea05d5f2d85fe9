"""Bad input of every kind to every operation: an error of AWS's form, never a 5xx, and the valid call works on."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from fleetward.protocol.api import validate
from fleetward.protocol.api.model import Shape, load_service
from fleetward.server import app, ec2messages
from tests.calls import CALLS, FORMS, SETTING, Stage, put_output, send
from tests.serving import REGION, Answer, Node, ServerProcess

LARGEST_MADE = 5000
WRONG_TYPES: Mapping[str, tuple[Any, ...]] = {
    "string": (17, ["x"], {"x": 1}, True),
    "integer": ("many", [1], {}, 1.5, True, 2**70),
    "long": ("many", [1], {}, 1.5, True, 2**70),
    "boolean": ("yes", [True], 3),
    "timestamp": ("never", [], {}, True, 1e300),
    "list": ("x", {"x": 1}, 5, [[[[]]]]),
    "map": ("x", ["x"], 5, {"x": 5}),
    "structure": ("x", ["x"], 5),
}
UNREADABLE = (
    b"{",
    b"[]",
    b'"text"',
    b"17",
    b"\xff\xfe{}",
    b"{'a': 1}",
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": "\\ud800"}',
    b'{"a":' * 3000 + b"1" + b"}" * 3000,
    b"[" * 100_000,
)
# DescribeHalt, Resume and Leave take nothing, so that a body of the right type is all that can be asked of them.
NAMES = sorted(CALLS)
JSON_NAMES = [name for name in NAMES if name.split(":")[0] in ("ssm", "ec2messages", "fleetward", "kms", "logs")]


def is_form(name: str) -> bool:
    """Whether an operation is called in the query protocol."""
    return name.partition(":")[0] in FORMS


def fault_of(name: str) -> str:
    """What broken constraints are called."""
    service = name.partition(":")[0]
    return (
        "ValidationError"
        if is_form(name)
        else {"logs": "InvalidParameterException", "resource-groups": "BadRequestException"}.get(
            service, "ValidationException"
        )
    )


def input_of(name: str) -> Shape:
    """The shape an operation takes."""
    service, _, operation = name.partition(":")
    return load_service(service).operations[operation].input or Shape("Nothing", "structure")


def constraint_faults(shape: Shape, value: Any) -> Iterator[tuple[str, Any]]:
    """Values of the right type that break a rule of the shape, with the rule's name."""
    if shape.kind == "string":
        if shape.max is not None and shape.max < 2_000_000:
            yield "too long", "x" * (int(shape.max) + 1)
        if shape.min:
            yield "too short", ""
        if shape.pattern:
            yield "bad pattern", "\u0007 ;|<" + "*" * int(shape.min or 0)
        if shape.enum:
            yield "bad enum", "NoSuchValue"
        yield "nul", "a\x00b"
    elif shape.kind in ("integer", "long"):
        if shape.min is not None:
            yield "too small", int(shape.min) - 1
        if shape.max is not None:
            yield "too large", int(shape.max) + 1
    elif shape.kind == "list" and shape.element is not None:
        if shape.min:
            yield "too few", []
        if shape.max is not None and shape.max < LARGEST_MADE and value:
            yield "too many", value * (int(shape.max) + 1)
        for label, bad in constraint_faults(shape.element.shape, value[0] if value else None):
            yield f"element {label}", [bad]
    elif shape.kind == "structure" and isinstance(value, Mapping):
        yield from structure_faults(shape, value, constraint_faults)
        for name in shape.required:
            yield f"without {name}", {key: each for key, each in value.items() if key != name}
            yield f"null {name}", {**value, name: None}
    elif shape.kind == "map" and shape.key is not None and shape.value is not None:
        usual = ["x"] if shape.value.shape.kind == "list" else "x"
        for label, bad in constraint_faults(shape.key.shape, None):
            yield f"key {label}", {bad: next(iter((value or {"x": usual}).values()))}


def type_faults(shape: Shape, value: Any) -> Iterator[tuple[str, Any]]:
    """Values of another type than the shape's."""
    for bad in WRONG_TYPES.get(shape.kind, ()):
        yield f"{type(bad).__name__} for {shape.kind}", bad
    if shape.kind == "structure" and isinstance(value, Mapping):
        yield from structure_faults(shape, value, type_faults)
    elif shape.kind == "list" and shape.element is not None:
        for label, bad in type_faults(shape.element.shape, value[0] if value else None):
            yield f"element {label}", [bad]


def structure_faults(shape: Shape, value: Mapping[str, Any], faults: Any) -> Iterator[tuple[str, Any]]:
    """The structure with one member wrong at a time, members that the valid form leaves out among them."""
    for name, member in shape.members.items():
        for label, bad in faults(member.shape, value.get(name)):
            yield f"{name}: {label}", {**value, name: bad}


def without_nulls(value: Any) -> Any:
    """A request as it is read: null stands for nothing."""
    if isinstance(value, Mapping):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value if each is not None] if isinstance(value, list) else value


def check_refused(answer: Answer, what: str) -> None:
    """An error as AWS's clients understand it."""
    assert 400 <= answer.status < 500, f"{what}: {answer.status} {answer.body[:500]!r}"
    assert answer.code, f"{what}: {answer.body[:300]!r}"
    assert answer.message, f"{what}: {answer.body[:300]!r}"
    assert answer.headers.get("x-amzn-requestid"), what


def worker(stage: Stage, name: str) -> Node:
    """The node that makes the valid call; one of its own where the call ends it."""
    return stage.fresh_node() if name == "fleetward:Leave" else stage.node


def check_works(stage: Stage, name: str) -> dict[str, Any]:
    """The valid call succeeds; a request that has not been sent yet is returned."""
    answer = send(stage, name, CALLS[name].make(stage), node=worker(stage, name))
    assert answer.status in (200, 201), f"{name}: {answer.body!r}"
    return CALLS[name].make(stage)


@pytest.fixture(autouse=True)
def _commands_run_again(stage: Stage) -> Iterator[None]:
    yield
    stage.server.call("Resume", {}, stage.server.root, service="fleetward")
    stage.root("ResetServiceSetting", SettingId=SETTING)


def test_every_operation_has_a_valid_call() -> None:
    """The table names all that the server offers; a channel's socket and outputs in full have their own tests."""
    ec2messages.offer(lambda call, members: [], {})
    offered = {f"{service.name}:{operation}" for service in app.SERVICES for operation in service.operations}
    offered -= {name for name in offered if name.startswith("s3:")}  # see test_bad_input_s3.py
    sockets = {"ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"}
    assert offered - sockets - {"fleetward:PutCommandOutput"} == set(CALLS)


@pytest.mark.parametrize("name", NAMES)
def test_broken_constraints_are_refused_in_aws_words(stage: Stage, name: str) -> None:
    """Missing, too long, too short, out of range, unknown enum values, wrong patterns, NUL characters."""
    request = check_works(stage, name)
    shape = input_of(name)
    for label, bad in constraint_faults(shape, copy.deepcopy(request)):
        in_path = ("ChannelId", "without ChannelId", "SessionId", "without SessionId", "null")
        if name.startswith("ssmmessages:") and label.startswith(in_path):
            continue  # a path is text: see the tests of paths
        if name.startswith("resource-groups:") and label.startswith(("Arn", "without Arn", "null Arn")):
            continue  # likewise
        if is_form(name) and "too few" in label:
            continue  # a form cannot say that a list is empty
        bad = without_nulls(bad) if is_form(name) else bad
        breaks = validate.check(shape, without_nulls(bad))
        answer = send(stage, name, bad)
        if breaks or label.endswith("nul"):
            check_refused(answer, f"{name} {label}")
            assert answer.code == fault_of(name), f"{name} {label}: {answer.body!r}"
            if breaks and not label.endswith("nul"):
                assert "validation error" in answer.message, f"{name} {label}: {answer.message}"
        elif answer.status != 200:
            check_refused(answer, f"{name} {label}")
    check_works(stage, name)


@pytest.mark.parametrize("name", JSON_NAMES)
def test_values_of_another_type_are_refused(stage: Stage, name: str) -> None:
    """Every member, also in depth, as every other JSON type."""
    request = CALLS[name].make(stage)
    for label, bad in type_faults(input_of(name), copy.deepcopy(request)):
        answer = send(stage, name, bad)
        if answer.status != 200:  # numbers are also read from text, times from several forms
            check_refused(answer, f"{name} {label}")
            assert answer.code in ("SerializationException", fault_of(name)) or "timestamp" in label, (
                f"{name} {label}: {answer.body!r}"
            )
        else:
            assert "string" in label or "timestamp" in label or "for boolean" in label or "Loose" in label, (
                f"{name} {label} was accepted"
            )
    check_works(stage, name)


@pytest.mark.parametrize("name", JSON_NAMES)
def test_unreadable_bodies_are_refused(stage: Stage, name: str) -> None:
    """Not JSON, not an object, not UTF-8, nested beyond reason."""
    for body in UNREADABLE:
        answer = send(stage, name, body)  # type: ignore[arg-type]  # bytes are sent as they stand
        check_refused(answer, f"{name} {body[:40]!r}")
        assert answer.code == "SerializationException", f"{name} {body[:40]!r}: {answer.body!r}"
    check_works(stage, name)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_signatures_are_refused(stage: Stage, name: str) -> None:
    """Unsigned, tampered, skewed, for another region or service; RegisterManagedInstance needs no signature."""
    request = CALLS[name].make(stage)
    mismatch = "SignatureDoesNotMatch" if is_form(name) else "InvalidSignatureException"
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("late", {"skew": timedelta(minutes=-6)}, mismatch),
        ("early", {"skew": timedelta(minutes=6)}, mismatch),
        ("region", {"region": "eu-west-9"}, mismatch),
        ("tampered body", {"sent_body": b'{"Tampered": "1"}'}, mismatch),
        (
            "unsigned",
            {"signed_by": None},
            "MissingAuthenticationToken" if is_form(name) else "MissingAuthenticationTokenException",
        ),
    ]
    if CALLS[name].by == "nobody":
        return
    for label, options, code in cases:
        if is_form(name) and label == "tampered body":
            service, _, operation = name.partition(":")
            options["sent_body"] = f"Action={operation}&Version={FORMS[service]}&Tampered=1".encode()
        if name.startswith("resource-groups:") and label == "unsigned":
            continue  # without a signature such a path is that of an object
        answer = send(stage, name, request, **options)
        check_refused(answer, f"{name} {label}")
        assert answer.code == code, f"{name} {label}: {answer.body!r}"
    answer = send(stage, name, request, region="eu-west-9")
    assert REGION in answer.message
    check_works(stage, name)


OF_NODES_TOO = (
    "sts:GetCallerIdentity",
    "ssm:GetDocument",
    "ssm:DescribeDocument",
    "ssm:GetParameter",
    "ssm:GetParameters",
    "ssm:ListAssociations",
)
"""What the role of nodes allows them, and operators do as well."""


@pytest.mark.parametrize("name", [name for name in NAMES if CALLS[name].by != "nobody"])
def test_callers_of_the_other_kind_are_refused(stage: Stage, name: str, other_node: Node) -> None:
    """A node does not call operators' operations, an operator none of a node's, and no key signs by the other kind."""
    request = CALLS[name].make(stage)
    if CALLS[name].by in ("root", "user"):
        if name in OF_NODES_TOO:
            return
        answer = send(stage, name, request, signed_by=other_node.keys)
    else:
        answer = send(stage, name, request, signed_by=stage.server.root)
        other_kind = stage.node.keys if CALLS[name].by == "key" else stage.node
        by_other = send(stage, name, request, signed_by=other_kind)
        check_refused(by_other, f"{name} by the other kind of key")
        assert by_other.code in ("UnrecognizedClientException", "AccessDeniedException"), by_other.body
    check_refused(answer, f"{name} by the wrong caller")
    assert answer.code in ("AccessDenied", "AccessDeniedException", "UnrecognizedClientException"), answer.body
    check_works(stage, name)


NAMES_NO_NODE = {"fleetward:ConfirmSequence"}
"""Operations about whoever calls: there is no other node to name."""
ABOUT_NODE = [name for name in NAMES if CALLS[name].by == "node" and name not in NAMES_NO_NODE]


@pytest.mark.parametrize("name", ABOUT_NODE)
def test_a_node_reaches_nothing_of_another_node(stage: Stage, name: str, other_node: Node) -> None:
    """The request names one node, the signature is another's."""
    answer = send(stage, name, CALLS[name].make(stage), node=other_node)
    check_refused(answer, name)
    assert answer.code in ("AccessDeniedException", "ValidationException"), answer.body
    check_works(stage, name)


def test_an_output_is_taken_from_the_node_that_ran_the_command_alone(stage: Stage, other_node: Node) -> None:
    """Another node's upload is refused; so is one whose bytes are not those that were signed."""
    path = f"/_fleetward/outputs/{stage.invoked()}/hello/stdout"
    check_refused(put_output(other_node, path, b"forged"), "another node's output")
    check_refused(put_output(stage.node, path, b"signed", sent_body=b"forged"), "other bytes")
    assert put_output(stage.node, path, b"mine").status == 200


def test_bodies_that_are_not_what_the_headers_say(serving: ServerProcess) -> None:
    """Unknown targets and odd forms are unknown operations, never failures."""
    for headers in (
        {"X-Amz-Target": "Nothing.Here"},
        {"X-Amz-Target": "AmazonSSM"},
        {"X-Amz-Target": "AmazonSSM."},
        {"X-Amz-Target": "AmazonSSM.PutParameter"},
        {"X-Amz-Target": "AmazonSSM.NoSuchOperation"},
        {"X-Amz-Target": "\xe9\xff"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
        {},
    ):
        answer = serving.send("POST", "/", b"{}", headers, serving.root)
        check_refused(answer, str(headers))


def test_odd_forms_are_refused(serving: ServerProcess) -> None:
    """The query protocol: no action, unknown action, too many fields, names without end, broken escapes."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (
        b"Version=2011-06-15",
        b"Action=&Version=2011-06-15",
        b"Action=NoSuchAction&Version=2011-06-15",
        b"Action=GetCallerIdentity&Version=1999-01-01",
        b"Action=DecodeAuthorizationMessage&Version=2011-06-15",
        b"&".join(b"a=%d" % number for number in range(20_000)),
        b"Action=AssumeRole&Version=2011-06-15&" + b".".join([b"a"] * 5000) + b"=1",
        b"Action=AssumeRole&Version=2011-06-15&Tags.member.x.Key=1",
        b"Action=GetSessionToken&Version=2011-06-15&DurationSeconds=many",
        b"Action=AssumeRole&Version=2011-06-15&RoleArn=%00%ff%fe",
        b"\xff\xfe\xfd",
    ):
        check_refused(
            serving.send("POST", "/", body, headers, serving.root, service="sts"), body[:60].decode("latin-1")
        )
    assert json.loads(json.dumps(serving.client("sts").get_caller_identity()["Account"]))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control-channel/",
        "/v1/control-channel/%00",
        "/v1/control-channel/a/b",
        "/v1/control-channel/" + "x" * 2000,
        "/v1/control-channel/%ff",
        "/v1/data-channel/x",
        "/v1/control-channel/mi-1?" + "&".join(f"a{number}=1" for number in range(3000)),
        "/_fleetward/outputs/../../etc/passwd",
        "/_fleetward/outputs/a/b",
        "/_fleetward/outputs/%00/b/c",
        "/_fleetward/outputs/a/b/%2e%2e/d",
        "/nothing",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD"])
def test_odd_paths_are_refused(serving: ServerProcess, node: Node, method: str, path: str) -> None:
    """Paths outside every form."""
    answer = serving.send(method, path, b"", {}, node.keys, service="ssmmessages")
    assert 400 <= answer.status < 500, answer
