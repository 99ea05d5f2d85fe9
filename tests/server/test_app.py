"""The server as a process: start, files, signals, folders."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

from fleetward.server import certificates
from tests.serving import FLEETWARD, ServerProcess, StartServer, eventually


def shown_certificate(server: ServerProcess, context: ssl.SSLContext) -> bytes:
    """What a client sees now."""
    with socket.create_connection((server.host, server.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=server.host) as secure:
            return secure.getpeercert(binary_form=True) or b""


def test_the_first_start_makes_root_and_says_where_not_what(start_server: StartServer) -> None:
    """The file is its owner's alone; the secret is neither printed nor logged; a second start makes no other."""
    server = start_server()
    file = server.data / "root-credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((server.data / "keys.json").stat().st_mode) == 0o600
    assert str(file) in server.log.read_text()
    assert json.loads(file.read_text())["secret_access_key"] not in server.log.read_text()
    before = file.read_bytes()
    assert server.stop() == 0
    server.start()
    assert file.read_bytes() == before
    assert server.call("ListNodes", {}, server.root).status == 200


def test_two_servers_on_one_folder_refuse(serving: ServerProcess) -> None:
    """The second ends with one sentence; the first goes on. `init` is refused alike."""
    import subprocess

    for command in (
        ["server", "--data", str(serving.data), "--listen", "127.0.0.1:0"],
        ["init", "--data", str(serving.data), "--reset-root"],
    ):
        done = subprocess.run([str(FLEETWARD), *command], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "another server is using" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    assert serving.call("ListNodes", {}, serving.root).status == 200


def test_a_killed_server_frees_its_folder(start_server: StartServer) -> None:
    """The lock goes with the process, and what was answered is there."""
    server = start_server()
    activation_id, _ = server.activation()
    server.kill()
    server.start()
    found = server.call("DescribeActivations", {}, server.root).json["ActivationList"]
    assert [each["ActivationId"] for each in found] == [activation_id]


def operators_files(folder: Path, names: list[str]) -> certificates.Files:
    """A certificate that is not the server's own."""
    return certificates.prepare(folder, names, ["us-east-1"], datetime.now(UTC))


def test_sighup_loads_an_operators_files_anew(start_server: StartServer, tmp_path: Path) -> None:
    """Later connections see the new certificate, earlier ones live on; a broken file changes nothing."""
    first, second = (operators_files(tmp_path / name, ["127.0.0.1"]) for name in ("first", "second"))
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    certificate.write_bytes(first.certificate.read_bytes())
    key.write_bytes(first.key.read_bytes())
    server = start_server(tls_certificate=certificate, tls_key=key, run=False)
    server.start()
    trusting = ssl.create_default_context(cafile=str(first.ca))
    trusting.load_verify_locations(second.ca)
    before = shown_certificate(server, trusting)
    assert before == ssl.PEM_cert_to_DER_cert(first.certificate.read_text())
    with socket.create_connection((server.host, server.port), timeout=10) as plain:
        with trusting.wrap_socket(plain, server_hostname=server.host) as kept:
            certificate.write_bytes(second.certificate.read_bytes())
            key.write_bytes(second.key.read_bytes())
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: shown_certificate(server, trusting) != before)
            kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")
    certificate.write_text("nonsense")
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: "cannot use" in server.log.read_text())
    assert shown_certificate(server, trusting) == ssl.PEM_cert_to_DER_cert(second.certificate.read_text())


def test_unusable_files_of_an_operator_end_the_start_with_one_sentence(
    start_server: StartServer, tmp_path: Path
) -> None:
    """Which file, and why."""
    (tmp_path / "x.pem").write_text("nonsense")
    server = start_server(run=False, tls_certificate=tmp_path / "x.pem", tls_key=tmp_path / "x.pem")
    process = server.spawn()
    assert process.wait(20) == 1
    assert process.stdout is not None
    process.stdout.close()
    assert "Traceback" not in server.log.read_text()
    assert f"cannot use {tmp_path / 'x.pem'}" in server.log.read_text()


def test_ordinary_work_logs_no_failure(start_server: StartServer) -> None:
    """Started, joined, commanded, stopped."""
    server = start_server()
    node = server.join(1)
    node.beat()
    request = {
        "InstanceIds": [node.node_id],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["true"]},
    }
    assert server.call("SendCommand", request, server.root).status == 200
    assert server.stop() == 0
    assert [line for line in server.logged() if line["level"] == "error"] == []
