"""Links: a node's way to the servers, as bad as networks are: slow, lossy, repeating, cut, half open."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from picows import WSCloseCode, WSMsgType

from fleetward.testing.clock import SECOND, SimClock


@dataclass(slots=True)
class Conditions:
    """How a link is at the moment."""

    delay: tuple[float, float] = (0.001, 0.03)
    """Seconds that a message takes, one way."""
    loss: float = 0.0
    """Share of messages that get lost without a trace."""
    answers_lost: float = 0.0
    """Share of what the node says that gets lost, while it still hears."""
    repeats: float = 0.0
    """Share of messages that arrive twice."""
    down: bool = False
    """Nothing connects, nothing passes."""


class Listener(Protocol):
    """The server's end of a websocket."""

    def on_ws_connected(self, transport: Any) -> None:
        """The upgrade is answered."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        """A message came."""

    def on_ws_disconnected(self, transport: Any) -> None:
        """The connection is gone."""


class Link:
    """One node's network. `happened` is told every fault that really hit a message."""

    def __init__(self, clock: SimClock, chance: random.Random, happened: Callable[[str], None]) -> None:
        self.clock = clock
        self.chance = chance
        self.happened = happened
        self.conditions = Conditions()
        self.socket: Socket | None = None

    def delay(self) -> float:
        """How long the next message takes, seconds."""
        return self.chance.uniform(*self.conditions.delay)

    def passes(self, *, up: bool) -> bool:
        """Whether the next message arrives; `up` is from the node to the server."""
        if self.conditions.down:
            return False
        loss = max(self.conditions.loss, self.conditions.answers_lost if up else 0.0)
        if loss and self.chance.random() < loss:
            self.happened("lost messages")
            return False
        return True

    def open(self, listener: Listener, node: NodeEnd) -> Socket:
        """A websocket to the server that listens; the node's former one, if any, is left as it is."""
        self.socket = Socket(self, listener, node)
        listener.on_ws_connected(self.socket)
        return self.socket

    def cut(self) -> None:
        """Both ends learn that the connection is gone; what was under way is lost."""
        if self.socket is not None:
            self.socket.cut()

    def fall_silent(self) -> None:
        """Nothing passes any more on this connection, and neither end is told."""
        if self.socket is not None:
            self.socket.silent = True


class NodeEnd(Protocol):
    """The node's end of a websocket."""

    def receive(self, socket: Socket, data: bytes) -> None:
        """A message came."""

    def lost(self, socket: Socket) -> None:
        """The connection is gone."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a listener is handed: the part of picows' frame that channels read."""

    msg_type: WSMsgType
    payload: bytes
    fin: bool = True

    def get_payload_as_bytes(self) -> bytes:
        """The payload of a binary message."""
        return self.payload

    def get_payload_as_utf8_text(self) -> str:
        """The payload of a text message."""
        return self.payload.decode()

    def get_close_code(self) -> WSCloseCode:
        """The code of a close message."""
        return WSCloseCode.OK


class Socket:
    """A websocket: the server's transport object, and what the node sends on. In order, unless it repeats or loses."""

    def __init__(self, link: Link, listener: Listener, node: NodeEnd) -> None:
        self.link = link
        self.listener: Listener | None = listener
        self.node: NodeEnd | None = node
        self.silent = False
        self.watch: Callable[[bytes], None] | None = None
        """Told every message that the server sends, at the moment it does."""
        self._last_down = self._last_up = 0

    # the server's side: what a channel does with its transport

    def send(self, message_type: WSMsgType, data: bytes) -> None:
        """Server to node."""
        if self.watch is not None:
            self.watch(data)
        for at in self._arrivals(self._last_down, up=False):
            self._last_down = at
            self.link.clock.at(at, self._to_node, data)

    def send_close(self, code: WSCloseCode) -> None:
        """The close message travels with the disconnection."""

    def send_ping(self, message: bytes | None = None) -> None:
        """The agent's own pings, which come every 54 s, are what tells the server that it lives."""

    def send_pong(self, message: bytes | None = None) -> None:
        """Nodes learn of a silent connection from the world."""

    def disconnect(self, graceful: bool = True) -> None:
        """The server closes; the node learns it when the news arrives."""
        self.link.clock.after(0, self._tell_server)
        if graceful and not self.silent:
            self.link.clock.after(self.link.delay(), self._tell_node)

    # the node's side

    def say(self, message_type: WSMsgType, data: bytes) -> None:
        """Node to server."""
        for at in self._arrivals(self._last_up, up=True):
            self._last_up = at
            self.link.clock.at(at, self._to_server, Message(message_type, data))

    def open_with(self, text: str) -> None:
        """The node's first message, as text; it is neither lost nor repeated: without it there is no channel."""
        self._last_up = self.link.clock.elapsed + round(self.link.delay() * SECOND)
        self.link.clock.at(self._last_up, self._to_server, Message(WSMsgType.TEXT, text.encode()))

    def ping(self) -> None:
        """The agent's keep-alive, if anything passes."""
        if self.listener is not None and self.node is not None and not (self.silent or self.link.conditions.down):
            self.listener.on_ws_frame(self, Message(WSMsgType.PING, b"keepalive"))

    def hang_up(self) -> None:
        """The node closes, or its process ends; the server learns it when the news arrives."""
        self.node = None
        if not self.silent and not self.link.conditions.down:
            self.link.clock.after(self.link.delay(), self._tell_server)
        self.silent = True

    # both

    def cut(self) -> None:
        """Both ends are told; what was under way is lost."""
        if not self.silent:
            self.link.clock.after(self.link.delay(), self._tell_server)
            self.link.clock.after(self.link.delay(), self._tell_node)
        self.silent = True

    def server_died(self, *, quietly: bool) -> None:
        """The server's process is gone; unless its whole machine went `quietly`, the node is told."""
        self.listener = None
        if not quietly and not self.silent:
            self.link.clock.after(self.link.delay(), self._tell_node)
        self.silent = True

    def _arrivals(self, last: int, *, up: bool) -> list[int]:
        """When a message sent now arrives: never, once, or twice; not before the one sent before it."""
        if self.silent or not self.link.passes(up=up):
            return []
        first = max(last, self.link.clock.elapsed + round(self.link.delay() * SECOND))
        if self.link.conditions.repeats and self.link.chance.random() < self.link.conditions.repeats:
            self.link.happened("repeated messages")
            return [first, first + round(self.link.delay() * SECOND)]
        return [first]

    def _to_node(self, data: bytes) -> None:
        if self.node is not None and not self.silent:
            self.node.receive(self, data)

    def _to_server(self, message: Message) -> None:
        if self.listener is not None and not self.silent:
            self.listener.on_ws_frame(self, message)

    def _tell_node(self) -> None:
        node, self.node = self.node, None
        if node is not None:
            node.lost(self)

    def _tell_server(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.on_ws_disconnected(self)
