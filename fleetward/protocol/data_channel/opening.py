"""The text message that opens a data channel: both ends send one, the server reads it.

An agent is known by its node id, a client by its version. No answer follows; binary frames do.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetward.protocol.data_channel.members import Members, json_bytes
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

LONGEST_OPEN_MESSAGE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Opening:
    """Who opens a data channel: an agent has a `node_id`, a client has none. The token is not yet checked."""

    token: str
    node_id: str
    client_id: str
    client_version: str
    request_id: str

    def __repr__(self) -> str:
        return f"Opening(node_id={self.node_id!r}, client_version={self.client_version!r})"


def client_open_message(token: str, client_id: str, client_version: str, request_id: str) -> str:
    """What a client sends first; its token comes from StartSession or ResumeSession."""
    _require(token=token, client_version=client_version)
    members = {
        "MessageSchemaVersion": "1.0",
        "RequestId": request_id,
        "TokenValue": token,
        "ClientId": client_id,
        "ClientVersion": client_version,
    }
    return json_bytes(members).decode()


def agent_open_message(token: str, node_id: str, request_id: str) -> str:
    """What an agent sends first; its token comes from CreateDataChannel."""
    _require(token=token, node_id=node_id)
    members = {
        "MessageSchemaVersion": "1.0",
        "RequestId": request_id,
        "TokenValue": token,
        "ClientInstanceId": node_id,
        "ClientId": "",
    }
    return json_bytes(members).decode()


def read_open_message(text: str) -> Opening:
    """The server's half, for either end's message of at most 64 KiB; RemoteProtocolError if it is none."""
    members = Members.parse("the message that opens the channel", text, most_bytes=LONGEST_OPEN_MESSAGE_BYTES)
    opening = Opening(
        members.required("TokenValue"),
        members.text("ClientInstanceId"),
        members.text("ClientId"),
        members.text("ClientVersion"),
        members.text("RequestId"),
    )
    if bool(opening.node_id) == bool(opening.client_version):
        raise RemoteProtocolError("an agent opens with its ClientInstanceId, a client with its ClientVersion")
    return opening


def _require(**values: str) -> None:
    for name, value in values.items():
        if not value:
            raise LocalProtocolError(f"a data channel is not opened without {name}")
