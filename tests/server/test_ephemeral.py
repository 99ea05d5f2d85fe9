"""Servers whose data need not outlive them: where it lies, how it is emptied, and that nobody else's ever is."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from fleetward.server.backends.store_sqlite import SqliteStore, driver
from tests.channel import Channel
from tests.serving import FLEETWARD, ServerProcess, StartServer, eventually

RESET = "/_fleetward/reset"


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """An ephemeral server on a folder that the test sees."""
    return start_server(ephemeral="true")


def everything(server: ServerProcess) -> dict[str, int]:
    """How many rows each table has."""
    with sqlite3.connect(server.data / "fleetward.db") as store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: store.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


def test_without_a_folder_data_goes_with_the_server(tmp_path: Path) -> None:
    """It says where root's credentials are, and removes all at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEETWARD_")}
    process = subprocess.Popen(
        [str(FLEETWARD), "server", "--ephemeral", "--listen", "127.0.0.1:0"],
        env=environment | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready https://127.0.0.1:")
        (folder,) = tmp_path.iterdir()
        root = json.loads((folder / "root-credentials.json").read_text())
        assert root["secret_access_key"]
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"root credentials are in {folder / 'root-credentials.json'}" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_ephemeral_needs_a_folder(tmp_path: Path) -> None:
    """Wrong usage, in one sentence; nothing is made."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEETWARD_")}
    done = subprocess.run(
        [str(FLEETWARD), "server"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "--data" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reset_leaves_what_a_first_start_makes(server: ServerProcess) -> None:
    """Rows and objects are gone, root's key stays good, and work begins anew."""
    before = everything(server)
    node = server.join(1)
    node.beat()
    ids = {"InstanceIds": [node.node_id], "DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["id"]}}
    assert server.call("SendCommand", ids, server.root).status == 200
    added = {"RegionName": "eu-central-1"}
    assert server.call("AddRegion", added, server.root, service="fleetward").status == 200
    stray = server.data / "objects" / "x" / "y@"
    stray.parent.mkdir(parents=True)
    stray.write_text("an object")
    answer = server.raw("POST", RESET)
    assert (answer.status, answer.body) == (200, b"reset\n")
    assert server.call("ListCommands", {}, server.root).json["Commands"] == []
    assert server.call("DescribeActivations", {}, server.root).json["ActivationList"] == []
    assert server.call("ListNodes", {}, server.root, region="eu-central-1").code == "InvalidSignatureException"
    assert not stray.exists()
    changing = {"audit_records", "iam_epochs", "timer_leases", "store_marks"}
    after = everything(server)
    assert {name: count for name, count in after.items() if name not in changing} == {
        name: count for name, count in before.items() if name not in changing
    }
    assert server.join(2).node_id != node.node_id
    assert server.role("Administrator").session_token


def test_a_reset_ends_channels_and_keys_of_nodes(server: ServerProcess) -> None:
    """A node of before is nobody."""
    node = server.join(1)
    with Channel(node) as channel:
        asked = {"Target": node.node_id}
        eventually(lambda: server.call("GetConnectionStatus", asked, server.root).json["Status"] == "connected")
        assert server.raw("POST", RESET).status == 200
        with pytest.raises(ConnectionClosed):
            channel.socket.recv(timeout=10)
    request = {"InstanceId": node.node_id}
    assert node.call("UpdateInstanceInformation", request).code == "ExpiredTokenException"
    assert (
        node.by_key("RequestManagedInstanceRoleToken", {"Fingerprint": "first"}).code == "UnrecognizedClientException"
    )


def test_only_an_ephemeral_server_has_the_route(serving: ServerProcess) -> None:
    assert serving.raw("POST", RESET).code == "UnknownOperationException"


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_web_page_cannot_reset(server: ServerProcess, headers: dict[str, str]) -> None:
    """A browser on the same machine asks from loopback too."""
    activation_id, _ = server.activation()
    assert server.raw("POST", RESET, headers=headers).status == 403
    assert server.raw("GET", RESET).status == 400
    kept = server.call("DescribeActivations", {}, server.root).json["ActivationList"]
    assert [each["ActivationId"] for each in kept] == [activation_id]


def test_others_than_loopback_cannot_reset(start_server: StartServer) -> None:
    """Also not through a proxy on loopback that says for whom it asks."""
    server = start_server(ephemeral="true", trusted_proxy="127.0.0.0/8")
    assert server.raw("POST", RESET, headers={"X-Forwarded-For": "203.0.113.9"}).status == 403
    assert server.raw("POST", RESET).status == 200


def test_an_ephemeral_folder_may_become_a_lasting_one_but_not_back(start_server: StartServer) -> None:
    """So that nobody's data is emptied because of one wrong option."""
    server = start_server(ephemeral="true")
    server.stop()
    server.start()
    server.stop()
    server.settings = {}
    server.start()
    activation_id, _ = server.activation()
    server.stop()
    server.settings = {"ephemeral": "true"}
    process = server.spawn()
    assert process.wait(20) == 1
    assert process.stdout is not None
    process.stdout.close()
    assert "not ephemeral" in server.log.read_text()
    server.settings = {}
    server.start()
    assert (
        server.call("DescribeActivations", {}, server.root).json["ActivationList"][0]["ActivationId"] == activation_id
    )


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 0)])
def test_only_commits_of_lasting_data_wait_for_the_disk(tmp_path: Path, durable: bool, synchronous: int) -> None:
    store = SqliteStore(tmp_path / "t.db", threads=False, durable=durable)
    with store.engine.connect() as connection:
        assert driver(connection).execute("PRAGMA synchronous").fetchone()[0] == synchronous
    store.close()


def test_a_server_that_is_refused_the_folder_does_not_claim_it(server: ServerProcess) -> None:
    """A lasting server started by mistake on a folder in use leaves it as it was."""
    command = [str(FLEETWARD), "server", "--data", str(server.data), "--listen", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "another server is using" in done.stderr) == (1, True)
    server.stop()
    server.start()
    assert server.raw("POST", RESET).status == 200
