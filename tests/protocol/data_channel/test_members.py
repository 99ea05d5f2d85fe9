"""The JSON objects of messages: what is missing, what is of another type, and what is no JSON at all."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.data_channel.members import Members, json_bytes
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda values: st.lists(values) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values),
    max_leaves=10,
)


def members(text: str | bytes) -> Members:
    return Members.parse("the note", text, most_bytes=1000)


@pytest.mark.parametrize(
    "text",
    ["", "{", "nul", "[]", "null", '"text"', "1", b"\xff\xfe", "[" * 900, b'{"a":' * 150],
    ids=str,
)
def test_what_is_no_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="the note is not"):
        members(text)


def test_long_text_is_refused_before_it_is_read() -> None:
    with pytest.raises(RemoteProtocolError, match="1000 bytes, this one has 1001"):
        members("[" * 1001)


def test_missing_and_null_members_are_empty() -> None:
    for note in (members("{}"), members('{"a":null}')):
        assert note.text("a") == ""
        assert note.binary("a") == b""
        assert note.objects("a", most=1) == []
        assert note.object("a").text("b") == ""
        assert note.any("a") is None
        assert "a" not in note
        with pytest.raises(RemoteProtocolError, match="a is missing"):
            note.required("a")


def test_members_are_read_by_type() -> None:
    note = members('{"text":"é","number":-7,"binary":"AAE=","object":{"a":"b"},"objects":[{},{"a":"c"}],"any":[1]}')
    assert note.text("text") == note.required("text") == "é"
    assert note.number("number") == -7
    assert note.number("other", missing=4) == 4
    assert note.binary("binary") == b"\0\1"
    assert note.object("object").text("a") == "b"
    assert [one.text("a") for one in note.objects("objects", most=2)] == ["", "c"]
    assert note.any("any") == [1]


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("text", "1"),
        ("text", '"\\ud800"'),
        ("required", '""'),
        ("number", "true"),
        ("number", "1.5"),
        ("number", '"1"'),
        ("number", "null"),
        ("binary", '"AA"'),
        ("binary", '"A*=="'),
        ("binary", '"é"'),
        ("object", "[]"),
    ],
)
def test_member_of_another_type_is_refused_by_name(method: str, value: str) -> None:
    with pytest.raises(RemoteProtocolError, match=r"the note: member"):
        getattr(members(f'{{"member":{value}}}'), method)("member")


@pytest.mark.parametrize("value", ["{}", "[1]", "[{},{},{}]", '"x"'])
def test_array_of_objects_is_just_that_and_short(value: str) -> None:
    with pytest.raises(RemoteProtocolError, match=r"the note: member"):
        members(f'{{"member":{value}}}').objects("member", most=2)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values))
def test_what_is_written_is_read(value: dict[str, object]) -> None:
    note = Members.parse("the note", json_bytes(value), most_bytes=10**6)
    assert {name: note.any(name) for name in value} == value


@given(st.binary())
def test_bytes_travel_as_base64(value: bytes) -> None:
    written = json_bytes({"value": base64.b64encode(value).decode()})
    assert Members.parse("the note", written, most_bytes=10**6).binary("value") == value


def test_half_a_surrogate_pair_is_not_written() -> None:
    with pytest.raises(LocalProtocolError, match="surrogate"):
        json_bytes({"a": "\ud800"})
