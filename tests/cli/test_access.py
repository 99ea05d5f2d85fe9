"""`fleetward access` and the way of a request on a real server: asked for, approved, used, taken away."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from fleetward.protocol.sigv4 import Credentials
from tests.identities import allow, fresh, keys_of, new_role, new_user, trust
from tests.serving import ACCOUNT, FLEETWARD, REGION, ServerProcess, eventually

ASKING = ("ssm:StartAccessRequest", "ssm:GetAccessToken")
ANSWERING = ("ssm:SendAutomationSignal", "ssm:DescribeOpsItems")
LISTING = "ssm:DescribeOpsItems"


@dataclass
class Desk:
    """A node that a policy lets people into, one who may ask, and one who approves."""

    server: ServerProcess
    node_id: str
    other_id: str
    asker: Credentials
    asker_name: str
    approver: Credentials

    def run(self, who: Credentials, *arguments: str, fails: bool = False) -> str:
        """What `fleetward access …` prints, or complains of."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FLEETWARD_"))}
        environment = {
            **kept,
            "AWS_ENDPOINT_URL": self.server.url,
            "AWS_CA_BUNDLE": str(self.server.ca),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": who.access_key_id,
            "AWS_SECRET_ACCESS_KEY": who.secret_access_key,
            **({"AWS_SESSION_TOKEN": who.session_token} if who.session_token else {}),
        }
        command = [str(FLEETWARD), "access", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode != 0) is fails, done.stderr
        return done.stderr if fails else done.stdout

    def ask(self) -> str:
        """A new request's id."""
        return self.run(self.asker, "request", self.node_id, "--reason", "a ticket").strip()

    def keys(self, request_id: str) -> Credentials:
        """The keys of an approved request."""
        told = json.loads(self.run(self.asker, "keys", request_id))
        assert told["Version"] == 1
        return Credentials(told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"])

    def start(self, who: Credentials, node_id: str) -> str:
        """What StartSession to a node that is not connected says to somebody."""
        answer = self.server.call("StartSession", {"Target": node_id}, who)
        assert answer.status == 400
        return answer.code


def approvers(*names: str, tag: str) -> str:
    """A policy of one level for nodes with a tag."""
    people = [{"type": "IamUser", "name": name} for name in names]
    return json.dumps(
        {
            "schemaVersion": "1.0",
            "accessDurationHours": 1,
            "targets": [{"key": f"tag:{tag}", "values": ["yes"]}],
            "levels": [{"approvers": people}],
        }
    )


@pytest.fixture(scope="module")
def desk(serving: ServerProcess) -> Desk:
    tag = fresh("Access")
    node, other = serving.join(1), serving.join(2)
    request = {
        "ResourceType": "ManagedInstance",
        "ResourceId": node.node_id,
        "Tags": [{"Key": tag, "Value": "yes"}],
    }
    assert serving.call("AddTagsToResource", request, serving.root).status == 200
    asker_name, asker = new_user(serving, allow(*ASKING))
    approver_name, approver = new_user(serving, allow(*ANSWERING))
    policy = {
        "Name": fresh("Approvals"),
        "DocumentType": "ManualApprovalPolicy",
        "Content": approvers(approver_name, tag=tag),
    }
    assert serving.call("CreateDocument", policy, serving.root).status == 200
    return Desk(serving, node.node_id, other.node_id, asker, asker_name, approver)


def test_access_is_asked_for_approved_used_and_taken_away(desk: Desk) -> None:
    assert desk.start(desk.asker, desk.node_id) == "AccessDeniedException"
    request_id = desk.ask()
    assert "Pending" in desk.run(desk.asker, "keys", request_id, fails=True)
    assert request_id in desk.run(desk.approver, "list")
    assert "Approved" in desk.run(desk.approver, "approve", request_id, "--comment", "go on")
    assert request_id not in desk.run(desk.approver, "list")
    keys = desk.keys(request_id)
    identity = desk.server.client("sts", keys).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/SSM-JustInTimeAccessTokenRole/{desk.asker_name}"
    assert desk.start(keys, desk.node_id) == "TargetNotConnected"
    assert desk.start(keys, desk.other_id) == "AccessDeniedException"
    assert desk.server.call("SendCommand", {"DocumentName": "AWS-Noop", "InstanceIds": [desk.node_id]}, keys).code == (
        "AccessDeniedException"
    )
    assert "Revoked" in desk.run(desk.approver, "revoke", request_id, "--comment", "enough")
    eventually(lambda: desk.start(keys, desk.node_id) == "ExpiredTokenException", within=1.0)
    assert "Revoked" in desk.run(desk.asker, "keys", request_id, fails=True)


def test_keys_end_within_a_second_of_who_asked_for_them(desk: Desk) -> None:
    client = desk.server.client("iam")
    name, asker = new_user(desk.server, allow(*ASKING))
    leaving = Desk(desk.server, desk.node_id, desk.other_id, asker, name, desk.approver)
    request_id = leaving.ask()
    leaving.run(desk.approver, "approve", request_id)
    keys = leaving.keys(request_id)
    assert leaving.start(keys, desk.node_id) == "TargetNotConnected"
    client.delete_user_policy(UserName=name, PolicyName="own")
    client.delete_access_key(UserName=name, AccessKeyId=asker.access_key_id)
    client.delete_user(UserName=name)
    eventually(lambda: leaving.start(keys, desk.node_id) == "ExpiredTokenException", within=1.0)


def test_who_asked_cannot_approve_by_a_role_either(desk: Desk) -> None:
    server, tag = desk.server, fresh("Role")
    tags = [{"Key": tag, "Value": "yes"}]
    request = {"ResourceType": "ManagedInstance", "ResourceId": desk.other_id, "Tags": tags}
    assert server.call("AddTagsToResource", request, server.root).status == 200
    role_trust = trust({"AWS": [f"arn:aws:iam::{ACCOUNT}:root"]})
    arn = new_role(server, role_trust, allow(*ANSWERING))
    names = [new_user(server, allow(*ASKING, "sts:AssumeRole")) for _ in range(2)]
    policy: dict[str, Any] = json.loads(approvers("nobody", tag=tag))
    policy["levels"] = [{"approvers": [{"type": "IamRole", "name": arn.rsplit("/", 1)[-1]}]}]
    document = {"Name": fresh("Roles"), "DocumentType": "ManualApprovalPolicy", "Content": json.dumps(policy)}
    assert server.call("CreateDocument", document, server.root).status == 200

    def session(keys: Credentials, name: str) -> Credentials:
        made: Mapping[str, Any] = server.client("sts", keys).assume_role(RoleArn=arn, RoleSessionName=name)
        return keys_of(made)

    (_, asker), (_, colleague) = names
    asked = {"Reason": "x", "Targets": [{"Key": "InstanceIds", "Values": [desk.other_id]}]}
    request_id = server.call("StartAccessRequest", asked, asker).json["AccessRequestId"]
    refused = server.call(
        "ApproveAccessRequest", {"AccessRequestId": request_id}, session(asker, "boss"), service="fleetward"
    )
    assert (refused.code, "his own" in refused.message) == ("AccessDeniedException", True)
    approved = server.call(
        "ApproveAccessRequest", {"AccessRequestId": request_id}, session(colleague, "boss"), service="fleetward"
    )
    assert approved.json["Status"] == "Approved"


def test_requests_are_listed_for_who_made_and_who_answers_them(desk: Desk) -> None:
    waiting, refused = desk.ask(), desk.ask()
    assert "Rejected" in desk.run(desk.approver, "reject", refused)
    queue = desk.run(desk.approver, "list")
    assert waiting in queue
    assert refused not in queue
    everything = json.loads(desk.run(desk.approver, "list", "--all", "--json"))
    assert {waiting, refused} <= {each["AccessRequestId"] for each in everything}
    assert waiting not in desk.run(desk.approver, "list", "--own")
    assert refused in desk.run(desk.approver, "list", "--all", "--status", "Rejected")
    assert "--all or --own" in desk.run(desk.approver, "list", "--all", "--own", fails=True)
    assert LISTING in desk.run(desk.asker, "list", fails=True)


def test_asking_may_wait_for_the_answer(desk: Desk) -> None:
    assert "not approved: Rejected" in _waited(desk, "reject")
    assert _waited(desk, "approve") == ""


def _waited(desk: Desk, answer: str) -> str:
    """What `request --wait` complains of once the request was answered."""
    before = desk.run(desk.approver, "list")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FLEETWARD_"))}
    environment = {
        **kept,
        "AWS_ENDPOINT_URL": desk.server.url,
        "AWS_CA_BUNDLE": str(desk.server.ca),
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": desk.asker.access_key_id,
        "AWS_SECRET_ACCESS_KEY": desk.asker.secret_access_key,
    }
    command = [str(FLEETWARD), "access", "request", desk.node_id, "--reason", "x", "--wait"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        request_id = program.stdout.readline().strip()
        assert request_id not in before
        desk.run(desk.approver, answer, request_id)
        _, complaint = program.communicate(timeout=60)
    return complaint


def test_what_people_write_cannot_steer_a_terminal(desk: Desk) -> None:
    request = {"Reason": "\x1b[2Jgone\r\nnew", "Targets": [{"Key": "InstanceIds", "Values": [desk.node_id]}]}
    made = desk.server.call("StartAccessRequest", request, desk.asker)
    assert made.status == 200
    shown = desk.run(desk.approver, "list")
    assert "\x1b" not in shown
    assert "\r" not in shown
    desk.run(desk.approver, "reject", made.json["AccessRequestId"], "--comment", "no \x1b[31m")
    assert "\x1b" not in desk.run(desk.approver, "list", "--all")
