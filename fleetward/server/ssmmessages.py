"""Message Gateway, node-facing: tokens that open control channels. The channels themselves are the edge's."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from typing import Any

import orjson

from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException
from fleetward.server.keys import KeyFault, KeyRing
from fleetward.server.service import Service

ssmmessages = Service("ssmmessages")

TOKEN_SECONDS = 60


def own_channel(call: Call, request: dict[str, Any]) -> Iterable[Resource]:
    """A node's control channel is the node itself."""
    return (Resource(call.arn(f"managed-instance/{request['ChannelId']}")),)


@ssmmessages.operation("CreateControlChannel", resources=own_channel, audience="node", reads=True)
def create_control_channel(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A token, good for a minute, with which the node's socket opens its channel."""
    check_own(call, request["ChannelId"])
    token = seal_token(call.keys, call.account, request["ChannelId"], call.now.timestamp())
    return {"TokenValue": token, "MessageSchemaVersion": request.get("MessageSchemaVersion", "1.0")}


@ssmmessages.operation("OpenControlChannel", resources=own_channel, audience="node", reads=True)
def open_control_channel(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Whether the node may open its channel; the edge asks before it answers the upgrade."""
    check_own(call, request["ChannelId"])
    return {}


def check_own(call: Call, node_id: str) -> None:
    """A node may only speak about itself."""
    if call.caller.node_id != node_id:
        raise AccessDeniedException(f"{call.caller.node_id} cannot act as {node_id[:40]}")


def seal_token(keys: KeyRing, account: str, node_id: str, now: float) -> str:
    """A token that only this server's key ring can make or read."""
    body = orjson.dumps([node_id, int(now) + TOKEN_SECONDS])
    return base64.b64encode(keys.seal(body, f"control-channel/{account}")).decode()


def token_opens(keys: KeyRing, token: str, account: str, node_id: str, now: float | None = None) -> bool:
    """Whether the token was made for this node and is still good."""
    try:
        sealed = base64.b64decode(token, validate=True)
        named, until = orjson.loads(keys.open(sealed, f"control-channel/{account}"))
    except (ValueError, KeyFault):
        return False
    return bool(named == node_id and (time.time() if now is None else now) <= until)
