"""Upgrades: authenticate and authorize a WebSocket before it is answered, and choose who listens to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from picows import WSListener

from fleetward.server.call import Context, service_context
from fleetward.server.edge.channels import Channels
from fleetward.server.edge.connection import Rejection
from fleetward.server.edge.data_channels import DataChannels
from fleetward.server.edge.echo import PATH as ECHO
from fleetward.server.edge.echo import Echo
from fleetward.server.edge.http import App
from fleetward.server.edge.pipeline import Exchange, Pipeline, Response
from fleetward.server.errors import UnknownOperationException, ValidationException
from fleetward.server.keys import KeyRing
from fleetward.server.ssmmessages import token_opens

CONTROL = "/v1/control-channel/"
DATA = "/v1/data-channel/"
LONGEST_SESSION_ID = 96


class Upgrades:
    """Decides about upgrade requests."""

    def __init__(
        self, *, app: App, pipeline: Pipeline, channels: Channels, data_channels: DataChannels, keys: KeyRing
    ) -> None:
        self._app = app
        self._pipeline = pipeline
        self._channels = channels
        self._data_channels = data_channels
        self._keys = keys

    async def __call__(self, scope: dict[str, Any]) -> WSListener | Rejection:
        """A listener for the socket, or the HTTP answer that refuses it."""
        raw_path, _, query = scope["url"].partition(b"?")
        exchange = self._app.exchange(
            {
                "method": scope["method"],
                "raw_path": raw_path,
                "query_string": query,
                "headers": scope["headers"],
                "client": scope["client"],
                "scheme": scope["scheme"],
                "fleetward.connection": scope["connection"],
            },
            _no_body,
        )
        if not self._app.knows(exchange.headers.get("host", "")):
            return Rejection(421, "text/plain", b"This server does not answer to that host name; see --name.\n")
        listeners: list[WSListener] = []

        async def open_channel(exchange: Exchange) -> Response:
            listeners.append(await self._listener(exchange))
            return Response(101, (), b"")

        response = await self._pipeline.conclude(exchange, open_channel)
        if listeners:
            return listeners[0]
        return Rejection(response.status, dict(response.headers).get("content-type", "text/plain"), response.body)

    async def _listener(self, exchange: Exchange) -> WSListener:
        if not exchange.path.startswith((CONTROL, DATA)) and exchange.path != ECHO:
            raise UnknownOperationException("There is no WebSocket at this path.")
        if (
            exchange.headers.get("sec-websocket-version") != "13"
            or len(exchange.headers.get("sec-websocket-key", "")) != 24
        ):
            raise ValidationException("The upgrade needs Sec-WebSocket-Version 13 and a Sec-WebSocket-Key.")
        if exchange.path.startswith(DATA):
            return await self._end_of_session(exchange)
        if exchange.path == ECHO:
            await self._pipeline.enter(exchange, "sts", "GetCallerIdentity")  # open to whoever signs
            return Echo()
        await self._pipeline.enter(exchange, "ssmmessages", "OpenControlChannel")
        node_id = exchange.path.removeprefix(CONTROL)
        exchange.request = {"ChannelId": node_id}
        await self._pipeline.run(exchange)
        context = _kept(exchange)
        return self._channels.listener(context, self._token_check(context.account, node_id))

    async def _end_of_session(self, exchange: Exchange) -> WSListener:
        """A node signs for its end; a client signs nothing, and proves itself by the token in its first message."""
        session_id = unquote(exchange.path.removeprefix(DATA))
        if not 0 < len(session_id) <= LONGEST_SESSION_ID or not session_id.isprintable() or "/" in session_id:
            raise ValidationException("The path of a data channel ends with the session's id.")
        if "authorization" not in exchange.headers and "X-Amz-Signature" not in exchange.query:
            home = service_context(self._pipeline.account, self._pipeline.regions[0])
            return self._data_channels.client_end(session_id, home, exchange.mark_authenticated)
        await self._pipeline.enter(exchange, "ssmmessages", "OpenDataChannel")
        exchange.request = {"SessionId": session_id}
        await self._pipeline.run(exchange)
        return self._data_channels.node_end(_kept(exchange), session_id)

    def _token_check(self, account: str, node_id: str) -> Callable[[str], bool]:
        return lambda token: token_opens(self._keys, token, account, node_id)


def _kept(exchange: Exchange) -> Context:
    """The context of an upgrade as its channel keeps it: what holds for one request is not kept for days."""
    assert exchange.context is not None
    caller = replace(exchange.context.caller, context={})
    return replace(exchange.context, caller=caller, user_agent="", session_token="")


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}
