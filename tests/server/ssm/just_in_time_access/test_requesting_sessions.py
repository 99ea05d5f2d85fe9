"""Sessions opened with the keys of an access request: what they are called, who may end them, when they end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fleetward.protocol.sigv4 import Credentials
from tests.channel import Channel
from tests.identities import allow, fresh, new_user
from tests.serving import Node, ServerProcess, eventually
from tests.sessions import begin, described, opened, resume, status, terminate

ASKING = ("ssm:StartAccessRequest", "ssm:GetAccessToken")


@dataclass
class Way:
    """A connected node, and one who approves access to it."""

    server: ServerProcess
    node: Node
    channel: Channel
    approver: Credentials

    def in_(self) -> tuple[str, Credentials]:
        """A new user's approved request and its keys."""
        _, asker = new_user(self.server, allow(*ASKING))
        asked = {"Reason": "a ticket", "Targets": [{"Key": "InstanceIds", "Values": [self.node.node_id]}]}
        request_id = str(self.call("ssm", "StartAccessRequest", asked, asker)["AccessRequestId"])
        self.answer("ApproveAccessRequest", request_id)
        keys = self.call("ssm", "GetAccessToken", {"AccessRequestId": request_id}, asker)["Credentials"]
        return request_id, Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])

    def answer(self, operation: str, request_id: str) -> None:
        """What the approver does."""
        self.call("fleetward", operation, {"AccessRequestId": request_id}, self.approver)

    def call(self, service: str, operation: str, request: Any, keys: Credentials) -> Any:
        """A call that must succeed."""
        answer = self.server.call(operation, request, keys, service=service)
        assert answer.status == 200, answer.body
        return answer.json


@pytest.fixture
def way(serving: ServerProcess) -> Iterator[Way]:
    node, tag = serving.join(4), fresh("Way")
    tags = {"ResourceType": "ManagedInstance", "ResourceId": node.node_id, "Tags": [{"Key": tag, "Value": "yes"}]}
    assert serving.call("AddTagsToResource", tags, serving.root).status == 200
    name, approver = new_user(serving, allow("ssm:SendAutomationSignal"))
    policy = {
        "schemaVersion": "1.0",
        "accessDurationHours": 1,
        "targets": [{"key": f"tag:{tag}", "values": ["yes"]}],
        "levels": [{"approvers": [{"type": "IamUser", "name": name}]}],
    }
    document = {"Name": tag, "DocumentType": "ManualApprovalPolicy", "Content": json.dumps(policy)}
    assert serving.call("CreateDocument", document, serving.root).status == 200
    with Channel(node) as channel:
        target = {"Target": node.node_id}
        eventually(lambda: serving.call("GetConnectionStatus", target, serving.root).json["Status"] == "connected")
        yield Way(serving, node, channel, approver)


def test_revoked_access_ends_its_sessions_within_two_seconds_and_no_others(way: Way) -> None:
    (request_id, keys), (_, others) = way.in_(), way.in_()
    with (
        opened(way.node, way.channel, keys) as session,
        opened(way.node, way.channel, others) as kept,
    ):
        session.echo()
        shown = described(way.node, session.session_id)
        assert (shown["AccessType"], shown["Status"]) == ("JustInTime", "Connected")
        way.answer("RevokeAccess", request_id)
        session.ends_within(2)
        kept.echo()
        assert begin(way.server, {"Target": way.node.node_id}, keys).code == "ExpiredTokenException"
    assert described(way.node, session.session_id)["AccessType"] == "JustInTime"


def test_the_keys_resume_and_end_their_own_sessions_alone(way: Way) -> None:
    (_, keys), (_, others) = way.in_(), way.in_()
    with opened(way.node, way.channel, keys) as session:
        session.echo()
        assert terminate(way.node, session.session_id, others).code == "AccessDeniedException"
        refused = way.server.call("ResumeSession", {"SessionId": session.session_id}, others)
        assert refused.code == "AccessDeniedException"
        assert resume(way.node, session.session_id, keys).session_id == session.session_id
        assert terminate(way.node, session.session_id, keys).status == 200
        eventually(lambda: status(way.node, session.session_id) == "Terminated", within=2)
