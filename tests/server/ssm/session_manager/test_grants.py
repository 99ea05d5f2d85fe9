"""Grants: a running session is decided anew, as if it were opened at the time when it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from fleetward.server.call import Context
from fleetward.server.ssm.session_manager import grants
from fleetward.server.ssm.session_manager.grants import Held

WITH_DOCUMENT_CHECK = {
    "Effect": "Allow",
    "Action": "ssm:StartSession",
    "Resource": ["arn:aws:ssm:*:*:managed-instance/*", "arn:aws:ssm:*:*:document/SSM-SessionManagerRunShell"],
    "Condition": {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}},
}


def allow(**condition: Any) -> dict[str, Any]:
    """Sessions under a condition."""
    more = {"Condition": condition} if condition else {}
    return {"Effect": "Allow", "Action": "ssm:StartSession", "Resource": "*", **more}


def still(board: Any, session_id: str, now: Context) -> bool:
    """Whether the session would go on with its owner as he is `now`."""
    held = [Held(board.row(session_id), now.caller)]
    return board.world.entry(grants.denied, reads=True)(held) == []


def test_a_grant_that_stands_carries_on(board: Any) -> None:
    """Root's too, who needs none."""
    alice = board.user("alice", allow())
    assert still(board, board.open(alice), alice)
    assert still(board, board.open(), board.world.as_root())


def test_a_grant_that_was_taken_away_does_not(board: Any) -> None:
    """No statement; a denial beside the one that allows; keys that are good no more."""
    session_id = board.open(board.user("alice", allow()))
    assert not still(board, session_id, board.user("alice", {**allow(), "Action": "ssm:ResumeSession"}))
    assert not still(board, session_id, board.user("alice", allow(), {**allow(), "Effect": "Deny"}))
    assert board.world.entry(grants.denied)([Held(board.row(session_id), None)]) == [session_id]


def test_a_tag_that_is_gone_ends_what_it_allowed(board: Any) -> None:
    """Sessions on tagged nodes only."""
    tag = {"ResourceType": "ManagedInstance", "ResourceId": board.node}
    board.world.call("AddTagsToResource", {**tag, "Tags": [{"Key": "team", "Value": "web"}]})
    alice = board.user("alice", allow(StringEquals={"ssm:resourceTag/team": "web"}))
    session_id = board.open(alice)
    assert still(board, session_id, alice)
    board.world.call("RemoveTagsFromResource", {**tag, "TagKeys": ["team"]})
    assert not still(board, session_id, alice)


def test_a_document_that_is_not_allowed_any_more_ends_its_sessions(board: Any) -> None:
    """The one that was named; without a name none is asked for, unless the policy checks it."""
    session = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {}}
    board.document("Mine", session)
    named = board.open(board.user("alice", allow()), DocumentName="Mine")
    plain = board.open(board.user("alice", allow()))
    nodes_only = {**allow(), "Resource": "arn:aws:ssm:*:*:managed-instance/*"}
    assert not still(board, named, board.user("alice", nodes_only))
    assert still(board, plain, board.user("alice", nodes_only))
    assert still(board, plain, board.user("alice", WITH_DOCUMENT_CHECK))
    board.world.call("DeleteDocument", {"Name": "Mine"})
    assert still(board, named, board.user("alice", allow())), "what runs does not need it any more"


def test_time_that_passes_takes_nothing_away(board: Any) -> None:
    """Decided as at its start: office hours end, sessions in them do not."""
    until = (board.world.clock.now() + timedelta(hours=1)).isoformat()
    alice = board.user("alice", allow(DateLessThan={"aws:CurrentTime": until}))
    session_id = board.open(alice)
    board.world.clock.advance(timedelta(hours=2))
    assert still(board, session_id, alice)


def test_the_address_that_it_was_opened_from_counts(board: Any) -> None:
    """Not that of whoever looks."""
    alice = replace(board.user("alice", allow(IpAddress={"aws:SourceIp": "10.1.0.0/16"})), source_ip="10.1.2.3")
    session_id = board.open(alice)
    assert still(board, session_id, alice)
    assert not still(board, session_id, board.user("alice", allow(IpAddress={"aws:SourceIp": "10.2.0.0/16"})))


def test_what_was_denied_ends_with_a_word_to_the_client(board: Any) -> None:
    """Only these; one that has ended meanwhile keeps its own end."""
    gone, over, stays = board.open(), board.open(), board.open()
    board.world.call("TerminateSession", {"SessionId": over})
    board.world.entry(grants.end_denied)([gone, over])
    assert board.described(gone)["Details"] == "The permission for this session was taken away."
    assert board.described(over)["Details"].startswith("Terminated by")
    assert board.status(stays) == "Connected"
