"""The client's half of a WebSocket (RFC 6455): masked frames out, fragments, pings and closes in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from fleetward.agent.http import Connection, HttpFault, Url, connect
from fleetward.protocol.errors import RemoteProtocolError

LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024
HANDSHAKE_SECONDS = 15.0
_ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, its fragments put together; control frames are messages of their own."""

    opcode: Opcode
    data: bytes


class Upgradeless(Exception):
    """The answer was no switch to the WebSocket protocol; `status` is what came instead."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"the WebSocket was refused with status {status}")
        self.status = status
        self.body = body


class Decoder:
    """Turns received bytes into messages; RemoteProtocolError for what a server may not send."""

    def __init__(self, largest: int = LARGEST_MESSAGE_BYTES) -> None:
        self._largest = largest
        self._received = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._opcode = Opcode.CONTINUATION

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes."""
        self._received += data
        messages = []
        while (message := self._next()) is not None:
            if message:
                messages.append(message[0])
        return messages

    def _next(self) -> tuple[Message, ...] | None:
        """One frame: a message, an empty tuple for a fragment, None when more bytes are needed."""
        head = self._head()
        if head is None:
            return None
        start, length, opcode, is_last = head
        if len(self._received) < start + length:
            return None
        payload = bytes(self._received[start : start + length])
        del self._received[: start + length]
        if opcode >= Opcode.CLOSE:
            return (Message(opcode, payload),)
        return self._assemble(opcode, payload, is_last)

    def _head(self) -> tuple[int, int, Opcode, bool] | None:
        received = self._received
        if len(received) < 2:
            return None
        length = received[1] & 0x7F
        start = {126: 4, 127: 10}.get(length, 2)
        if len(received) < start:
            return None
        if start > 2:
            length = int.from_bytes(received[2:start], "big")
        is_last = bool(received[0] & 0x80)
        try:
            opcode = Opcode(received[0] & 0x0F)
        except ValueError:
            raise RemoteProtocolError("a WebSocket frame of an unknown kind") from None
        if received[0] & 0x70 or received[1] & 0x80:
            raise RemoteProtocolError("a WebSocket frame with reserved bits, or masked by a server")
        if opcode >= Opcode.CLOSE and (length > 125 or not is_last):
            raise RemoteProtocolError("a WebSocket control frame that is long or in fragments")
        if self._size + length > self._largest:
            raise RemoteProtocolError(f"a WebSocket message of more than {self._largest} bytes")
        return start, length, opcode, is_last

    def _assemble(self, opcode: Opcode, payload: bytes, is_last: bool) -> tuple[Message, ...]:
        if (opcode is Opcode.CONTINUATION) != bool(self._parts):
            raise RemoteProtocolError("WebSocket fragments out of order")
        if opcode is not Opcode.CONTINUATION:
            self._opcode = opcode
        self._parts.append(payload)
        self._size += len(payload)
        if not is_last:
            return ()
        message = Message(self._opcode, b"".join(self._parts))
        self._parts.clear()
        self._size = 0
        return (message,)


def encode(opcode: Opcode, data: bytes, mask: bytes) -> bytes:
    """One whole client frame, masked with 4 random bytes."""
    length = len(data)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 65536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + length.to_bytes(8, "big")
    return head + mask + _masked(data, mask)


def _masked(data: bytes, mask: bytes) -> bytes:
    length = len(data)
    keys = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "big") ^ int.from_bytes(keys, "big")).to_bytes(length, "big")


class WebSocket:
    """An open WebSocket. `receive` answers pings by itself and tells of closes with None."""

    def __init__(self, connection: Connection, early: bytes = b"") -> None:
        self._connection = connection
        self._decoder = Decoder()
        self._waiting: list[Message] = self._decoder.feed(early)

    async def receive(self) -> Message | None:
        """The next text, binary or pong message; None when the other side has closed."""
        while True:
            while self._waiting:
                message = self._waiting.pop(0)
                if message.opcode is Opcode.PING:
                    await self.send(Opcode.PONG, message.data)
                elif message.opcode is Opcode.CLOSE:
                    await self.send(Opcode.CLOSE, message.data[:2])
                    return None
                else:
                    return message
            data = await self._connection.reader.read(64 * 1024)
            if not data:
                return None
            self._waiting = self._decoder.feed(data)

    async def send(self, opcode: Opcode, data: bytes) -> None:
        """Send one message; ConnectionError when that is no longer possible."""
        if self._connection.writer.is_closing():
            raise ConnectionResetError("the WebSocket is closed")
        self._connection.writer.write(encode(opcode, data, os.urandom(4)))
        await self._connection.writer.drain()

    def drop(self) -> None:
        """Drop the connection without a word."""
        self._connection.close()

    async def close(self) -> None:
        """Say goodbye (1000) and drop the connection."""
        try:
            async with asyncio.timeout(2):
                await self.send(Opcode.CLOSE, (1000).to_bytes(2, "big"))
        except (OSError, TimeoutError):
            pass
        self._connection.close()


async def open_websocket(
    url: Url, target: str, sign: Callable[[], Mapping[str, str]], trust: ssl.SSLContext | None
) -> WebSocket:
    """Open a WebSocket at `target`; `sign` gives the headers of the upgrade, Host among them.

    HttpFault without a connection, Upgradeless when the server answers anything but the upgrade.
    """
    connection = await connect(url, trust)
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await _upgrade(connection, url, target, sign())
    except TimeoutError:
        connection.close()
        raise HttpFault(f"no WebSocket with {url.host_header} within {HANDSHAKE_SECONDS:.0f} s") from None
    except (OSError, ssl.SSLError) as error:
        connection.close()
        raise HttpFault(f"no WebSocket with {url.host_header}: {error}") from error
    except BaseException:
        connection.close()
        raise
    return WebSocket(connection)


async def _upgrade(connection: Connection, url: Url, target: str, headers: Mapping[str, str]) -> None:
    key = base64.b64encode(os.urandom(16))
    sent = {
        **headers,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key.decode(),
    }
    if connection.proxy is not None and url.scheme == "http":
        target = f"http://{url.host_header}{target}"
        if connection.proxy.authorization:
            sent["Proxy-Authorization"] = connection.proxy.authorization
    await connection.write_head("GET", target, sent)
    status, answered = await connection.read_head()
    if status != 101:
        pieces = [piece async for piece in connection.read_body(answered, 64 * 1024)]
        raise Upgradeless(status, b"".join(pieces))
    accept = base64.b64encode(hashlib.sha1(key + _ACCEPT_SALT, usedforsecurity=False).digest()).decode()
    upgraded = answered.get("upgrade", "").lower() == "websocket"
    if not upgraded or answered.get("sec-websocket-accept") != accept or "sec-websocket-extensions" in answered:
        raise HttpFault("the answer to the WebSocket's upgrade is not one")
