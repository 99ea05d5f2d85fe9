"""A shell or an interactive command in a terminal (AP 12.3): Standard_Stream and InteractiveCommands."""

from __future__ import annotations

import json
from collections.abc import Callable

from fleetward.agent.platforms.terminal import Terminal
from fleetward.agent.sessions.peer import OFFICIAL_FRAME_BYTES, Characters, Peer, pieces
from fleetward.protocol.frame import PayloadType

MOST_TYPED_BYTES = 256 * 1024
"""What may wait for the program to read it; then the client is held."""
MOST_CELLS = 10_000


class Shell:
    """One program in a terminal, whose output goes to the client and to `record`."""

    def __init__(self, terminal: Terminal, peer: Peer, record: Callable[[bytes], None], profile: str = "") -> None:
        self._terminal = terminal
        self._peer = peer
        self._record = record
        self._profile = profile
        self._characters = Characters()
        self._is_held = False
        self.exit_code: int | None = None
        """How the program ended, once it has."""

    async def run(self) -> None:
        """Type the profile first, then pass on what either side says, until the program ends."""
        self._terminal.begin(self._output, self._written)
        if self._profile:
            self._terminal.write(self._profile.encode() + b"\n")
        self.exit_code = await self._terminal.ended()
        self._pass_on(self._characters.rest())
        if self.exit_code is not None and not self._peer.is_official:
            self._peer.send(PayloadType.EXIT_CODE, f"EXIT_CODE: {self.exit_code}".encode())

    async def end(self) -> None:
        """Hang up."""
        await self._terminal.hang_up()

    def receive(self, payload_type: int, payload: bytes) -> None:
        """Keys, among them Ctrl-C as the byte it is, or a new size."""
        if payload_type == PayloadType.OUTPUT:
            self._terminal.write(payload)
            if self._terminal.backlog > MOST_TYPED_BYTES and not self._is_held:
                self._is_held = True
                self._peer.hold()
        elif payload_type == PayloadType.SIZE:
            size = read_size(payload)
            if size is not None:
                self._terminal.resize(*size)

    def on_room(self) -> None:
        """Read on."""
        self._terminal.resume()

    def _output(self, data: bytes) -> None:
        self._pass_on(self._characters.take(data))

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        self._record(data)
        if self._peer.is_official:
            for piece in pieces(data, OFFICIAL_FRAME_BYTES):
                self._peer.send(PayloadType.OUTPUT, piece)
        else:
            self._peer.send(PayloadType.OUTPUT, data)
        if not self._peer.has_room:
            self._terminal.pause()

    def _written(self) -> None:
        if self._is_held and self._terminal.backlog < MOST_TYPED_BYTES // 2:
            self._is_held = False
            self._peer.release()


def read_size(payload: bytes) -> tuple[int, int] | None:
    """Columns and rows of a size message; None for one that says nothing of use."""
    try:
        members = json.loads(payload)
        columns, rows = members["cols"], members["rows"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(isinstance(each, int) and 0 < each <= MOST_CELLS for each in (columns, rows)):
        return None
    return columns, rows
