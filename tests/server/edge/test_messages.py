"""Messages: frames put together, in order, and bounded."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from picows import WSMsgType

from fleetward.protocol.errors import RemoteProtocolError
from fleetward.server.edge.messages import LIMIT_BYTES, Messages, TooLong


@dataclass
class Piece:
    """What of a frame is looked at."""

    msg_type: WSMsgType
    fin: bool
    data: bytes

    def get_payload_as_bytes(self) -> bytes:
        """What it carries."""
        return self.data


def take(*pieces: tuple[WSMsgType, bool, bytes]) -> list[tuple[WSMsgType, bytes] | None]:
    """What each frame completes."""
    messages = Messages()
    return [messages.take(Piece(*piece)) for piece in pieces]  # type: ignore[arg-type]


def test_a_message_in_one_frame_is_itself() -> None:
    """Text and binary, one after the other."""
    assert take((WSMsgType.TEXT, True, b"a"), (WSMsgType.BINARY, True, b"b")) == [
        (WSMsgType.TEXT, b"a"),
        (WSMsgType.BINARY, b"b"),
    ]


def test_a_message_in_many_frames_is_one() -> None:
    """Of the kind that its first frame says."""
    parts = [
        (WSMsgType.BINARY, False, b"a"),
        (WSMsgType.CONTINUATION, False, b""),
        (WSMsgType.CONTINUATION, True, b"b"),
    ]
    assert take(*parts, *parts) == [None, None, (WSMsgType.BINARY, b"ab")] * 2


@pytest.mark.parametrize(
    "pieces",
    [
        [(WSMsgType.CONTINUATION, True, b"")],
        [(WSMsgType.TEXT, False, b""), (WSMsgType.TEXT, True, b"")],
        [(WSMsgType.BINARY, False, b""), (WSMsgType.BINARY, False, b"")],
    ],
)
def test_frames_that_do_not_follow_each_other_are_refused(pieces: list[tuple[WSMsgType, bool, bytes]]) -> None:
    """RFC 6455, 5.4."""
    with pytest.raises(RemoteProtocolError):
        take(*pieces)


def test_a_message_is_bounded_however_it_is_cut() -> None:
    """Before it is complete."""
    half = bytes(LIMIT_BYTES // 2)
    take((WSMsgType.BINARY, False, half), (WSMsgType.CONTINUATION, True, half))
    with pytest.raises(TooLong):
        take(
            (WSMsgType.BINARY, False, half),
            (WSMsgType.CONTINUATION, False, half),
            (WSMsgType.CONTINUATION, False, b"x"),
        )
