"""Valid calls of just-in-time access: a node that policies let people into, those who ask, and one who approves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fleetward.protocol.sigv4 import Credentials
from tests.identities import allow, new_user

Make = Callable[[Any], dict[str, Any]]
TAG = "CallsAccess"
BY_ITSELF = f"""permit (principal, action == AWS::SSM::Action::"getTokenForInstanceAccess", resource)
when {{ resource.hasTag("{TAG}") && resource.getTag("{TAG}") == "automatic" }};"""


def _policies(stage: Any) -> Credentials:
    """The policies, made once; the key of who approves."""
    if not hasattr(stage, "approver"):
        stage.by_hand = stage.name()
        name, stage.approver = new_user(stage.server, allow("ssm:SendAutomationSignal"))
        levels = [{"approvers": [{"type": "IamUser", "name": name}]}]
        target = {"key": f"tag:{TAG}", "values": [stage.by_hand]}
        manual = {"schemaVersion": "1.0", "accessDurationHours": 1, "targets": [target], "levels": levels}
        for document, kind, text in (
            (stage.name(), "ManualApprovalPolicy", json.dumps(manual)),
            ("SSM-JustInTimeAccessAutoApprovalPolicy", "AutoApprovalPolicy", BY_ITSELF),
        ):
            request = {"Name": document, "DocumentType": kind, "Content": text}
            answer = stage.server.call("CreateDocument", request, stage.server.root)
            assert answer.status == 200 or answer.code == "DocumentAlreadyExists", answer.body
    approver: Credentials = stage.approver
    return approver


def start_access_request(stage: Any, *, by_hand: bool = False) -> dict[str, Any]:
    """Ask to get into the stage's node, which is approved by itself or by the approver."""
    _policies(stage)
    tags = [{"Key": TAG, "Value": stage.by_hand if by_hand else "automatic"}]
    stage.root("AddTagsToResource", ResourceType="ManagedInstance", ResourceId=stage.node.node_id, Tags=tags)
    return {
        "Reason": "a call",
        "Targets": [{"Key": "InstanceIds", "Values": [stage.node.node_id]}],
        "Tags": [{"Key": "env", "Value": "x"}],
    }


def _asked(stage: Any, *, by_hand: bool = False) -> str:
    """A request of a new user, whose key is the stage's then."""
    request = start_access_request(stage, by_hand=by_hand)
    _, stage.user = new_user(stage.server, allow("ssm:StartAccessRequest", "ssm:GetAccessToken"))
    answer = stage.server.call("StartAccessRequest", request, stage.user)
    assert answer.status == 200, answer.body
    return str(answer.json["AccessRequestId"])


def get_access_token(stage: Any) -> dict[str, Any]:
    """Fetch the keys of one's own request."""
    return {"AccessRequestId": _asked(stage)}


def answer(stage: Any) -> dict[str, Any]:
    """Answer, as the approver, a request that waits."""
    request = {"AccessRequestId": _asked(stage, by_hand=True), "Comment": "a call"}
    stage.user = _policies(stage)
    return request


def revoke(stage: Any) -> dict[str, Any]:
    """Take access away that was given."""
    return {"AccessRequestId": _asked(stage), "Comment": "a call"}


ACCESS_CALLS: Mapping[str, tuple[Make, str]] = {
    "ssm:StartAccessRequest": (start_access_request, "root"),
    "ssm:GetAccessToken": (get_access_token, "user"),
    "fleetward:ListAccessRequests": (lambda stage: {"View": "All", "Status": "Pending", "MaxResults": 5}, "root"),
    "fleetward:ApproveAccessRequest": (answer, "user"),
    "fleetward:RejectAccessRequest": (answer, "user"),
    "fleetward:RevokeAccess": (revoke, "root"),
}
