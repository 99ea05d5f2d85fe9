"""One raw connection to a node's port at this process's standard input and output, for OpenSSH's ProxyCommand."""

from __future__ import annotations

import asyncio
import sys

from fleetward.client.api import Api
from fleetward.client.channel import Channel, Ending, Sink, Started, Timing
from fleetward.client.errors import SessionFailed
from fleetward.client.terminal import Input, Output, Signals
from fleetward.protocol.data_channel.flags import PortFlag, read_flag
from fleetward.protocol.data_channel.handshake import Completed
from fleetward.protocol.frame import PayloadType

DRAIN_SECONDS = 10.0


class Bridge(Sink):
    """Standard input goes to the port, what the port sends goes to standard output; nothing else is written there."""

    def __init__(self, api: Api, started: Started, timing: Timing) -> None:
        self._channel = Channel(api, started, self, timing)
        self._input = Input(sys.stdin.fileno(), self._typed, self._no_more)
        self._output = Output(sys.stdout.fileno(), self._channel.hold, self._channel.release, self._no_more)
        self._waiting: list[bytes] = []
        self._is_over = asyncio.Event()
        self._fault = ""

    async def run(self) -> None:
        """Until either side has ended; SessionFailed when the port cannot be reached or the session fails."""
        try:
            with Signals(interrupted=self._no_more, ended=self._no_more):
                await self._channel.open()
                await self._is_over.wait()
                self._input.close()
                await self._channel.leave()
                await self._output.drain(DRAIN_SECONDS)
        finally:
            self._input.close()
            self._output.close()
        ending = self._channel.ending
        if self._fault or (ending is not None and ending.is_failure):
            raise SessionFailed(self._fault or (ending.reason if ending else ""))

    def _typed(self, data: bytes) -> None:
        self._channel.send(PayloadType.OUTPUT, data)
        if not self._channel.has_room:
            self._input.hold()

    def _no_more(self) -> None:
        self._is_over.set()

    def opened(self, session: Completed) -> None:
        """Of Sink."""
        properties = session.properties if isinstance(session.properties, dict) else {}
        if session.session_type != "Port" or properties.get("type"):
            self._channel.abandon("the document does not carry one raw connection, as AWS-StartSSHSession does")
            return
        self._input.start()

    def received(self, payload_type: int, payload: bytes) -> None:
        """Of Sink: what comes together is written at once."""
        if payload_type == PayloadType.OUTPUT:
            self._waiting.append(payload)
        elif payload_type == PayloadType.FLAG and read_flag(payload) is PortFlag.CONNECT_TO_PORT_ERROR:
            self._fault = "the node could not connect to the port"
            self._is_over.set()

    def flush(self) -> None:
        """Of Sink."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._output.write(waiting[0] if len(waiting) == 1 else b"".join(waiting))

    def room(self) -> None:
        """Of Sink."""
        self._input.start()

    def ended(self, ending: Ending) -> None:
        """Of Sink."""
        self._is_over.set()
