"""A fleet as a program sees it: sessions, commands and tunnels to its nodes.

async with client.connect() as fleet:                        # endpoint and keys of the AWS profile
    done = await fleet.run("mi-0123…", ["uname", "-r"])
    async with fleet.tunnel("mi-0123…", 5432) as address:
        connection = await asyncio.open_connection(*address)
    async with await fleet.start_session("mi-0123…") as shell:
        await shell.send(b"date; exit\n")
        while piece := await shell.receive():
            ...
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fleetward.client.api import Access, Api, access_of_profile
from fleetward.client.bridge import Bridge
from fleetward.client.channel import Started, Timing, in_thread
from fleetward.client.errors import ClientError, Misconfigured
from fleetward.client.session import Finished, Session
from fleetward.client.shell import Shell
from fleetward.client.terminal import require_posix
from fleetward.client.tunnel import Address, Tunnel
from fleetward.protocol.sigv4 import Credentials

COMMAND = "AWS-StartNonInteractiveCommand"
SSH = "AWS-StartSSHSession"
TO_NODE = "AWS-StartPortForwardingSession"
TO_HOST = "AWS-StartPortForwardingSessionToRemoteHost"
LOOPBACK = "127.0.0.1"
MOST_OUTPUT_BYTES = 64 * 1024 * 1024


def connect(
    endpoint: str | None = None,
    credentials: Credentials | Callable[[], Credentials] | None = None,
    *,
    region: str | None = None,
    ca: str | Path | None = None,
    timing: Timing | None = None,
) -> Fleet:
    """A control plane's fleet, for `async with`. Nothing is sent before the first call.

    `endpoint` (https://HOST:PORT), `credentials` and `region` are given together, or none of them: then the AWS
    environment variables and profile say them, as for `aws`. `credentials` may be a function, asked before each call.
    `ca` is a file of certificates to trust instead of the system's. Misconfigured when the profile does not lead to a
    control plane.
    """
    if endpoint is None and credentials is None and region is None:
        found = access_of_profile()
        access = Access(found.endpoint, found.region, found.credentials, str(ca) if ca else found.ca)
    elif endpoint is not None and credentials is not None and region is not None:
        ask = credentials if callable(credentials) else lambda: credentials
        access = Access(endpoint, region, ask, str(ca) if ca else None)
    else:
        raise Misconfigured("endpoint, credentials and region are given together, or none of them")
    return Fleet(Api(access), timing or Timing())


class Fleet:
    """The nodes of one account and region; made by `connect`.

    Every method may raise Refused (the control plane says no), Unreachable (it does not answer) and SessionFailed (the
    node does not come to a session).
    """

    def __init__(self, api: Api, timing: Timing) -> None:
        self._api = api
        self._timing = timing

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        return None

    async def start_session(
        self,
        node: str,
        *,
        document: str | None = None,
        parameters: Mapping[str, Sequence[str]] | None = None,
        reason: str = "",
    ) -> Session:
        """Open a shell, or what a document of type Session says; returns when the node is there."""
        session = Session(self._api, await self._start(node, document, parameters, reason), self._timing)
        await session.open()
        return session

    async def run(
        self,
        node: str,
        command: str | Sequence[str],
        *,
        document: str = COMMAND,
        reason: str = "",
        most_bytes: int = MOST_OUTPUT_BYTES,
    ) -> Finished:
        """Run one command on a node and wait for its end.

        The node's agent splits a string into words as a shell would, but no shell runs: what needs one is
        `["sh", "-c", "…"]`. `document` is of type NonInteractiveCommands with a parameter `command`. Standard error
        comes apart only where the document says so. SessionFailed when it prints more than `most_bytes`.
        """
        words = command if isinstance(command, str) else shlex.join(command)
        session = await self.start_session(node, document=document, parameters={"command": [words]}, reason=reason)
        async with session:
            return await session.collect(most_bytes)

    @asynccontextmanager
    async def tunnel(
        self,
        node: str,
        port: int,
        *,
        host: str | None = None,
        local_port: int = 0,
        bind: str = LOOPBACK,
        reason: str = "",
    ) -> AsyncIterator[Address]:
        """A local address that leads to a port of the node, or of a `host` that the node can reach.

        Connections live as long as the context; a connection that was lost to the server is made again meanwhile.
        """
        tunnel = await self.forward(node, port, host=host, reason=reason)
        address = await tunnel.open(bind, local_port)
        try:
            yield address
        finally:
            await tunnel.close()

    async def forward(
        self,
        node: str,
        port: int,
        *,
        host: str | None = None,
        reason: str = "",
        note: Callable[[str], None] = lambda text: None,
    ) -> Tunnel:
        """A tunnel that is to be opened and closed by its caller. `note` gets words for the operator: that the node
        could not connect, that the connection to the server is lost for a while."""
        parameters = {"portNumber": [str(port)], "localPortNumber": ["0"]}
        if host is not None:
            parameters["host"] = [host]
        started = await self._start(node, TO_NODE if host is None else TO_HOST, parameters, reason)
        return Tunnel(self._api, started, self._timing, note)

    async def shell(
        self,
        node: str,
        *,
        document: str | None = None,
        parameters: Mapping[str, Sequence[str]] | None = None,
        reason: str = "",
    ) -> int:
        """Run a shell at this process's terminal (POSIX); its exit code, where the node's agent tells."""
        require_posix()
        started = await self._start(node, document, parameters, reason)
        return await Shell(self._api, started, self._timing).run()

    async def proxy(self, node: str, port: int = 22, *, document: str = SSH, reason: str = "") -> None:
        """Join this process's standard input and output (POSIX) to a port of the node."""
        require_posix()
        started = await self._start(node, document, {"portNumber": [str(port)]}, reason)
        await Bridge(self._api, started, self._timing).run()

    async def terminate(self, session_id: str) -> None:
        """End a session, whoever opened it, if the caller's policies allow."""
        await in_thread(self._api.call, "AmazonSSM", "TerminateSession", {"SessionId": session_id})

    async def _start(
        self, node: str, document: str | None, parameters: Mapping[str, Sequence[str]] | None, reason: str
    ) -> Started:
        request: dict[str, Any] = {"Target": node}
        if document:
            request["DocumentName"] = document
        if parameters:
            request["Parameters"] = {name: list(values) for name, values in parameters.items()}
        if reason:
            request["Reason"] = reason
        answer = await in_thread(self._api.call, "AmazonSSM", "StartSession", request)
        try:
            started = Started(str(answer["SessionId"]), node, str(answer["TokenValue"]), str(answer["StreamUrl"]))
        except KeyError as fault:
            raise ClientError(f"the answer to StartSession lacks {fault}") from fault
        if self._api.access.endpoint.startswith("https:") and not started.url.startswith("wss:"):
            raise ClientError("the control plane names a stream without TLS, although it is called with TLS")
        return started
