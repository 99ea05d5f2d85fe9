"""Paging: tokens carry keys, and only to the operation that made them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.paging import InvalidNextToken, decode, encode, page

keys = st.lists(
    st.one_of(st.text(st.characters(codec="utf-8"), max_size=30), st.integers(-(2**53), 2**53), st.none()), max_size=5
)


@given(keys)
def test_token_gives_its_key_back(key: list[object]) -> None:
    assert decode("ListThings", encode("ListThings", key)) == key


@given(keys)
def test_token_of_another_operation_is_refused(key: list[object]) -> None:
    with pytest.raises(InvalidNextToken):
        decode("ListThings", encode("ListOthers", key))


@given(st.text(max_size=200))
def test_text_that_is_no_token_is_refused(text: str) -> None:
    if text:
        with pytest.raises(InvalidNextToken):
            decode("ListThings", text)
    else:
        assert decode("ListThings", text) is None


@given(keys, st.data())
def test_token_with_one_changed_character_is_refused_or_means_the_same(key: list[object], data: st.DataObject) -> None:
    token = encode("ListThings", key)
    index = data.draw(st.integers(0, len(token) - 1))
    sign = data.draw(st.sampled_from("ABCxyz019-_=+/"))
    changed = token[:index] + sign + token[index + 1 :]
    try:
        assert decode("ListThings", changed) == key  # base64 has spare bits at its end
    except InvalidNextToken:
        assert changed != token


def test_token_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidNextToken):
        decode("ListThings", encode("ListThings", ["x" * 5000]))


@given(st.sets(st.tuples(st.text("abc", max_size=3), st.integers(0, 5)), max_size=40), st.integers(1, 7))
def test_pages_miss_and_repeat_nothing(rows: set[tuple[str, int]], limit: int) -> None:
    ordered = sorted(rows)
    seen: list[tuple[str, int]] = []
    token: str | None = None
    while True:
        after = decode("ListThings", token)
        fetched = [row for row in ordered if after is None or row > tuple(after)][: limit + 1]
        shown, following = page("ListThings", fetched, limit, lambda row: row)
        assert len(shown) <= limit
        seen += shown
        token = following.get("NextToken")
        if token is None:
            break
    assert seen == ordered
