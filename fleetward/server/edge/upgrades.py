"""Upgrades: authenticate and authorize a WebSocket before it is answered, and choose who listens to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from picows import WSListener

from fleetward.server.edge.channels import Channels
from fleetward.server.edge.connection import Rejection
from fleetward.server.edge.echo import PATH as ECHO
from fleetward.server.edge.echo import Echo
from fleetward.server.edge.http import App
from fleetward.server.edge.pipeline import Exchange, Pipeline, Response
from fleetward.server.errors import UnknownOperationException, ValidationException
from fleetward.server.keys import KeyRing
from fleetward.server.ssmmessages import token_opens

CONTROL = "/v1/control-channel/"


class Upgrades:
    """Decides about upgrade requests."""

    def __init__(self, *, app: App, pipeline: Pipeline, channels: Channels, keys: KeyRing) -> None:
        self._app = app
        self._pipeline = pipeline
        self._channels = channels
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
        if not exchange.path.startswith(CONTROL) and exchange.path != ECHO:
            raise UnknownOperationException("There is no WebSocket at this path.")
        if (
            exchange.headers.get("sec-websocket-version") != "13"
            or len(exchange.headers.get("sec-websocket-key", "")) != 24
        ):
            raise ValidationException("The upgrade needs Sec-WebSocket-Version 13 and a Sec-WebSocket-Key.")
        if exchange.path == ECHO:
            await self._pipeline.enter(exchange, "sts", "GetCallerIdentity")  # open to whoever signs
            return Echo()
        await self._pipeline.enter(exchange, "ssmmessages", "OpenControlChannel")
        node_id = exchange.path.removeprefix(CONTROL)
        exchange.request = {"ChannelId": node_id}
        await self._pipeline.run(exchange)
        assert exchange.context is not None
        caller = replace(exchange.context.caller, context={})  # what holds for one request is not kept for days
        context = replace(exchange.context, caller=caller, user_agent="")
        return self._channels.listener(context, self._token_check(context.account, node_id))

    def _token_check(self, account: str, node_id: str) -> Callable[[str], bool]:
        return lambda token: token_opens(self._keys, token, account, node_id)


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}
