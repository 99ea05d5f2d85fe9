"""`fleetward doctor`: what it finds on good roads and on broken ones, each made of real sockets."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from fleetward.cli.doctor import checks
from fleetward.cli.doctor.road import Answer, Road
from fleetward.server import certificates
from tests.serving import FLEETWARD, Node, ServerProcess, StartServer

Change = Callable[[bytes, int], bytes | None]


def doctor(*words: object, keys: Any = None, **environment: str) -> tuple[int, dict[str, Any]]:
    """Its exit code, and its findings by name."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "FLEETWARD_", "SSL_")) and not name.lower().endswith("_proxy")
    }
    kept |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    if keys is not None:
        kept |= {"AWS_ACCESS_KEY_ID": keys.access_key_id, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key}
    done = subprocess.run(
        [str(FLEETWARD), "doctor", "--json", *map(str, words)],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    found = json.loads(done.stdout)
    assert found["healthy"] is (done.returncode == 0)
    return done.returncode, {each["check"]: each for each in found["checks"]}


def statuses(found: dict[str, Any]) -> dict[str, str]:
    """How each check stands."""
    return {name: each["status"] for name, each in found.items()}


class Between:
    """Something between client and server, that may change, hold back or refuse what passes; or a proxy."""

    def __init__(self, target: tuple[str, int] | None, change: Change | None = None, answer: bytes = b"") -> None:
        self.target = target
        self.change = change
        self.answer = answer
        self.asked: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            target = self.target
            if target is None:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += near.recv(1)
                self.asked.append(head)
                near.sendall(self.answer or b"HTTP/1.1 200 Connection established\r\n\r\n")
                if self.answer:
                    return
                host, _, port = head.split()[1].decode().rpartition(":")
                target = (host, int(port))
            with socket.create_connection(target) as far:
                back = threading.Thread(target=self._pass, args=(far, near, None), daemon=True)
                back.start()
                self._pass(near, far, self.change)
                back.join(5)

    def _pass(self, source: socket.socket, sink: socket.socket, change: Change | None) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                sent = change(data, passed) if change is not None else data
                if sent is not None:
                    sink.sendall(sent)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@contextmanager
def between(target: tuple[str, int] | None, change: Change | None = None, answer: bytes = b"") -> Iterator[Between]:
    """It, for a while."""
    made = Between(target, change, answer)
    try:
        yield made
    finally:
        made.close()


def test_a_good_road_is_found_good(serving: ServerProcess) -> None:
    """Everything passes; an address is no domain for official agents, which is worth a warning only."""
    code, found = doctor("--endpoint", serving.url, "--ca", serving.ca, keys=serving.root)
    assert code == 0
    expected = dict.fromkeys(
        ["proxy", "dns", "tcp", "tls", "server", "clock", "credentials", "websocket", "size"], "ok"
    )
    assert statuses(found) == expected | {"agent names": "warning"}
    assert ":root in us-east-1" in found["credentials"]["said"]
    assert found["size"]["said"] == "256 KiB pass, up and down"


def test_the_aws_environment_names_endpoint_and_ca(serving: ServerProcess) -> None:
    """As for every AWS program; without keys the rest is still checked."""
    code, found = doctor(AWS_ENDPOINT_URL=serving.url, AWS_CA_BUNDLE=str(serving.ca))
    assert (code, found["credentials"]["status"], found["websocket"]["status"]) == (0, "skipped", "ok")


def test_without_an_endpoint_it_is_called_wrongly() -> None:
    for words in ([], ["--endpoint", "fleet.example"]):
        environment = os.environ | {"AWS_CONFIG_FILE": os.devnull, "AWS_ENDPOINT_URL": ""}
        done = subprocess.run([str(FLEETWARD), "doctor", *words], env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (2, b"")


def test_lines_for_people_say_what_to_do(serving: ServerProcess) -> None:
    """One for each finding, and below it what to mend."""
    command = [str(FLEETWARD), "doctor", "--endpoint", serving.url, "--timeout", "5"]
    environment = os.environ | {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    number = next(number for number, line in enumerate(lines) if line.startswith("FAIL  tls "))
    assert "--ca" in lines[number + 1]


def test_it_looks_as_a_node(serving: ServerProcess, node: Node, tmp_path: Path) -> None:
    """With the files of an agent's state folder, and nobody else's keys."""
    (tmp_path / "ca.pem").write_bytes(serving.ca.read_bytes())
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = {node.keys.access_key_id}\n"
        f"aws_secret_access_key = {node.keys.secret_access_key}\naws_session_token = {node.keys.session_token}\n"
        f"region = us-east-1\nendpoint_url = {serving.url}\n"
    )
    code, found = doctor("--state", tmp_path, keys=serving.root)
    assert (code, found["websocket"]["status"]) == (0, "ok")
    assert node.node_id in found["credentials"]["said"]


def test_keys_that_do_not_fit_are_told_apart(serving: ServerProcess) -> None:
    """Unknown, wrong secret, unknown region."""
    from fleetward.protocol.sigv4 import Credentials

    for keys, region, words in (
        (Credentials("AKIANOBODY", "x"), "us-east-1", "root-credentials.json"),
        (Credentials(serving.root.access_key_id, "x"), "us-east-1", "secret"),
        (serving.root, "mars-north-1", "region"),
    ):
        code, found = doctor("--endpoint", serving.url, "--ca", serving.ca, keys=keys, AWS_DEFAULT_REGION=region)
        assert (code, found["credentials"]["status"]) == (1, "failed")
        assert words in found["credentials"]["mend"]


def operators(start_server: StartServer, folder: Path, names: list[str], now: datetime) -> tuple[ServerProcess, Path]:
    """A server with a certificate of our making, and its CA."""
    files = certificates.prepare(folder, names, ["us-east-1"], now)
    return start_server(tls_certificate=files.certificate, tls_key=files.key), files.ca


@pytest.mark.parametrize(
    ("name", "days", "status", "words"),
    [
        ("other.example", 0, "failed", "--name 127.0.0.1"),
        ("127.0.0.1", 91, "failed", "past its time"),
        ("127.0.0.1", 85, "warning", "renews"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(
    start_server: StartServer, tmp_path: Path, name: str, days: int, status: str, words: str
) -> None:
    """Its names and its time; keys are not sent to whom is not trusted."""
    server, ca = operators(start_server, tmp_path / "tls", [name], datetime.now(UTC) - timedelta(days=days))
    _, found = doctor("--endpoint", server.url, "--ca", ca, keys=server.root)
    assert found["tls"]["status"] == status
    assert words in found["tls"]["mend"]
    assert found["credentials"]["status"] == ("skipped" if status == "failed" else "ok")


def test_an_unreadable_ca_is_named(serving: ServerProcess, tmp_path: Path) -> None:
    code, found = doctor("--endpoint", serving.url, "--ca", tmp_path / "absent.pem")
    assert (code, found["tls"]["status"]) == (1, "failed")
    assert "absent.pem" in found["tls"]["said"]


def test_who_is_not_there_is_told_and_nothing_else_tried() -> None:
    """No such name; nobody listening."""
    code, found = doctor("--endpoint", "https://nowhere.invalid:8443")
    assert (code, statuses(found)) == (1, {"proxy": "ok", "dns": "failed"})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, found = doctor("--endpoint", f"https://127.0.0.1:{port}")
    assert (code, statuses(found)) == (1, {"proxy": "ok", "dns": "ok", "tcp": "failed"})


def test_another_program_is_not_taken_for_a_control_plane() -> None:
    """A port that speaks no TLS, and a web server of somebody else's."""

    def web(data: bytes, passed: int) -> bytes | None:
        return None

    with socket.create_server(("127.0.0.1", 0)) as silent, between(("127.0.0.1", silent.getsockname()[1]), web) as port:
        code, found = doctor("--endpoint", f"https://127.0.0.1:{port.port}", "--timeout", "0.5")
        assert (code, found["tls"]["status"]) == (1, "failed")
    answer = checks.server(Road.to("https://x.example", "", 1), Answer(302, {}, b"sign in"))
    assert (answer.status, "sign-in page" in answer.mend) == ("failed", True)
    answer = checks.server(Road.to("https://x.example", "", 1), Answer(421, {}, b""))
    assert (answer.status, "--name x.example" in answer.mend) == ("failed", True)


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0, "ok"), (50, "ok"), (-90, "warning"), (299, "warning"), (301, "failed"), (-4000, "failed")],
)
def test_the_clock_is_compared_with_the_servers(seconds: int, status: str) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    found = checks.clock(Answer(200, {"date": format_datetime(now - timedelta(seconds=seconds))}, b""), now)
    assert found.status == status
    assert (f"{abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'}" in found.said) or seconds == 0
    assert checks.clock(Answer(200, {}, b""), now).status == "skipped"


def test_a_proxy_is_used_told_and_bypassed(serving: ServerProcess) -> None:
    """CONNECT with the proxy's password; NO_PROXY counts."""
    words = ["--endpoint", serving.url, "--ca", serving.ca]
    with between(None) as proxy:
        address = f"http://user:p%40ss@127.0.0.1:{proxy.port}"
        code, found = doctor(*words, keys=serving.root, HTTPS_PROXY=address)
        assert (code, found["websocket"]["status"], found["size"]["status"]) == (0, "ok", "ok")
        assert f"127.0.0.1:{proxy.port} is used" in found["proxy"]["said"]
        assert "p%40ss" not in json.dumps(found)
        assert b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in proxy.asked[0]
        asked = len(proxy.asked)
        code, found = doctor(*words, HTTPS_PROXY=address, NO_PROXY="127.0.0.1")
        assert (code, len(proxy.asked), "NO_PROXY" in found["proxy"]["said"]) == (0, asked, True)
    with between(None, answer=b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as proxy:
        code, found = doctor(*words, HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}")
        assert (code, found["tcp"]["status"]) == (1, "failed")
        assert "407" in found["tcp"]["said"]


def test_large_messages_that_stick_are_found(serving: ServerProcess) -> None:
    """As behind a path with a smaller MTU than announced: what is small passes."""

    def sticks(data: bytes, passed: int) -> bytes | None:
        return data if passed < 50_000 else None

    with between((serving.host, serving.port), sticks) as middle:
        address = f"https://127.0.0.1:{middle.port}"
        code, found = doctor("--endpoint", address, "--ca", serving.ca, "--timeout", "1", keys=serving.root)
    assert (code, found["credentials"]["status"], found["websocket"]["status"]) == (1, "ok", "ok")
    assert (found["size"]["status"], "MTU" in found["size"]["mend"]) == ("failed", True)


@pytest.mark.parametrize("signed", [True, False])
def test_a_box_that_takes_upgrades_apart_is_found(start_server: StartServer, signed: bool) -> None:
    """It forwards requests, but not `Upgrade`; on plain HTTP, where it can."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start_server(http=f"127.0.0.1:{port}")

    def strips(data: bytes, passed: int) -> bytes | None:
        return data.replace(b"Upgrade: websocket\r\n", b"").replace(
            b"Connection: Upgrade\r\n", b"Connection: close\r\n"
        )

    with between(("127.0.0.1", port), strips) as middle:
        address = f"http://127.0.0.1:{middle.port}"
        code, found = doctor("--endpoint", address, keys=server.root if signed else None)
    assert (code, found["websocket"]["status"]) == (1, "failed")
    assert "Upgrade" in found["websocket"]["mend"]
    assert found["server"]["status"] == "ok"


def test_names_of_official_agents_are_tried(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With DNS records for all of them, for none, and with a certificate that lacks them; DNS is played."""
    server = start_server(name="fleet.test")
    road = Road.to(f"https://fleet.test:{server.port}", str(server.ca), 5)
    resolve, known = socket.getaddrinfo, "fleet.test"

    def played(host: Any, *arguments: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(known) else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", played)
    assert [(each.check, each.status) for each in checks.agent_names(road, "us-east-1")] == [
        ("agent s3", "ok"),
        ("agent domain", "ok"),
    ]
    missing = list(checks.agent_names(road, "eu-west-9"))
    assert [each.status for each in missing] == ["ok", "warning"]
    assert "does not stand for ssm.eu-west-9.fleet.test" in missing[1].said
    known = "nothing"
    assert {each.status for each in checks.agent_names(road, "us-east-1")} == {"warning"}


def test_an_answer_that_is_no_http_is_a_finding() -> None:
    """And not an exception of a library."""
    assert issubclass(http.client.BadStatusLine, http.client.HTTPException)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    with listening.accept()[0] as accepted:
                        accepted.recv(1000)
                        accepted.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
                except OSError:
                    return

        threading.Thread(target=answer, daemon=True).start()
        code, found = doctor("--endpoint", f"http://127.0.0.1:{listening.getsockname()[1]}")
    assert (code, found["server"]["status"]) == (1, "failed")
