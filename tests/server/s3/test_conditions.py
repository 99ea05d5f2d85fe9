"""Conditions and ranges, as rules without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.s3.conditions import byte_range, check_read, check_write, names
from fleetward.server.s3.errors import InvalidArgument, InvalidRange, NotModified, PreconditionFailed

AT = datetime(2030, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)
EARLIER, LATER = AT - timedelta(hours=1), AT + timedelta(hours=1)


@pytest.mark.parametrize(
    ("request_", "outcome"),
    [
        ({}, None),
        ({"IfMatch": '"abc"'}, None),
        ({"IfMatch": "*"}, None),
        ({"IfMatch": '"x", "abc"'}, None),
        ({"IfMatch": '"x"'}, PreconditionFailed),
        ({"IfMatch": '"abc"', "IfUnmodifiedSince": EARLIER}, None),
        ({"IfUnmodifiedSince": EARLIER}, PreconditionFailed),
        ({"IfUnmodifiedSince": AT.replace(microsecond=0)}, None),
        ({"IfNoneMatch": '"abc"'}, NotModified),
        ({"IfNoneMatch": '"x"', "IfModifiedSince": LATER}, None),
        ({"IfModifiedSince": LATER}, NotModified),
        ({"IfModifiedSince": AT.replace(microsecond=0)}, NotModified),
        ({"IfModifiedSince": EARLIER}, None),
    ],
)
def test_reading_under_conditions(request_: dict[str, object], outcome: type[Exception] | None) -> None:
    if outcome is None:
        check_read(request_, "abc", AT)
        return
    with pytest.raises(outcome):
        check_read(request_, "abc", AT)


def test_a_copy_knows_no_not_modified() -> None:
    with pytest.raises(PreconditionFailed):
        check_read({"CopySourceIfNoneMatch": "abc"}, "abc", AT, "CopySource")


def test_writing_under_conditions() -> None:
    assert check_write({}, "abc")
    assert check_write({"IfNoneMatch": "*"}, None)
    assert check_write({"IfMatch": '"abc"'}, "abc")
    assert not check_write({"IfMatch": '"abc"'}, None)
    for request, etag in (({"IfNoneMatch": "*"}, "abc"), ({"IfMatch": '"x"'}, "abc")):
        with pytest.raises(PreconditionFailed):
            check_write(request, etag)
    with pytest.raises(InvalidArgument):
        check_write({"IfNoneMatch": '"abc"'}, None)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None), ("bytes=0-", (0, 10)), ("bytes=2-4", (2, 5)), ("bytes=5-100", (5, 10)), ("bytes=-3", (7, 10)),
        ("bytes=-100", (0, 10)), ("bytes=9-9", (9, 10)), ("bytes=5-2", None), ("items=0-1", None), ("bytes=-", None),
        ("bytes=0-1,3-4", None), ("bytes=a-b", None),
    ],
)  # fmt: skip
def test_ranges_of_ten_bytes(header: str | None, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=0-0", 0), ("bytes=-0", 10), ("bytes=-1", 0)])
def test_a_range_beyond_the_end_cannot_be_satisfied(header: str, size: int) -> None:
    with pytest.raises(InvalidRange):
        byte_range(header, size)


@given(st.text(max_size=40), st.integers(0, 1000))
def test_no_header_gives_more_than_there_is(header: str, size: int) -> None:
    try:
        found = byte_range(header, size)
    except InvalidRange:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


def test_weak_and_bare_tags_are_names_too() -> None:
    assert names('W/"abc"', "abc")
    assert names("abc", "abc")
    assert not names('"ab"', "abc")
