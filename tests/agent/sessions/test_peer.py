"""Output cut between characters, whatever comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetward.agent.sessions.peer import Characters, pieces


@given(st.text(), st.lists(st.integers(1, 9)))
def test_pieces_of_text_are_text_however_it_came(text: str, sizes: list[int]) -> None:
    characters, data, taken = Characters(), text.encode(), []
    for size in [*sizes, len(data) or 1]:
        part, data = data[:size], data[size:]
        taken.append(characters.take(part))
    assert b"".join(taken) == text.encode()
    assert "".join(each.decode() for each in taken) == text
    assert characters.rest() == b""


@given(st.binary(), st.integers(4, 20))
def test_no_byte_is_lost_and_no_piece_too_long(data: bytes, most: int) -> None:
    characters = Characters()
    assert characters.take(data) + characters.rest() == data
    cut = list(pieces(data, most))
    assert b"".join(cut) == data
    assert all(0 < len(piece) <= most for piece in cut)


@given(st.text(min_size=1), st.integers(4, 20))
def test_pieces_end_between_characters(text: str, most: int) -> None:
    assert "".join(piece.decode() for piece in pieces(text.encode(), most)) == text
