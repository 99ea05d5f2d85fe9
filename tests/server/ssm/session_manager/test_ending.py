"""Ending: whoever ends a session, its client is told why, its node stops, and history keeps it for a while."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from fleetward.protocol.control_channel import TaskCompleted
from fleetward.server import audit
from fleetward.server.jobs import DeleteObject
from fleetward.server.mailbox import Form
from fleetward.server.ssm import nodes
from fleetward.server.ssm.session_manager import ending, recordings


def completion(session_id: str, **more: Any) -> TaskCompleted:
    """A node's word that a session is over."""
    members: dict[str, Any] = {
        "final_status": "Success",
        "output": "",
        "s3_bucket": "",
        "s3_url_suffix": "",
        "log_group": "",
        "log_stream": "",
        **more,
    }
    return TaskCompleted(
        session_id=session_id,
        message_id=uuid.uuid4(),
        node_id="",
        account_id="",
        is_routing_failure=False,
        retry_number=1,
        **members,
    )


def test_the_node_is_told_over_its_control_channel(board: Any) -> None:
    """Once over each connection; and no start that is still to be sent."""
    board.start()
    session_id = board.open()
    board.messages()
    board.world.call("TerminateSession", {"SessionId": session_id})
    assert [(message.form, message.topic) for message in board.messages()] == [(Form.CLOSE_SESSION, session_id)]


def test_a_session_that_ended_before_its_node_heard_of_it_is_not_started(board: Any) -> None:
    """Only its end goes out."""
    session_id = board.start()["SessionId"]
    board.world.call("TerminateSession", {"SessionId": session_id})
    assert [message.form for message in board.messages()] == [Form.CLOSE_SESSION]


def test_a_node_that_was_away_is_told_when_it_is_back(board: Any) -> None:
    """Within two minutes: after that the session has ended there by itself."""
    session_id = board.open()
    board.messages()
    board.world.call("TerminateSession", {"SessionId": session_id})
    assert [message.topic for message in board.messages()] == [session_id]  # lost with the connection
    epoch = board.connect()
    board.pass_time(seconds=30)
    assert [message.topic for message in board.messages(epoch=epoch)] == [session_id]
    board.completes(session_id)
    assert board.messages(epoch=board.connect()) == []


def test_completions_count_once_however_often_they_come(board: Any) -> None:
    """AP 12.4: up to three times and in two messages; the first says how it ended, in history and in the trail."""
    session_id = board.open()
    board.completes_together(
        (board.node, completion(session_id, output="logout")),
        (board.node, completion(session_id, output="", s3_bucket="logs", s3_url_suffix=f"{session_id}.log")),
        (board.node, completion(session_id, output="", log_group="shells", log_stream=session_id)),
    )
    board.completes(session_id, "Failed", "later")
    found = board.described(session_id)
    assert (found["Status"], found["Details"]) == ("Terminated", "logout")
    assert found["OutputUrl"] == {
        "S3OutputUrl": f"https://s3.us-east-1.amazonaws.com/logs/{session_id}.log",
        "CloudWatchOutputUrl": f"shells:{session_id}",
    }
    board.world.clock.advance(timedelta(minutes=1))
    board.work()
    board.world.do(audit.seal)
    trail = board.world.call("fleetward:ListAuditRecords", {"MaxResults": 100})["Records"]
    assert len([record for record in trail if "SessionEnded" in str(record)]) == 1


def test_a_node_ends_its_own_sessions_only(board: Any) -> None:
    """Its word on another's is passed over, also beside the right one in one transaction."""
    session_id, other = board.open(), board.new_node()
    board.completes(session_id, output="mine", node_id=other)
    assert board.status(session_id) == "Connected"
    board.completes_together(
        (other, completion(session_id, output="mine")), (board.node, completion(session_id, output="right"))
    )
    assert board.described(session_id)["Details"] == "right"


def test_words_of_nodes_are_bounded(board: Any) -> None:
    """Output and addresses of any length."""
    session_id = board.open()
    board.completes(session_id, output="x" * 100_000, s3_bucket="b" * 100_000, log_group="g" * 100_000)
    found = board.described(session_id)
    assert len(found["Details"]) == 1024
    assert all(len(url) <= 2083 for url in found["OutputUrl"].values())


@pytest.mark.parametrize(("came", "status"), [(False, "Failed"), (True, "Terminated")])
def test_a_session_failed_when_it_ended_so_before_its_client_came(board: Any, came: bool, status: str) -> None:
    """After that, however it ended on the node, it was one."""
    started = board.start()
    board.node_joins(started["SessionId"])
    if came:
        board.client_joins(started)
    board.completes(started["SessionId"], "Failed", "exit 1")
    assert board.status(started["SessionId"]) == status


def test_a_node_that_is_deregistered_has_no_sessions(board: Any) -> None:
    """They end with it; those of others do not."""
    session_id, other = board.open(), board.new_node()
    theirs = board.start(Target=other)["SessionId"]
    board.world.call("DeregisterManagedInstance", {"InstanceId": board.node})
    assert board.described(session_id)["Details"] == "The node was deregistered."
    assert board.status(theirs) == "Connecting"


def test_a_node_in_conflict_has_no_sessions(board: Any) -> None:
    """Two machines hold its key: nobody knows which of them a session is with."""
    session_id = board.open()
    board.world.do(lambda call: call.emit(nodes.NodeConflict(board.node, "two machines")))
    assert board.status(session_id) == "Terminated"


def test_sessions_are_forgotten_in_time_and_recordings_with_them(board: Any) -> None:
    """30 days, recorded ones 90, as the settings say; what runs is not."""
    plain, recorded, running = board.open(), board.open(), board.open()
    for session_id in (plain, recorded):
        board.world.call("TerminateSession", {"SessionId": session_id})
    board.world.entry(recordings.stored)(recordings.Stored(recorded, "recordings/key.cast", 10))
    board.world.clock.advance(timedelta(days=31))
    board.world.do(ending.forget)
    assert [board.row(each) is None for each in (plain, recorded, running)] == [True, False, False]
    board.world.clock.advance(timedelta(days=60))
    board.world.do(ending.forget)
    assert board.row(recorded) is None
    assert DeleteObject("recordings/key.cast") in board.work()
    assert board.row(running) is not None
