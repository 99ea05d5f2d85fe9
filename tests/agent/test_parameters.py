"""Parameters of Parameter Store in commands: put in by the agent on a real server; secrets only where they belong."""

from __future__ import annotations

import base64
import http.server
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.machine import AgentProcess
from tests.serving import ServerProcess

SECRET = "wordOfTheNode"


class Locked(http.server.BaseHTTPRequestHandler):
    """Serves a script to whoever knows the secret."""

    def do_GET(self) -> None:
        right = "Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode()
        known = self.headers.get("Authorization", "") == right
        body = b"echo fetched\n" if known else b""
        self.send_response(200 if known else 401)
        for name, value in (("WWW-Authenticate", 'Basic realm="x"'), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def locked() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Locked)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/script"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def agent(serving: ServerProcess, tmp_path: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(serving, tmp_path)
    yield made
    if made.process is not None:
        made.end(signal.SIGKILL)


def test_the_node_puts_values_in_and_keeps_no_secret(agent: AgentProcess, locked: str) -> None:
    client = agent.server.client()
    client.put_parameter(Name="/agent/word", Value="first", Type="String")
    client.put_parameter(Name="/agent/word", Value="second", Overwrite=True)
    client.put_parameter(Name="/agent/secret", Value=SECRET, Type="SecureString")
    agent.start()
    seen = agent.result(agent.send("echo {{ssm:/agent/word}} {{ ssm:/agent/word:1 }}"))
    assert seen["StandardOutputContent"] == "second first\n"
    info = {
        "url": locked,
        "allowInsecureDownload": True,
        "authMethod": "Basic",
        "username": "user",
        "password": "{{ssm-secure:/agent/secret}}",
    }
    inputs = {"sourceType": "HTTP", "sourceInfo": json.dumps(info), "destinationPath": ""}
    steps = [
        {"action": "aws:downloadContent", "name": "download", "inputs": inputs},
        {"action": "aws:runShellScript", "name": "perform", "inputs": {"runCommand": ["sh script"]}},
    ]
    content = json.dumps({"schemaVersion": "2.2", "description": "", "mainSteps": steps})
    client.create_document(Name="Agent-Secret", Content=content, DocumentType="Command")
    command = agent.send(document="Agent-Secret")
    assert agent.result(command, "perform")["StandardOutputContent"] == "fetched\n"
    kept = [path for path in agent.state.root.rglob("*") if path.is_file()]
    assert kept
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)


def test_what_is_not_there_is_told_to_the_sender(serving: ServerProcess, agent: AgentProcess) -> None:
    client = serving.client()
    with pytest.raises(client.exceptions.InvalidParameters):
        agent.send("echo {{ssm:/agent/none}}")
