"""Many connections in one byte stream: smux version 1, as port sessions carry it in payloads of type 1.

```
| version, u8 = 1 | command, u8 | length, u16 | stream id, u32 |  payload      (little-endian)
```

Commands are SYN 0, FIN 1, PSH 2, NOP 3; only PSH has a payload. The client's stream ids are odd, the agent's even. FIN
ends one direction: data may still come until the peer's own FIN, which an official end sends at once. Ours: a second
FIN says that nobody reads any more either, which official ends pass over. Keep-alive NOPs are passed over and never
sent. Version 1 has no window of its own; the stream below has. Source: agent protocol reference, section 14.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

MOST_STREAMS = 1024
"""Open at one time; as many as an official end lets wait to be accepted."""

_HEADER = struct.Struct("<BBHI")
_VERSION = 1
_SYN, _FIN, _PSH, _NOP = range(4)
_FRAME_BYTES = 32768
_LARGEST_ID = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of one stream."""

    stream_id: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer sends no more on this stream; `close` it too, or go on sending."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The peer neither sends nor reads on this stream; it is gone here too."""

    stream_id: int


MuxEvent = Opened | Data | Closed | Reset


@dataclass(slots=True)
class _Stream:
    closed_here: bool = False
    closed_there: bool = False


@dataclass(slots=True)
class _Parts:
    """The payloads of one stream that follow each other, not yet joined."""

    stream_id: int
    parts: list[memoryview]


_Found = Opened | Closed | Reset | _Parts


class Mux:
    """One end; streams have odd ids when the client opened them, even ones when the agent did."""

    def __init__(self, is_client: bool) -> None:
        self._streams: dict[int, _Stream] = {}
        self._last_id = 1 if is_client else 0
        self._header = b""
        self._payload_of: int | None = None
        self._unread = 0

    def open(self) -> tuple[int, bytes]:
        """A new stream's id, and the bytes that tell the peer."""
        if len(self._streams) >= MOST_STREAMS:
            raise LocalProtocolError(f"{MOST_STREAMS} streams are open, which is all that may be")
        if self._last_id + 2 > _LARGEST_ID:
            raise LocalProtocolError("all stream ids are used: open another session")
        self._last_id += 2
        self._streams[self._last_id] = _Stream()
        return self._last_id, _HEADER.pack(_VERSION, _SYN, 0, self._last_id)

    def send(self, stream_id: int, payload: bytes | memoryview) -> bytes:
        """The bytes that carry a payload of any size."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.closed_here:
            raise LocalProtocolError(f"stream {stream_id} is not open to be sent on")
        view = memoryview(payload)
        parts: list[bytes | memoryview] = []
        for start in range(0, len(view), _FRAME_BYTES):
            part = view[start : start + _FRAME_BYTES]
            parts += (_HEADER.pack(_VERSION, _PSH, len(part), stream_id), part)
        return b"".join(parts)

    def close(self, stream_id: int) -> bytes:
        """The bytes that tell the peer that no more is sent; none when it was told or the stream is gone."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.closed_here:
            return b""
        stream.closed_here = True
        self._forget_if_done(stream_id, stream)
        return _HEADER.pack(_VERSION, _FIN, 0, stream_id)

    def reset(self, stream_id: int) -> bytes:
        """The bytes that tell the peer that nobody sends or reads here; what still comes is passed over."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return b""
        end = _HEADER.pack(_VERSION, _FIN, 0, stream_id)
        return end if stream.closed_here else end + end

    def receive(self, data: bytes | memoryview) -> list[MuxEvent]:
        """What the bytes say; frames may be cut anywhere, and a payload is told as far as it has come."""
        view = memoryview(data)
        found: list[_Found] = []
        while view:
            view = self._read_payload(view, found) if self._unread else self._read_header(view, found)
        return [Data(one.stream_id, b"".join(one.parts)) if isinstance(one, _Parts) else one for one in found]

    def _read_payload(self, view: memoryview, found: list[_Found]) -> memoryview:
        part, rest = view[: self._unread], view[self._unread :]
        self._unread -= len(part)
        if self._payload_of is None:
            return rest
        last = found[-1] if found else None
        if isinstance(last, _Parts) and last.stream_id == self._payload_of:
            last.parts.append(part)
        else:
            found.append(_Parts(self._payload_of, [part]))
        return rest

    def _read_header(self, view: memoryview, found: list[_Found]) -> memoryview:
        missing = _HEADER.size - len(self._header)
        self._header += view[:missing]
        if len(self._header) == _HEADER.size:
            version, command, length, stream_id = _HEADER.unpack(self._header)
            self._header = b""
            if version != _VERSION:
                raise RemoteProtocolError(f"smux is spoken in version {_VERSION}, not {version}")
            self._command(command, length, stream_id, found)
        return view[missing:]

    def _command(self, command: int, length: int, stream_id: int, found: list[_Found]) -> None:
        stream = self._streams.get(stream_id)
        if command == _PSH:
            self._payload_of = None if stream is None or stream.closed_there else stream_id
            self._unread = length
        elif length or command not in (_SYN, _FIN, _NOP):
            raise RemoteProtocolError(f"smux has no command {command} with a payload of {length} bytes")
        elif command == _SYN and stream is None:
            self._accept(stream_id)
            found.append(Opened(stream_id))
        elif command == _FIN and stream is not None:
            found.append(self._end(stream_id, stream))

    def _end(self, stream_id: int, stream: _Stream) -> Closed | Reset:
        if stream.closed_there:
            del self._streams[stream_id]
            return Reset(stream_id)
        stream.closed_there = True
        self._forget_if_done(stream_id, stream)
        return Closed(stream_id)

    def _accept(self, stream_id: int) -> None:
        if stream_id % 2 == self._last_id % 2:
            raise RemoteProtocolError(f"stream {stream_id} has an id that this side gives")
        if len(self._streams) >= MOST_STREAMS:
            raise RemoteProtocolError(f"more than {MOST_STREAMS} streams are open")
        self._streams[stream_id] = _Stream()

    def _forget_if_done(self, stream_id: int, stream: _Stream) -> None:
        if stream.closed_here and stream.closed_there:
            del self._streams[stream_id]
