"""Messages: what a WebSocket's frames carry, put together and bounded."""

from __future__ import annotations

from picows import WSFrame, WSMsgType

from fleetward.protocol.errors import RemoteProtocolError

LIMIT_BYTES = 1024 * 1024
DATA_FRAMES = (WSMsgType.BINARY, WSMsgType.TEXT, WSMsgType.CONTINUATION)


class TooLong(RemoteProtocolError):
    """A message of more than `LIMIT_BYTES`."""


class Messages:
    """The messages of one connection: in one frame, or in several: official agents send 4 KiB a frame (gorilla)."""

    __slots__ = ("_data", "_kind")

    def __init__(self) -> None:
        self._kind: WSMsgType | None = None
        self._data = bytearray()

    def take(self, frame: WSFrame) -> tuple[WSMsgType, bytes] | None:
        """The message that a data frame completes, TEXT or BINARY; None while more frames are to come.

        Raises RemoteProtocolError for frames that do not follow each other, TooLong for a message over the limit.
        """
        kind = self._kind
        if (kind is not None) != (frame.msg_type == WSMsgType.CONTINUATION):
            raise RemoteProtocolError("the frames of a message do not follow each other")
        if kind is None:
            if frame.fin:
                return frame.msg_type, frame.get_payload_as_bytes()
            kind = self._kind = frame.msg_type
        self._data += frame.get_payload_as_bytes()
        if len(self._data) > LIMIT_BYTES:
            raise TooLong(f"a message may have {LIMIT_BYTES} bytes")
        if not frame.fin:
            return None
        data, self._data, self._kind = bytes(self._data), bytearray(), None
        return kind, data
