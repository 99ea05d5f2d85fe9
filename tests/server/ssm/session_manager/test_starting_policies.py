"""Policies as AWS's guide to Session Manager describes them: they allow here what they allow there, nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleetward.server.call import Context
from fleetward.server.errors import AccessDeniedException

SHELL: dict[str, Any] = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {}}
NODES = "arn:aws:ssm:us-east-1:123456789012:managed-instance/*"
TUNNEL: dict[str, Any] = {"DocumentName": "AWS-StartPortForwardingSession", "Parameters": {"portNumber": ["5432"]}}
FAR_TUNNEL: dict[str, Any] = {
    "DocumentName": "AWS-StartPortForwardingSessionToRemoteHost",
    "Parameters": {"portNumber": ["5432"], "host": ["db.internal"]},
}
SSH: dict[str, Any] = {"DocumentName": "AWS-StartSSHSession", "Parameters": {"portNumber": ["22"]}}


def allow(*actions: str, on: str | list[str] = "*", **condition: Any) -> dict[str, Any]:
    """A statement."""
    more = {"Condition": condition} if condition else {}
    return {"Effect": "Allow", "Action": [f"ssm:{action}" for action in actions], "Resource": on, **more}


def document(name: str) -> str:
    """A document's ARN; those of AWS belong to no account."""
    account = "" if name.startswith("AWS-") else "123456789012"
    return f"arn:aws:ssm:us-east-1:{account}:document/{name}"


def refused(board: Any, caller: Any, **request: Any) -> None:
    """StartSession is denied, and nothing is left of it."""
    before = len(board.world.call("DescribeSessions", {"State": "Active"})["Sessions"])
    with pytest.raises(AccessDeniedException):
        board.start(caller, **request)
    assert len(board.world.call("DescribeSessions", {"State": "Active"})["Sessions"]) == before


def federated(context: Context, name: str) -> Context:
    """A session of a role, as single sign-on gives it."""
    account = context.account
    keys = {"aws:userid": f"AROAROLE:{name}"}
    arn = f"arn:aws:sts::{account}:assumed-role/Operators/{name}"
    return replace(
        context, caller=replace(context.caller, kind="role", arn=arn, user_id=f"AROAROLE:{name}", context=keys)
    )


def test_sessions_on_tagged_nodes_only(board: Any) -> None:
    """`ssm:resourceTag/Team` of the node; the same with AWS's newer key."""
    web, plain = board.new_node(tags={"Team": "web-1"}), board.new_node()
    for key in ("ssm:resourceTag/Team", "aws:ResourceTag/Team"):
        alice = board.user("alice", allow("StartSession", on=NODES, StringLike={key: ["web-*"]}))
        assert board.start(alice, Target=web)["SessionId"]
        refused(board, alice, Target=plain)
        refused(board, alice, Target=board.new_node(tags={"Team": "db"}))


def test_sessions_on_named_nodes_only(board: Any) -> None:
    """By their ARNs."""
    other = board.new_node()
    alice = board.user("alice", allow("StartSession", on=NODES.replace("*", board.node)))
    assert board.start(alice)["SessionId"]
    refused(board, alice, Target=other)


def test_one_ends_and_resumes_what_bears_ones_name(board: Any) -> None:
    """`session/${aws:username}-*`; a name that begins alike is another."""
    rights = [
        allow("StartSession"),
        allow("TerminateSession", "ResumeSession", on="arn:aws:ssm:*:*:session/${aws:username}-*"),
    ]
    alice, mallory = board.user("alice", *rights), board.user("mallory", *rights)
    mine, theirs = board.open(alice), board.open(mallory)
    for operation in ("ResumeSession", "TerminateSession"):
        with pytest.raises(AccessDeniedException):
            board.world.call(operation, {"SessionId": theirs}, alice)
        assert board.world.call(operation, {"SessionId": mine}, alice)["SessionId"] == mine
    assert (board.status(mine), board.status(theirs)) == ("Terminated", "Connected")


def test_a_federated_operator_ends_what_the_service_tagged_as_his(board: Any) -> None:
    """`ssm:resourceTag/aws:ssmmessages:session-id` is his `aws:userid`, whatever the session is called."""
    mine = allow(
        "TerminateSession", "ResumeSession", StringLike={"ssm:resourceTag/aws:ssmmessages:session-id": "${aws:userid}"}
    )
    context = board.user("alice", allow("StartSession"), mine)
    alice, bob = federated(context, "alice@example.com"), federated(context, "bob@example.com")
    hers, his = board.open(alice), board.open(bob)
    for operation in ("ResumeSession", "TerminateSession"):
        with pytest.raises(AccessDeniedException):
            board.world.call(operation, {"SessionId": his}, alice)
        with pytest.raises(AccessDeniedException):
            board.world.call(operation, {"SessionId": "alice@example.com-0123456789abcdef0"}, alice)
        assert board.world.call(operation, {"SessionId": hers}, alice)["SessionId"] == hers


def test_an_overseer_ends_the_sessions_of_a_node(board: Any) -> None:
    """`aws:ssmmessages:target-id`: the node that they lead to."""
    overseer = board.user(
        "overseer", allow("TerminateSession", StringEquals={"ssm:resourceTag/aws:ssmmessages:target-id": board.node})
    )
    here, there = board.open(), board.start(Target=board.new_node())["SessionId"]
    board.world.call("TerminateSession", {"SessionId": here}, overseer)
    with pytest.raises(AccessDeniedException):
        board.world.call("TerminateSession", {"SessionId": there}, overseer)


def test_a_named_document_has_to_be_allowed(board: Any) -> None:
    """Nodes alone give the account's shell, and nothing that is named."""
    board.document("Mine", SHELL)
    alice = board.user("alice", allow("StartSession", on=NODES))
    assert board.start(alice)["SessionId"]
    for request in ({"DocumentName": "Mine"}, {"DocumentName": "SSM-SessionManagerRunShell"}, TUNNEL, SSH):
        refused(board, alice, **request)
    alice = board.user("alice", allow("StartSession", on=[NODES, document("Mine")]))
    assert board.start(alice, DocumentName="Mine")["SessionId"]
    refused(board, alice, **TUNNEL)


def test_the_document_check_asks_for_the_document_without_its_name_too(board: Any) -> None:
    """`ssm:SessionDocumentAccessCheck`: the default shell is a document like others then; "false" asks for none."""
    check = {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
    board.document("Mine", SHELL)
    only_mine = board.user("alice", allow("StartSession", on=[NODES, document("Mine")], **check))
    refused(board, only_mine)
    refused(board, only_mine, DocumentName="SSM-SessionManagerRunShell")
    assert board.start(only_mine, DocumentName="Mine")["SessionId"]
    shell = board.user("bob", allow("StartSession", on=[NODES, document("SSM-SessionManagerRunShell")], **check))
    assert board.start(shell)["SessionId"]
    assert board.start(shell, DocumentName="SSM-SessionManagerRunShell")["SessionId"]
    refused(board, shell, DocumentName="Mine")
    refused(board, shell, **SSH)


def test_a_statement_without_the_check_does_not_undo_it_elsewhere(board: Any) -> None:
    """What any of one's policies allows is allowed: a plain statement on the document too."""
    check = {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
    alice = board.user(
        "alice",
        allow("StartSession", on=NODES, **check),
        allow("StartSession", on=document("SSM-SessionManagerRunShell")),
    )
    assert board.start(alice)["SessionId"]


@pytest.mark.parametrize("request_", [TUNNEL, FAR_TUNNEL, SSH], ids=["port", "remote host", "ssh"])
def test_shells_without_tunnels(board: Any, request_: dict[str, Any]) -> None:
    """A denial on AWS's documents beside a statement that allows all."""
    names = ["AWS-StartPortForwardingSession*", "AWS-StartSSHSession"]
    deny = {**allow("StartSession", on=[f"arn:aws:ssm:*:*:document/{name}" for name in names]), "Effect": "Deny"}
    alice = board.user("alice", allow("*"), deny)
    assert board.start(alice)["SessionId"]
    refused(board, alice, **request_)
    arn = {**request_, "DocumentName": document(request_["DocumentName"])}
    refused(board, alice, **arn)


def test_tunnels_without_shells(board: Any) -> None:
    """The document check keeps the shell out that would need no document otherwise."""
    check = {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
    alice = board.user("alice", allow("StartSession", on=[NODES, document("AWS-StartPortForwardingSession")], **check))
    assert board.start(alice, **TUNNEL)["SessionId"]
    refused(board, alice)
    refused(board, alice, **SSH)
    refused(board, alice, **FAR_TUNNEL)


def test_the_tags_of_a_node_do_not_speak_for_the_document(board: Any) -> None:
    """A condition on tags holds for the node; the document, which has none, needs a statement of its own."""
    node = board.new_node(tags={"Team": "web"})
    tagged = {"StringEquals": {"ssm:resourceTag/Team": "web"}}
    alone = board.user("alice", allow("StartSession", **tagged))
    refused(board, alone, Target=node, **SSH)
    both = board.user(
        "alice", allow("StartSession", on=NODES, **tagged), allow("StartSession", on=document("AWS-StartSSHSession"))
    )
    assert board.start(both, Target=node, **SSH)["SessionId"]


def test_looking_at_sessions_is_a_right_of_its_own(board: Any) -> None:
    """DescribeSessions; recordings another one."""
    board.open()
    alice = board.user("alice", allow("StartSession"))
    with pytest.raises(AccessDeniedException):
        board.world.call("DescribeSessions", {"State": "Active"}, alice)
    reader = board.user("reader", allow("DescribeSessions"))
    (found,) = board.world.call("DescribeSessions", {"State": "Active"}, reader)["Sessions"]
    with pytest.raises(AccessDeniedException):
        board.world.call("fleetward:LocateSessionRecording", {"SessionId": found["SessionId"]}, reader)
