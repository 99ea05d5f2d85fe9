"""A shell on a node in the operator's own terminal."""

from __future__ import annotations

import asyncio
import sys

from fleetward.client import terminal
from fleetward.client.api import Api
from fleetward.client.channel import Channel, Ending, Sink, Started, Timing
from fleetward.client.errors import plain
from fleetward.client.outage import Outage
from fleetward.client.session import read_exit_code, size_payload
from fleetward.client.terminal import Input, Output, Raw, Signals
from fleetward.protocol.data_channel.handshake import Completed
from fleetward.protocol.frame import PayloadType

CTRL_C = 0x03
CTRL_D = 0x04
END_AGAIN_SECONDS = 2.0
DRAIN_SECONDS = 10.0
HUNG_UP = 129


class Shell(Sink):
    """One program of a node at this process's standard input and output.

    Bytes go both ways as they are: Ctrl-C and its like are the node's. What the program prints drives the terminal,
    which is what it is for. Words of our own go to standard error.
    """

    def __init__(self, api: Api, started: Started, timing: Timing) -> None:
        self._channel = Channel(api, started, self, timing)
        self._raw = Raw(sys.stdin.fileno())
        self._input = Input(sys.stdin.fileno(), self._typed, self._end_input)
        self._output = Output(sys.stdout.fileno(), self._channel.hold, self._channel.release, self._nobody_reads)
        self._notes = Output(sys.stderr.fileno(), self._channel.hold, self._channel.release)
        self._waiting: list[bytes] = []
        self._size: tuple[int, int] | None = None
        self._exit_code: int | None = None
        self._outage = Outage(
            lambda: self._say("\n[fleetward: the connection is lost, trying again; Ctrl-C gives up]\n"),
            lambda: self._say("[fleetward: connected again]\n"),
        )
        self._is_open = False
        self._is_told = False
        """Whether the agent tells how programs end: ours does."""

    async def run(self) -> int:
        """Until the program ends; its exit code, or 1 when the session ended before it.

        Official agents tell neither: then 0. SessionFailed when the node does not come.
        """
        self._say(f"\nStarting session with SessionId: {plain(self._channel.started.session_id)}\n")
        signals = Signals(
            interrupted=self._interrupt, ended=self._hang_up, resized=self._resize, continued=self._raw.resume
        )
        try:
            with signals:
                await self._channel.open()
                ending = await self._channel.wait()
                self._input.close()
                await self._output.drain(DRAIN_SECONDS)
                self._say_farewell(ending)
                await self._notes.drain(DRAIN_SECONDS)
        finally:
            self._input.close()
            self._raw.restore()
            self._notes.close()
            self._output.close()
        if self._exit_code is not None:
            return self._exit_code & 0xFF
        return int(ending.is_failure or self._is_told)

    # -- what the operator does --------------------------------------------------------------------------------------

    def _typed(self, data: bytes) -> None:
        if self._outage.is_told and CTRL_C in data:
            self._channel.abandon("given up while the connection was lost")
            return
        self._channel.send(PayloadType.OUTPUT, data)
        if not self._channel.has_room:
            self._input.hold()

    def _end_input(self) -> None:
        """Input that ends, ends the program as Ctrl-D does; and then the shell below it, if that was not all."""
        if self._channel.ending is None:
            self._channel.send(PayloadType.OUTPUT, bytes([CTRL_D]))
            asyncio.get_running_loop().call_later(END_AGAIN_SECONDS, self._end_input)

    def _interrupt(self) -> None:
        """Ctrl-C at a terminal that is not raw: before the node is there, or without input from a terminal."""
        if self._is_open:
            self._typed(bytes([CTRL_C]))
        else:
            self._channel.abandon("interrupted")

    def _resize(self) -> None:
        size = terminal.size(sys.stdout.fileno())
        if self._is_open and size != self._size:
            self._size = size
            self._channel.send(PayloadType.SIZE, size_payload(*size))

    def _hang_up(self) -> None:
        self._exit_code = HUNG_UP
        self._channel.abandon("this program was told to end")

    def _nobody_reads(self) -> None:
        self._channel.abandon("standard output was closed")

    # -- what the session tells --------------------------------------------------------------------------------------

    def opened(self, session: Completed) -> None:
        """Of Sink."""
        if session.session_type == "Port":
            self._channel.abandon("the document forwards a port: use fleetward tunnel or ssh-proxy")
            return
        if session.customer_message:
            self._say(plain(session.customer_message) + "\n")
        self._is_open = True
        self._is_told = session.terms is not None
        self._raw.begin()
        self._resize()
        self._input.start()

    def received(self, payload_type: int, payload: bytes) -> None:
        """Of Sink: what comes together is written at once."""
        if payload_type == PayloadType.OUTPUT:
            self._waiting.append(payload)
        elif payload_type == PayloadType.STANDARD_ERROR:
            self.flush()
            self._notes.write(payload)
        elif payload_type == PayloadType.EXIT_CODE:
            self._exit_code = read_exit_code(payload)

    def flush(self) -> None:
        """Of Sink."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._output.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))

    def room(self) -> None:
        """Of Sink."""
        self._input.start()

    def away(self) -> None:
        """Of Sink."""
        self._outage.begin()

    def back(self) -> None:
        """Of Sink."""
        self._outage.end()

    def ended(self, ending: Ending) -> None:
        """Of Sink."""
        self._outage.forget()

    def _say_farewell(self, ending: Ending) -> None:
        session_id = plain(self._channel.started.session_id)
        if ending.reason:
            self._say(f"\n\nSessionId: {session_id} : {plain(ending.reason)}\n\n")
        else:
            self._say(f"\n\nExiting session with sessionId: {session_id}.\n\n")

    def _say(self, text: str) -> None:
        """Words of our own; a raw terminal wants its carriage returns."""
        self._notes.write((text.replace("\n", "\r\n") if self._raw.is_raw else text).encode())
