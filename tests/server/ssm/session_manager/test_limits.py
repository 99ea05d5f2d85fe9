"""Limits: sessions that nobody ends end all the same, those that are used do not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fleetward.server.mailbox import Form

TUNNEL = {"DocumentName": "AWS-StartPortForwardingSession", "Parameters": {"portNumber": ["5432"]}}
SHELL: dict[str, Any] = {"schemaVersion": "1.0", "sessionType": "Standard_Stream"}


def test_a_node_that_does_not_come_fails_the_session(board: Any) -> None:
    """30 seconds; the client, which may have come, is told why."""
    started = board.start()
    board.client_joins(started)
    board.pass_time(seconds=29)
    assert board.status(started["SessionId"]) == "Connecting"
    board.pass_time(seconds=2)
    found = board.described(started["SessionId"])
    assert (found["Status"], "did not open" in found["Details"]) == ("Failed", True)


def test_a_client_that_does_not_come_ends_it(board: Any) -> None:
    """Five minutes, so that tokens can be handed on; the node is told to stop."""
    session_id = board.start()["SessionId"]
    board.node_joins(session_id)
    board.pass_time(minutes=4, seconds=58)
    assert board.status(session_id) == "Connecting"
    board.pass_time(seconds=4)
    assert board.status(session_id) == "Terminated"
    assert [message.form for message in board.messages()] == [Form.CLOSE_SESSION]


def test_an_end_may_be_away_as_long_as_the_setting_says(board: Any) -> None:
    """Either end; one that came back in time is not missed."""
    board.world.with_settings(session_resume=100)
    away, back, node = board.open(), board.open(), board.open()
    board.client_leaves(away)
    board.client_leaves(back)
    board.node_leaves(node)
    board.pass_time(seconds=95)
    board.client_joins(board.world.call("ResumeSession", {"SessionId": back}))
    assert [board.status(each) for each in (away, node)] == ["Disconnected", "Connected"]
    board.pass_time(seconds=10)
    assert [board.status(each) for each in (away, back, node)] == ["Terminated", "Connected", "Terminated"]


def test_a_shell_without_input_or_output_times_out(board: Any) -> None:
    """The idle time of the preferences, 20 minutes, from the last byte either way."""
    session_id = board.open()
    board.pass_time(minutes=19)
    board.counts(session_id)
    board.pass_time(minutes=19, seconds=50)
    assert board.status(session_id) == "Connected"
    board.pass_time(seconds=15)
    found = board.described(session_id)
    assert (found["Status"], found["Details"]) == ("Terminated", "Session timed out: there was no input or output.")


def test_a_session_ends_at_its_maximum_duration_be_it_busy_or_not(board: Any) -> None:
    """Minutes of the preferences, from its start."""
    board.document("SSM-SessionManagerRunShell", {**SHELL, "inputs": {"maxSessionDuration": "3"}})
    session_id = board.open()
    for _ in range(5):
        board.pass_time(seconds=35)
        board.counts(session_id)
    assert board.status(session_id) == "Connected"
    board.pass_time(seconds=10)
    assert "maximum duration" in board.described(session_id)["Details"]


def test_a_tunnel_may_be_idle_for_days(board: Any) -> None:
    """It has no limit, and is looked at all the same."""
    session_id = board.open(**TUNNEL)
    for _ in range(5):
        board.pass_time(days=1)
    assert board.status(session_id) == "Connected"
    assert board.row(session_id).due_at > board.world.clock.now()


def test_the_orphans_of_a_dead_server_are_found(board: Any) -> None:
    """Its ends are away from then on, also of sessions that have no limit; they come again elsewhere, or it ends."""
    shell, tunnel, back = board.open(), board.open(**TUNNEL), board.open(**TUNNEL)
    board.world.clock.advance(timedelta(seconds=30))  # the lease lapses
    board.keep_alive("other")
    board.tick()
    for session_id in (shell, tunnel, back):
        row = board.row(session_id)
        assert row.node_left_at is not None, session_id
        assert row.client_left_at is not None, session_id
        assert row.status == "Disconnected"
    board.node_joins(back, server="other")
    board.client_joins(board.world.call("ResumeSession", {"SessionId": back}), server="other")
    board.world.clock.advance(timedelta(seconds=301))
    board.keep_alive("other")
    board.tick()
    assert [board.status(each) for each in (shell, tunnel, back)] == ["Terminated", "Terminated", "Connected"]


def test_what_has_ended_is_not_looked_at_again(board: Any) -> None:
    """Whatever comes late: the timer has nothing to do."""
    session_id = board.open()
    board.world.call("TerminateSession", {"SessionId": session_id})
    board.node_leaves(session_id)
    board.counts(session_id)
    board.pass_time(days=2)
    row = board.row(session_id)
    assert (row.status, row.due_at, row.details[:13]) == ("Terminated", None, "Terminated by")
