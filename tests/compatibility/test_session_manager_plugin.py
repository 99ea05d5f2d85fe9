"""The official session-manager-plugin, where one is on the PATH, by `aws ssm start-session` to our own agent."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.serving import REGION, StartServer, eventually
from tests.test_main_job import Machine

PLUGIN = shutil.which("session-manager-plugin")
AWS = Path(sys.executable).with_name("aws")
SENT = os.urandom(5 * 1024 * 1024)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PLUGIN is None, reason="there is no session-manager-plugin on the PATH"),
]


@pytest.fixture(scope="module")
def machine(start_server_of_module: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A node with our agent."""
    made = Machine(start_server_of_module(), tmp_path_factory.mktemp("plugin") / "state").start()
    yield made
    made.stop()


def start_session(machine: Machine, *words: str, size: tuple[int, int] = (24, 80)) -> Any:
    """`aws ssm start-session` at a terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "AWS_ENDPOINT_URL": machine.server.url,
        "AWS_CA_BUNDLE": str(machine.server.ca),
        "SSL_CERT_FILE": str(machine.server.ca),
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": machine.server.root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": machine.server.root.secret_access_key,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    command = ["ssm", "start-session", "--target", machine.node_id, *words]
    return pexpect.spawn(str(AWS), command, env=environment, timeout=30, dimensions=size, encoding="utf-8")


def session_id(child: Any) -> str:
    """The id that the plugin tells."""
    child.expect(r"Starting session with SessionId: (\S+)")
    return str(child.match[1])


def test_a_shell_echoes_resizes_and_interrupts(machine: Machine) -> None:
    child = start_session(machine, size=(33, 111))
    session_id(child)
    child.sendline("echo $((6 * 7))-here")
    child.expect("42-here")
    for size in ((33, 111), (40, 100)):
        child.setwinsize(*size)
        eventually(lambda size=size: _has_size(child, size))  # the plugin looks every half second
    child.sendline("sleep 60; echo ended with $?")
    child.expect("sleep 60")
    child.send("\x03")
    child.sendline("echo code=$?")
    child.expect("code=130")
    child.sendline("exit")
    child.expect("Exiting session")
    child.expect(pexpect.EOF)


def _has_size(child: Any, size: tuple[int, int]) -> bool:
    child.sendline("stty size; echo 'said' it")
    child.expect("said it")
    return f"{size[0]} {size[1]}" in child.before


def test_five_megabytes_are_printed_intact(machine: Machine) -> None:
    lines = 5 * 1024 * 1024 // 80
    child = start_session(machine)
    session_id(child)
    child.maxread = 65536
    script = f'for (i = 0; i < {lines}; i++) printf "%07d %070d\\n", i, 0'
    child.sendline(f"stty -echo; echo first-''mark; awk 'BEGIN {{ {script} }}'; echo last-''mark")
    child.expect("first-mark")
    child.expect("last-mark", timeout=60)
    assert re.findall(r"\d{7} 0{70}", child.before) == [f"{number:07d} {'0' * 70}" for number in range(lines)]
    child.sendline("exit")
    child.expect(pexpect.EOF)


def test_a_session_that_is_terminated_ends(machine: Machine) -> None:
    child = start_session(machine)
    name = session_id(child)
    child.sendline("echo re''ady")
    child.expect("ready")
    assert machine.server.call("TerminateSession", {"SessionId": name}, machine.server.root).status == 200
    child.expect("Terminated by", timeout=5)
    child.expect(pexpect.EOF, timeout=5)


def test_a_tunnel_carries_three_connections_intact(machine: Machine) -> None:
    with _echoing() as port:
        words = ["--document-name", "AWS-StartPortForwardingSession", "--parameters", f"portNumber={port}"]
        child = start_session(machine, *words)
        child.expect(r"Port (\d+) opened")
        local = int(child.match[1])
        child.expect("Waiting for connections")
        with ThreadPoolExecutor(3) as threads:
            digests = list(threads.map(lambda _: _echoed(local), range(3)))
        child.send("\x03")
        child.expect(pexpect.EOF)
    assert digests == [hashlib.sha256(SENT).hexdigest()] * 3


class _echoing:
    """A service that sends back what comes."""

    def __enter__(self) -> int:
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        port: int = self._listening.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                taken, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=_send_back, args=(taken,), daemon=True).start()


def _send_back(taken: socket.socket) -> None:
    with taken:
        while piece := taken.recv(65536):
            taken.sendall(piece)


def _echoed(port: int) -> str:
    """The digest of what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        writing = threading.Thread(target=connection.sendall, args=(SENT,))
        writing.start()
        digest, size = hashlib.sha256(), 0
        while size < len(SENT) and (piece := connection.recv(65536)):
            digest.update(piece)
            size += len(piece)
        writing.join()
    return digest.hexdigest()


def test_a_command_that_is_not_a_shell_shows_its_output(machine: Machine) -> None:
    words = ["--document-name", "AWS-StartNonInteractiveCommand", "--parameters", 'command=["echo one two"]']
    child = start_session(machine, *words)
    session_id(child)
    child.expect("one two")
    child.expect(pexpect.EOF)
