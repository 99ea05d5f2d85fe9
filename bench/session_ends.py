"""Session ends: the process that plays a node and many clients on one server; told by lines what to do.

Each line of standard input is a JSON object; `do` names a method of Ends, the rest are its arguments. Its answer is a
line of JSON. The ends are real sockets with TLS; the frames on them are made once (bench/session_load.py).
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.limits import raise_limits
from bench.session_load import End, Pair, echo, flood, flood_raw, paced
from fleetward.protocol import sigv4
from fleetward.protocol.control_channel import AgentControlChannel, SessionRequested
from fleetward.protocol.data_channel.opening import agent_open_message, client_open_message
from fleetward.protocol.sigv4 import Credentials
from fleetward.testing.virtual_fleet import VirtualFleet

AT_ONCE = 20
AGENT_VERSION = "3.3.0.0"
CLIENT_VERSION = "1.2.0.0"


class Node(WSListener):
    """A node whose only work is to open its end of every session it is asked for."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.node_id, _, key_id, secret, token = config["node"]
        self._credentials = Credentials(key_id, secret, token)
        self._fleet = VirtualFleet(config["endpoint"], ca_file=Path(config["ca"]))
        self._base = config["endpoint"].replace("https", "wss", 1)
        self._protocol = AgentControlChannel()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.ends: dict[str, asyncio.Future[End]] = {}

    async def connect(self) -> None:
        """Open the control channel."""
        token = await self._token(f"/v1/control-channel/{self.node_id}")
        transport = await self._socket(f"/v1/control-channel/{self.node_id}", "role=subscribe&stream=input", self)
        opening = self._protocol.open_message(token, AGENT_VERSION, "linux", str(uuid.uuid4()))
        transport.send(WSMsgType.TEXT, opening.encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """What the server asks for."""
        if frame.msg_type == WSMsgType.BINARY:
            event = self._protocol.receive_frame(frame.get_payload_as_bytes())
            if isinstance(event, SessionRequested):
                task = asyncio.create_task(self._open_end(event.session_id))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def end(self, session_id: str) -> asyncio.Future[End]:
        """The node's end of a session, once it is open."""
        return self.ends.setdefault(session_id, asyncio.get_running_loop().create_future())

    async def _open_end(self, session_id: str) -> None:
        try:
            async with self._gate:
                path = f"/v1/data-channel/{session_id}"
                token = await self._token(path)
                end = End(agent_open_message(token, self.node_id, str(uuid.uuid4())), is_node=True)
                await self._socket(path, "role=publish_subscribe", end)
            self.end(session_id).set_result(end)
        except Exception as fault:
            self.end(session_id).set_exception(fault)

    async def _token(self, path: str) -> str:
        def sign(headers: dict[str, str], body: bytes) -> dict[str, str]:
            return self._signed("POST", path, "", headers, body)

        request = {"MessageSchemaVersion": "1.0", "RequestId": str(uuid.uuid4())}
        answer = (await self._fleet.call("127.0.0.1", "", request, sign, path)).decode()
        return answer.partition("<TokenValue>")[2].partition("</TokenValue>")[0]

    async def _socket(self, path: str, query: str, listener: WSListener) -> WSTransport:
        headers = {"Host": self._fleet.authority}
        headers |= self._signed("GET", path, query, headers, b"")
        url = f"{self._base}{path}?{query}"
        transport, _ = await ws_connect(
            lambda: listener, url, ssl_context=self._fleet.tls, extra_headers=headers, max_frame_size=1 << 20
        )
        return transport

    def _signed(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        return sigv4.sign_headers(
            self._credentials, method=method, url_path=path, query=query, headers=headers, body=body,
            region="us-east-1", service="ssmmessages", now=datetime.now(UTC),
        )  # fmt: skip


class Ends:
    """The node, and the pairs of ends that are open."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._tls = ssl.create_default_context(cafile=config["ca"])
        self._node = Node(config)
        self._pairs: dict[str, list[Pair]] = {}

    async def connect(self) -> int:
        """Have the node connect."""
        await self._node.connect()
        return 1

    async def open(self, name: str, openings: list[dict[str, str]]) -> int:
        """Open both ends of these sessions (answers of StartSession), and call them `name`."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(opening: dict[str, str]) -> Pair:
            message = client_open_message(opening["TokenValue"], str(uuid.uuid4()), CLIENT_VERSION, str(uuid.uuid4()))
            async with gate:
                client = await self._end(opening["StreamUrl"], message)
            return Pair(client, await self._node.end(opening["SessionId"]))

        return await self._keep(name, await asyncio.gather(*(one(opening) for opening in openings)))

    async def open_bare(self, name: str, url: str, count: int) -> int:
        """Open pairs at a bare relay."""

        async def one(number: int) -> Pair:
            client = await self._end(f"{url}/{name}-{number}/a", None)
            return Pair(client, await self._end(f"{url}/{name}-{number}/b", None))

        return await self._keep(name, [await one(number) for number in range(count)])

    async def _keep(self, name: str, pairs: list[Pair]) -> int:
        await asyncio.gather(*(pair.until_joined() for pair in pairs))
        self._pairs[name] = pairs
        return len(pairs)

    async def _end(self, url: str, opening: str | None) -> End:
        end = End(opening, is_node=False)
        tls = self._tls if urlsplit(url).scheme == "wss" else None
        await ws_connect(lambda: end, url, ssl_context=tls, max_frame_size=1 << 20)
        return end

    async def close(self, name: str) -> int:
        """Close these pairs."""
        for pair in self._pairs.pop(name):
            pair.close()
        await asyncio.sleep(0.1)
        return 0

    async def echo(self, name: str, seconds: float, every: float) -> dict[str, float]:
        """Keys typed and echoed: milliseconds."""
        return await echo(self._pairs[name], seconds, every)

    async def paced(self, name: str, seconds: float, count: int, both: bool = True) -> dict[str, float]:
        """Frames at the pace of official ends through the first `count` pairs."""
        return await paced(self._pairs[name][:count], seconds, both=both)

    async def flood(self, name: str, seconds: float, frame: int) -> float:
        """As many frames as go through the first pair, one way: bytes of payload a second."""
        return await flood(self._pairs[name][0], seconds, frame)

    async def flood_raw(self, into: int, out_of: int, seconds: float, frame: int) -> float:
        """The same bytes through a relay of plain TLS connections that listens on `into` and connects to `out_of`."""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(self._config["certificate"], self._config["key"])
        return await flood_raw(into, out_of, (self._tls, server), seconds, frame)


async def main(file: Path) -> None:
    """Do what is said until standard input ends."""
    ends = Ends(json.loads(file.read_text()))
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        arguments = json.loads(line)
        command = getattr(ends, arguments.pop("do"))
        print(json.dumps(await command(**arguments)), flush=True)


if __name__ == "__main__":
    raise_limits()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
