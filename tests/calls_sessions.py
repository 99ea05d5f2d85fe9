"""One valid call of every operation of Session Manager; see `tests/calls.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.channel import Channel
from tests.serving import Node, ServerProcess, eventually
from tests.sessions import NodeEnd, recording, terminate


class SessionStage:
    """What calls about sessions need: the stage's node with an open channel, sessions to it, one that was recorded."""

    server: ServerProcess
    node: Node
    _channel: Channel | None = None
    _recorded = ""

    def connected_node(self) -> Node:
        """The stage's node, its control channel open."""
        if self._channel is None or self._channel.node is not self.node:
            self._channel = Channel(self.node)
        eventually(lambda: self._is_connected(self.node))
        return self.node

    def _is_connected(self, node: Node) -> bool:
        answer = self.server.call("GetConnectionStatus", {"Target": node.node_id}, self.server.root)
        return bool(answer.json["Status"] == "connected")

    def session(self) -> str:
        """A new session's id."""
        answer = self.server.call("StartSession", {"Target": self.connected_node().node_id}, self.server.root)
        assert answer.status == 200, answer.body
        return str(answer.json["SessionId"])

    def recorded_session(self) -> str:
        """One whose screen was recorded."""
        if not self._recorded:
            session_id = self.session()
            with NodeEnd(self.node, session_id) as agent:
                agent.send(b"shown")
                terminate(self.node, session_id)
                agent.closed()
            recording(self.server, session_id)
            self._recorded = session_id
        return self._recorded


def _start(stage: Any) -> dict[str, Any]:
    return {
        "Target": stage.connected_node().node_id,
        "DocumentName": "AWS-StartPortForwardingSession",
        "Parameters": {"portNumber": ["5432"]},
        "Reason": "a call",
    }


def _describe(stage: Any) -> dict[str, Any]:
    filters = [{"key": "Target", "value": stage.node.node_id}]
    return {"State": "Active", "Filters": filters, "MaxResults": 5}


def _create_data_channel(stage: Any) -> dict[str, Any]:
    return {"SessionId": stage.session(), "MessageSchemaVersion": "1.0", "RequestId": "1", "ClientId": ""}


Make = Callable[[Any], dict[str, Any]]
SESSION_CALLS: Mapping[str, tuple[Make, str]] = {
    "ssm:StartSession": (_start, "root"),
    "ssm:ResumeSession": (lambda stage: {"SessionId": stage.session()}, "root"),
    "ssm:TerminateSession": (lambda stage: {"SessionId": stage.session()}, "root"),
    "ssm:DescribeSessions": (_describe, "root"),
    "ssmmessages:CreateDataChannel": (_create_data_channel, "node"),
    "fleetward:DescribeSession": (lambda stage: {"SessionId": stage.session()}, "root"),
    "fleetward:LocateSessionRecording": (lambda stage: {"SessionId": stage.recorded_session()}, "root"),
}
"""`service:Operation` -> its maker, and who signs."""
