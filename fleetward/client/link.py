"""One WebSocket to a control plane: TLS, proxies, pings that notice when the other end is gone without a word."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from fleetward.client.errors import Refused, Unreachable, plain

log = logging.getLogger("fleetward.client")

CONNECT_SECONDS = 15.0
LARGEST_MESSAGE_BYTES = 1024 * 1024
READ_BUFFER_BYTES = 512 * 1024


class Receiver(Protocol):
    """Who uses a link."""

    def received(self, message: memoryview, is_last: bool) -> None:
        """A binary message, to be read before returning; `is_last`: no other one is there to be read now."""

    def writable(self) -> None:
        """What was written has left: more may follow."""

    def lost(self) -> None:
        """The link broke or was closed; it says nothing more."""


class Link(WSListener):
    """An open WebSocket; made by `connect`."""

    def __init__(self, receiver: Receiver, quiet_seconds: float) -> None:
        self._receiver: Receiver | None = receiver
        self._quiet_seconds = quiet_seconds
        self._transport: WSTransport | None = None
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._has_heard = True
        self._is_quiet = False
        self._is_held = False
        self._timer: asyncio.TimerHandle | None = None
        self.is_writable = True
        self.is_lost = False

    def send_text(self, text: str) -> None:
        """Send a text message."""
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, text.encode())

    def send(self, messages: list[bytes]) -> None:
        """Send binary messages; on a connection that is closing they are lost, as it is."""
        assert self._transport is not None
        if messages and not self._transport.underlying_transport.is_closing():
            for message in messages:
                self._transport.send(WSMsgType.BINARY, message)

    def hold(self) -> None:
        """Read no more for now, so that the other end comes to wait."""
        if not self._is_held and self._transport is not None:
            self._is_held = True
            self._transport.underlying_transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_held and self._transport is not None:
            self._is_held = False
            self._has_heard = True
            self._transport.underlying_transport.resume_reading()

    def close(self) -> None:
        """Say goodbye and close; `lost` is not called any more."""
        self._receiver = None
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Of picows."""
        self._transport = transport
        self._ending = asyncio.ensure_future(_ended(transport))
        self._timer = asyncio.get_running_loop().call_later(self._quiet_seconds, self._look)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Of picows: a message, or a part of one."""
        self._has_heard = True
        if self._receiver is None or frame.payload_size > LARGEST_MESSAGE_BYTES:
            return
        if frame.msg_type == WSMsgType.BINARY and frame.fin:
            self._receiver.received(frame.get_payload_as_memoryview(), frame.last_in_buffer)
        elif frame.msg_type == WSMsgType.BINARY or frame.msg_type == WSMsgType.CONTINUATION:
            self._add_part(frame)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Of picows."""
        self.is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost()

    def pause_writing(self) -> None:
        """Of picows: the socket is full."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """Of picows."""
        self.is_writable = True
        if self._receiver is not None:
            self._receiver.writable()

    def _add_part(self, frame: WSFrame) -> None:
        part = frame.get_payload_as_bytes()
        self._parts.append(part)
        self._parts_bytes += len(part)
        if self._parts_bytes > LARGEST_MESSAGE_BYTES:
            self._parts.clear()
            self.abort()
        elif frame.fin and self._receiver is not None:
            whole = b"".join(self._parts)
            self._parts, self._parts_bytes = [], 0
            self._receiver.received(memoryview(whole), frame.last_in_buffer)

    def _look(self) -> None:
        """Whether anything was heard since the last look. While we do not read, nothing can be."""
        self._timer = asyncio.get_running_loop().call_later(self._quiet_seconds, self._look)
        if self._has_heard or self._is_held:
            self._has_heard = self._is_quiet = False
        elif self._is_quiet:
            self.abort()
        elif self._transport is not None:
            self._is_quiet = True
            self._transport.send_ping()


async def connect(
    url: str, receiver: Receiver, *, ca: str | None, quiet_seconds: float, seconds: float = CONNECT_SECONDS
) -> Link:
    """Open a WebSocket by a session's StreamUrl.

    `ca` is read anew each time, so that a renewed one counts. After `quiet_seconds` without a byte a ping is sent,
    after as many again the link counts as lost. Refused when the server says no, Unreachable when nobody answers
    within the time or with a certificate that is not trusted.
    """
    try:
        async with asyncio.timeout(seconds):
            _, link = await ws_connect(
                lambda: Link(receiver, quiet_seconds),
                url,
                ssl_context=ssl.create_default_context(cafile=ca) if url.startswith("wss:") else None,
                websocket_handshake_timeout=seconds,
                max_frame_size=LARGEST_MESSAGE_BYTES,
                read_buffer_init_size=READ_BUFFER_BYTES,
                max_redirects=0,
                use_aiofastnet=_is_of_asyncio(asyncio.get_running_loop()),
                logger_name=log,
                proxy=proxy_for(url),
            )
    except TimeoutError as fault:
        raise Unreachable(f"{_place(url)} did not answer within {seconds:.0f} s") from fault
    except Exception as fault:  # those of sockets, TLS, the WebSocket and of each kind of proxy
        raise _fault(url, fault) from fault
    if not isinstance(link, Link):  # none: it broke before it was handed over
        raise Unreachable(f"the connection to {_place(url)} broke at once")
    return link


def proxy_for(url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a WebSocket, if any."""
    parts = urlsplit(url)
    named = getproxies().get("https" if parts.scheme == "wss" else "http")
    if not named or proxy_bypass(parts.netloc):
        return None
    return named if "://" in named else f"http://{named}"


async def _ended(transport: WSTransport) -> None:
    """Take notice of what a connection ended with, so that asyncio does not complain that nobody did."""
    try:
        await transport.wait_disconnected()
    except Exception as fault:
        log.debug("the link ended: %s", fault)


def _fault(url: str, fault: Exception) -> Exception:
    response = getattr(fault, "response", None)
    if response is not None:
        body = (getattr(fault, "raw_body", None) or b"").decode(errors="replace").strip()
        status = int(response.status)
        return Refused("", f"{_place(url)} refused the stream with status {status} {body[:200]}".strip(), status)
    return Unreachable(plain(f"{_place(url)} cannot be reached: {fault}"))


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _is_of_asyncio(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether aiofastnet may be used: under other loops, uvloop's, it can leave a second connection unserved."""
    return type(loop).__module__.startswith("asyncio.")
