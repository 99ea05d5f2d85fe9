"""`fleetward ssh-proxy` as OpenSSH runs it: standard input and output are one connection, nothing else is written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

import pytest

from fleetward.protocol.data_channel.flags import PortFlag, flag_payload
from fleetward.protocol.frame import PayloadType
from tests.client.far_end import NODE, FarEnd, served
from tests.serving import FLEETWARD

RAW = {"portNumber": "22"}


def environment(end: FarEnd) -> Mapping[str, str]:
    """An operator's environment that leads to a far end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FLEETWARD_"))}
    return kept | {
        "AWS_ENDPOINT_URL": end.endpoint,
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
    }


def proxy(end: FarEnd, given: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    with served(end):
        command = [str(FLEETWARD), "ssh-proxy", NODE, *words]
        return subprocess.run(command, input=given, env=environment(end), capture_output=True, timeout=30, check=False)


class Server:
    """What listens on the node's port: echoes, and ends when told."""

    def __init__(self) -> None:
        self.flags: list[bytes] = []

    def __call__(self, end: FarEnd, payload_type: int, payload: bytes) -> None:
        """A payload came."""
        if payload_type == PayloadType.FLAG:
            self.flags.append(payload)
            end.end()
        elif payload_type == PayloadType.OUTPUT:
            end.send(PayloadType.OUTPUT, payload)
            if payload.endswith(b"quit\n"):
                end.end()


@pytest.mark.parametrize("is_ours", [True, False])
def test_bytes_pass_both_ways_until_the_far_side_ends(is_ours: bool) -> None:
    data = os.urandom(300_000) + b"quit\n"
    end = FarEnd(Server(), session_type="Port", properties=RAW, is_ours=is_ours)
    done = proxy(end, data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data
    (asked,) = end.called("StartSession")
    assert asked == {"Target": NODE, "DocumentName": "AWS-StartSSHSession", "Parameters": {"portNumber": ["22"]}}


def test_the_end_of_input_ends_the_session_after_all_has_arrived() -> None:
    server = Server()
    end = FarEnd(server, session_type="Port", properties=RAW)
    done = proxy(end, b"x" * 100_000, "2222")
    assert done.returncode == 0
    assert end.called("StartSession")[0]["Parameters"] == {"portNumber": ["2222"]}
    assert end.typed() == b"x" * 100_000
    assert server.flags == [flag_payload(PortFlag.TERMINATE_SESSION)]


def test_failures_are_told_on_standard_error_alone() -> None:
    def refuses(end: FarEnd, payload_type: int, payload: bytes) -> None:
        end.send(PayloadType.FLAG, flag_payload(PortFlag.CONNECT_TO_PORT_ERROR))

    done = proxy(FarEnd(refuses, session_type="Port", properties=RAW), b"hello")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"could not connect to the port" in done.stderr
    done = proxy(FarEnd(), b"")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"does not carry one raw connection" in done.stderr
    end = FarEnd()
    end.refuse["StartSession"] = (400, "TargetNotConnected")
    done = proxy(end, b"")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"fleetward: TargetNotConnected: no StartSession\n")
