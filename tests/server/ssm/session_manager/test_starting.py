"""StartSession, ResumeSession, TerminateSession: who may, what the node is sent, what is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.mailbox import Form
from fleetward.server.ssm.errors import DoesNotExistException, InvalidDocument, TargetNotConnected

ALL: dict[str, Any] = {"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}
SHELL = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {}}
COMMAND = {
    "schemaVersion": "1.0",
    "sessionType": "InteractiveCommands",
    "parameters": {"path": {"type": "String", "allowedPattern": "^/var/log/[a-z]+$"}},
    "properties": {"linux": {"commands": "tail -f {{ path }}", "runAsElevated": False}},
}


def sent(board: Any) -> dict[str, Any]:
    """What the node is sent of its one session."""
    (message,) = board.messages()
    assert message.form is Form.START_SESSION
    return dict(orjson.loads(message.content))


def test_the_node_is_sent_what_an_agent_reads(board: Any) -> None:
    """AP 11.2: the built-in shell, no parameters, whose session it is."""
    started = board.start(Reason="look")
    content = sent(board)
    assert content["SessionId"] == started["SessionId"]
    assert content["DocumentName"] == "SSM-SessionManagerRunShell"
    assert content["DocumentContent"]["sessionType"] == "Standard_Stream"
    assert content["Parameters"] == {}
    assert content["SessionOwner"] == f"arn:aws:iam::{board.world.account}:root"
    board.pass_time(seconds=20)
    assert board.messages() == [], "over one connection it goes out once"


def test_a_start_that_was_lost_with_its_connection_goes_out_over_the_next(board: Any) -> None:
    """The node's channel was cut in the moment when it was sent."""
    session_id = board.start()["SessionId"]
    sent(board)
    epoch = board.connect()
    board.pass_time(seconds=20)
    assert [message.topic for message in board.messages(epoch=epoch)] == [session_id]
    board.node_joins(session_id)
    assert board.messages(epoch=board.connect()) == [], "the node has taken it"


def test_what_is_answered_leads_to_the_session(board: Any) -> None:
    """An id of owner and random digits; the address of its data channel; a token of at most 300 characters."""
    started = board.start(board.user("alice", ALL))
    owner, _, digits = started["SessionId"].rpartition("-")
    assert (owner, len(digits)) == ("alice", 17)
    assert started["StreamUrl"].startswith("wss://")
    assert started["StreamUrl"].endswith(f"/v1/data-channel/{started['SessionId']}?role=publish_subscribe")
    assert 20 < len(started["TokenValue"]) <= 300


def test_ids_of_long_names_fit(board: Any) -> None:
    """At most 96 characters."""
    assert len(board.start(board.user("a" * 64, ALL))["SessionId"]) == 82


def test_a_node_that_is_not_connected_has_no_sessions(board: Any) -> None:
    """Unknown, or its channel is closed."""
    for target in ("mi-0123456789abcdef0", board.fleet.admit()):
        with pytest.raises(TargetNotConnected):
            board.start(Target=target)


def test_parameters_are_put_in_once_they_fit_their_pattern(board: Any) -> None:
    """The node gets plain strings; what does not fit is refused by the server, as no agent looks."""
    board.document("Tail", COMMAND)
    board.start(DocumentName="Tail", Parameters={"path": ["/var/log/syslog"]})
    assert sent(board)["Parameters"] == {"path": "/var/log/syslog"}


@pytest.mark.parametrize(
    "value",
    [
        "/etc/shadow",
        "/var/log/x; id",
        "/var/log/x\nid",
        "/var/log/x\n",
        "/var/log/$(id)",
        "{{ssm:secret}}",
        "/var/log/{{ path }}",
        "",
        "/var/log/" + "a" * 100_000 + "!",
    ],
)
def test_parameters_do_not_escape_their_pattern(board: Any, value: str) -> None:
    """Refused, and no session is left behind."""
    board.document("Tail", COMMAND)
    with pytest.raises(ValidationException):
        board.start(DocumentName="Tail", Parameters={"path": [value]})
    assert board.world.call("DescribeSessions", {"State": "Active"})["Sessions"] == []


@pytest.mark.parametrize(
    "parameters", [{}, {"path": []}, {"path": ["/var/log/a", "/var/log/b"]}, {"other": ["x"], "path": ["/var/log/a"]}]
)
def test_parameters_are_those_of_the_document(board: Any, parameters: dict[str, list[str]]) -> None:
    """Each once, none that it does not have."""
    board.document("Tail", COMMAND)
    with pytest.raises(ValidationException):
        board.start(DocumentName="Tail", Parameters=parameters)


def test_documents_of_other_types_open_no_session(board: Any) -> None:
    """Run Command's, and names that nobody has."""
    for name in ("AWS-RunShellScript", "Nobodys"):
        with pytest.raises(InvalidDocument):
            board.start(DocumentName=name)


def test_the_preferences_of_the_account_count_without_a_document(board: Any) -> None:
    """In their default version; before there are any, the same name means the built-in ones."""
    assert board.start(DocumentName="SSM-SessionManagerRunShell")["SessionId"]
    board.messages()
    profile = {"shellProfile": {"linux": "cd /srv"}, "idleSessionTimeout": "5", "maxSessionDuration": "60"}
    board.document("SSM-SessionManagerRunShell", {**SHELL, "inputs": profile})
    session_id = board.start()["SessionId"]
    assert sent(board)["DocumentContent"]["inputs"]["shellProfile"]["linux"] == "cd /srv"
    row = board.row(session_id)
    assert (row.idle_minutes, row.max_duration) == (5, "60")
    assert board.described(session_id)["MaxSessionDuration"] == "60"


def test_a_tunnel_may_be_idle_unless_preferences_say_how_long(board: Any) -> None:
    """What runs through it is not the server's to judge; a shell is 20 minutes."""
    tunnel = {"DocumentName": "AWS-StartPortForwardingSession", "Parameters": {"portNumber": ["5432"]}}
    assert board.row(board.start(**tunnel)["SessionId"]).idle_minutes is None
    assert board.row(board.start()["SessionId"]).idle_minutes == 20
    board.document("SSM-SessionManagerRunShell", {**SHELL, "inputs": {"idleSessionTimeout": "7"}})
    assert board.row(board.start(**tunnel)["SessionId"]).idle_minutes == 7


def test_a_tunnel_is_stored_with_where_it_leads(board: Any) -> None:
    """For the audit; it is not recorded."""
    name = "AWS-StartPortForwardingSessionToRemoteHost"
    parameters = {"host": ["db.internal"], "portNumber": ["5432"], "localPortNumber": ["9000"]}
    row = board.row(board.start(DocumentName=name, Parameters=parameters)["SessionId"])
    assert (row.target_host, row.target_port, row.recorded, row.session_type) == ("db.internal", "5432", False, "Port")


def test_run_as_follows_the_principals_tag(board: Any) -> None:
    """SEM 7.1: the caller's tag SSMSessionRunAs, in what the node is sent."""
    context = board.user("alice", ALL)
    keys = {"aws:PrincipalTag/SSMSessionRunAs": "deploy"}
    board.start(replace(context, caller=replace(context.caller, context=keys)))
    assert sent(board)["RunAsUser"] == "deploy"


def test_an_encrypted_shell_is_not_recorded(board: Any) -> None:
    """The server sees no plain text of it."""
    board.document("Sealed", {**SHELL, "inputs": {"kmsKeyId": "alias/session"}})
    assert not board.row(board.start(DocumentName="Sealed")["SessionId"]).recorded
    assert board.row(board.start()["SessionId"]).recorded


def test_resume_gives_a_new_token_and_the_old_one_opens_nothing(board: Any) -> None:
    """Also of a client that never came."""
    started = board.start()
    resumed = board.world.call("ResumeSession", {"SessionId": started["SessionId"]})
    assert resumed["StreamUrl"] == started["StreamUrl"]
    with pytest.raises(AccessDeniedException):
        board.client_joins(started)
    assert board.client_joins(resumed).epoch == 1


def test_only_the_owner_resumes(board: Any) -> None:
    """Whatever the policies of others allow, root's too: a resumed shell is the owner's."""
    session_id = board.open(board.user("alice", ALL))
    for other in (board.user("mallory", ALL), "root"):
        with pytest.raises(AccessDeniedException):
            board.world.call("ResumeSession", {"SessionId": session_id}, other)
    assert board.world.call("ResumeSession", {"SessionId": session_id}, board.user("alice", ALL))["TokenValue"]


def test_what_has_ended_or_never_was_is_not_resumed(board: Any) -> None:
    """SEM 7.2: a terminated session can never be resumed."""
    session_id = board.open()
    board.world.call("TerminateSession", {"SessionId": session_id})
    for name in (session_id, "root-0123456789abcdef0"):
        with pytest.raises(DoesNotExistException):
            board.world.call("ResumeSession", {"SessionId": name})


def test_terminate_ends_for_good_and_repeats_are_harmless(board: Any) -> None:
    """Unknown ids are answered like known ones: AWS's model has no error for them."""
    session_id = board.open()
    for _ in range(2):
        assert board.world.call("TerminateSession", {"SessionId": session_id}) == {"SessionId": session_id}
    assert board.status(session_id) == "Terminated"
    unknown = {"SessionId": "root-0123456789abcdef0"}
    assert board.world.call("TerminateSession", unknown) == unknown


def test_a_session_of_another_account_is_none(board: Any) -> None:
    """Its id is no help."""
    session_id = board.open()
    other = board.world.as_root(board.world.other_account)
    board.world.call("TerminateSession", {"SessionId": session_id}, other)
    assert board.status(session_id) == "Connected"
    with pytest.raises(DoesNotExistException):
        board.world.call("ResumeSession", {"SessionId": session_id}, other)
