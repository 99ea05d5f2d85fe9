"""Control channels over real sockets, by both implementations of WebSocket."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fleetward.protocol.control_channel import AckCode, ReplyAcknowledged
from fleetward.protocol.frame import Frame, encode
from tests.channel import Channel, dial, result, step_of
from tests.serving import Node, ServerProcess, StartServer, eventually


def send_command(node: Node, **more: object) -> str:
    """A command for the node; its id."""
    request = {
        "InstanceIds": [node.node_id],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["echo hello"]},
        **more,
    }
    answer = node.server.call("SendCommand", request, node.server.root)
    assert answer.status == 200, answer.body
    return str(answer.json["Command"]["CommandId"])


def invocation(node: Node, command_id: str) -> dict[str, Any]:
    """GetCommandInvocation; empty while there is none."""
    answer = node.server.call(
        "GetCommandInvocation", {"CommandId": command_id, "InstanceId": node.node_id}, node.server.root
    )
    return answer.json if answer.status == 200 else {"Status": ""}


def status(node: Node, command_id: str) -> str:
    """The invocation's status."""
    return str(invocation(node, command_id)["Status"])


def connected(node: Node) -> bool:
    """GetConnectionStatus."""
    answer = node.server.call("GetConnectionStatus", {"Target": node.node_id}, node.server.root)
    return bool(answer.json["Status"] == "connected")


def closing_code(channel: Channel) -> int:
    """The code with which the server closes the channel; other messages before it are read away."""
    while True:
        try:
            channel.socket.recv(timeout=10)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 0


def test_a_command_goes_out_and_its_result_comes_back(machine: Node) -> None:
    """Job, acknowledgement, reply, acknowledged after it is stored."""
    with Channel(machine) as channel:
        command_id = send_command(machine)
        job = channel.run("hello\n")
        assert command_id in job.job_id
        found = invocation(machine, command_id)
        assert (found["Status"], found["StandardOutputContent"], found["ResponseCode"]) == ("Success", "hello\n", 0)


def test_connection_status_follows_the_channel(machine: Node) -> None:
    """Connected while it is open, not connected after."""
    assert not connected(machine)
    with Channel(machine):
        eventually(lambda: connected(machine))
    eventually(lambda: not connected(machine))


def test_a_reply_in_many_frames_is_one_message(machine: Node) -> None:
    """The official agent's library cuts a message every 4 KiB."""
    with Channel(machine) as channel:
        command_id = send_command(machine)
        job = channel.job()
        channel.acknowledge(job)
        message_id = uuid.uuid4()
        frame = channel.reply_frame(job, result("x" * 20_000, step=step_of(job)), message_id)
        channel.socket.send(frame[start : start + 4096] for start in range(0, len(frame), 4096))
        assert channel.event(ReplyAcknowledged).message_id == message_id
        assert invocation(machine, command_id)["StandardOutputContent"] == "x" * 20_000


def test_the_same_reply_twice_is_acknowledged_twice_and_counts_once(machine: Node) -> None:
    """Agents send a reply again with its message id until they hear that it is stored."""
    with Channel(machine) as channel:
        command_id = send_command(machine)
        job = channel.job()
        channel.acknowledge(job)
        message_id = uuid.uuid4()
        channel.reply(job, result("first\n", step=step_of(job)), message_id)
        channel.reply(job, result("second\n", step=step_of(job)), message_id)
        assert invocation(machine, command_id)["StandardOutputContent"] == "first\n"
        commands = machine.server.call("ListCommands", {"CommandId": command_id}, machine.server.root).json["Commands"]
        assert commands[0]["CompletedCount"] == 1


def test_a_refused_job_ends_with_its_meaning(machine: Node) -> None:
    """A document that the agent cannot read fails the invocation."""
    with Channel(machine) as channel:
        command_id = send_command(machine)
        channel.acknowledge(channel.job(), AckCode.INVALID_DOCUMENT)
        eventually(lambda: status(machine, command_id) == "Failed")


def test_an_upgrade_must_be_signed_by_the_node_itself(machine: Node) -> None:
    """No signature, another's channel, an operator's signature: refused before the upgrade is answered."""
    with pytest.raises(InvalidStatus) as unsigned:
        dial(machine, signed=False)
    assert b"MissingAuthenticationTokenException" in unsigned.value.response.body
    other = machine.server.join(5)
    with pytest.raises(InvalidStatus) as another:
        dial(machine, channel_id=other.node_id)
    assert another.value.response.status_code == 403
    assert b"AccessDeniedException" in another.value.response.body
    with pytest.raises(InvalidStatus) as operator:
        dial(machine, keys=machine.server.root)
    assert operator.value.response.status_code == 403


def test_a_get_without_upgrade_is_refused(machine: Node) -> None:
    """The path is a WebSocket's."""
    path = f"/v1/control-channel/{machine.node_id}"
    answer = machine.server.send("GET", path, b"", {}, machine.keys, service="ssmmessages")
    assert (answer.status, answer.code) == (400, "ValidationException")


@pytest.mark.parametrize("token", ["wrong", "", "A" * 200])
def test_a_wrong_token_closes_the_channel(machine: Node, token: str) -> None:
    """The socket is the node's, yet the first message carries no token of the server's."""
    with dial(machine) as socket:
        socket.send(f'{{"TokenValue":"{token}","AgentVersion":"3","PlatformType":"linux","RequestId":"1"}}')
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code in (1002, 1008)
    assert not connected(machine)


def test_a_token_opens_only_its_own_nodes_channel(machine: Node) -> None:
    """A token of another node is a wrong one."""
    other = machine.server.join(5)
    with Channel(machine, token=other.channel_token()) as channel:
        assert closing_code(channel) == 1008


def test_the_newest_connection_wins(machine: Node) -> None:
    """A second channel of a node replaces the first, which gets nothing more."""
    with Channel(machine) as first:
        eventually(lambda: connected(machine))
        with Channel(machine) as second:
            assert closing_code(first) == 1000
            command_id = send_command(machine)
            second.run()
            assert status(machine, command_id) == "Success"
            assert connected(machine)


def test_deregistration_closes_the_channel_at_once(machine: Node) -> None:
    """Nothing more goes to a node that is gone, nor is anything taken from it."""
    with Channel(machine) as channel:
        eventually(lambda: connected(machine))
        request = {"InstanceId": machine.node_id}
        assert machine.server.call("DeregisterManagedInstance", request, machine.server.root).status == 200
        assert closing_code(channel) in (1001, 1008)
    with pytest.raises(InvalidStatus) as refused:
        dial(machine)
    assert b"ExpiredTokenException" in refused.value.response.body


GARBAGE = {
    "binary before open": (b"\x00" * 200,),
    "second text": ("again",),
    "noise": (b"\xff" * 500,),
    "empty": (b"",),
    "short": (b"\x00\x00\x00\x74",),
    "not json": (encode(Frame("agent_job_reply", b"{", uuid.uuid4(), 1)),),
    "list": (encode(Frame("agent_job_ack", b"[]", uuid.uuid4(), 1)),),
    "many": (b"\x01", b"\x02", b"\x03"),
}


@pytest.mark.parametrize("messages", GARBAGE.values(), ids=GARBAGE)
def test_garbage_closes_politely(
    machine: Node, messages: tuple[bytes | str, ...], request: pytest.FixtureRequest
) -> None:
    """A close frame with the code of a protocol error, no failure in the log, and the node may connect again."""
    with Channel(machine) as channel:
        if "before open" not in request.node.name:
            eventually(lambda: connected(machine))
        with contextlib.suppress(ConnectionClosed):  # the server may close before it has been sent everything
            for message in messages:
                channel.socket.send(message)
        # what the node was still sending when the server closed makes TCP drop the goodbye now and then
        assert closing_code(channel) in ((1002, 0) if len(messages) > 1 else (1002,))
    with Channel(machine):
        eventually(lambda: connected(machine))


def test_unknown_kinds_of_frames_are_passed_over(machine: Node) -> None:
    """Telemetry and what later agents may send."""
    with Channel(machine) as channel:
        channel.socket.send(encode(Frame("agent_telemetry", b"{}", uuid.uuid4(), 1)))
        send_command(machine)
        channel.run()


def test_a_frame_of_more_than_a_mebibyte_ends_the_channel(machine: Node) -> None:
    """In one frame or in several."""
    with Channel(machine) as channel:
        eventually(lambda: connected(machine))
        channel.socket.send(b"x" * (1024 * 1024 + 100))
        assert closing_code(channel) in (1009, 1006, 0)
    with Channel(machine) as channel:
        eventually(lambda: connected(machine))
        channel.socket.send(b"x" * 65536 for _ in range(20))
        assert closing_code(channel) == 1009


def test_pings_are_answered(machine: Node) -> None:
    """The agent's own way to notice a dead connection."""
    with Channel(machine) as channel:
        assert channel.socket.ping().wait(10)


def test_a_channel_that_is_not_opened_in_time_is_closed(start_server: StartServer) -> None:
    """The token must follow the upgrade within the time for a head."""
    machine = start_server(header_timeout=0.3).join(4)
    with dial(machine) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_killed_server_loses_no_command(start_server: StartServer) -> None:
    """`kill -9` between acknowledgement and reply: after the restart the node reconnects and the result counts once."""
    server = start_server()
    machine = server.join(4)
    with Channel(machine) as channel:
        done = send_command(machine)
        channel.run()
        begun = send_command(machine)
        job = channel.job()
        channel.acknowledge(job)
        eventually(lambda: connected(machine))
        server.kill()
    server.start()
    assert status(machine, done) == "Success"
    with Channel(machine) as channel:
        channel.reply(job, result("hello\n", step=step_of(job)))
        assert status(machine, begun) == "Success"
        later = send_command(machine)
        channel.run()
        assert status(machine, later) == "Success"


def test_commands_wait_for_a_node_that_is_away(machine: Node) -> None:
    """Sent while the node has no channel, delivered when it opens one."""
    command_id = send_command(machine)
    eventually(lambda: status(machine, command_id) in ("Pending", "InProgress"))
    with Channel(machine) as channel:
        channel.run()
    eventually(lambda: status(machine, command_id) == "Success")


def test_a_stopping_server_says_goodbye(start_server: StartServer) -> None:
    """Channels are closed with 1001, the process ends with 0."""
    server = start_server()
    machine = server.join(4)
    with Channel(machine) as channel:
        eventually(lambda: connected(machine))
        assert server.stop() == 0
        assert closing_code(channel) == 1001


class Relay:
    """A way to the server on which, once it is `frozen`, nothing passes and nobody is told."""

    def __init__(self, server: ServerProcess) -> None:
        self.frozen = threading.Event()
        self.near, inner = socket.socketpair()
        far = server.plain_socket()
        self._ends = (inner, far)
        far.settimeout(None)
        ways = ((inner, far), (far, inner))
        self._pumps = [threading.Thread(target=self._pump, args=way, daemon=True) for way in ways]
        for pump in self._pumps:
            pump.start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self.frozen.is_set():
                    sink.sendall(data)

    def close(self) -> None:
        """End both connections."""
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # closed under a thread that reads, its number might be another's
        for pump in self._pumps:
            pump.join()
        for end in self._ends:
            end.close()


@pytest.mark.parametrize("websockets", ["picows", "websockets"])
def test_a_peer_that_vanished_is_not_connected_for_long_and_one_that_only_answers_pings_is(
    start_server: StartServer, websockets: str
) -> None:
    """Half-open: no close, no reset, just nothing any more."""
    silence = 1.2
    server = start_server(websockets=websockets, channel_silence=silence)
    vanishing, quiet = server.join(1), server.join(2)
    relay = Relay(server)
    with Channel(quiet), contextlib.closing(relay):
        Channel(vanishing, through=relay.near)
        eventually(lambda: connected(vanishing) and connected(quiet))
        opened = time.monotonic()
        eventually(lambda: time.monotonic() - opened > 2 * silence, within=10)
        assert connected(vanishing), "it answers pings"
        relay.frozen.set()
        frozen = time.monotonic()
        assert connected(vanishing)
        eventually(lambda: not connected(vanishing), within=10)
        assert time.monotonic() - frozen < 2.5 * silence
        assert connected(quiet)
        assert invocation_goes_to_the_newest(vanishing)


def invocation_goes_to_the_newest(node: Node) -> bool:
    """A node that comes back after it vanished gets what was sent meanwhile."""
    command_id = send_command(node)
    with Channel(node) as channel:
        channel.run()
    return status(node, command_id) == "Success"
