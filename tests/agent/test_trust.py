"""Trust: a node learns of a new CA from the one it knows, and from nobody else; end to end with real processes."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fleetward.agent import trust
from fleetward.agent.client import Endpoint, trust_only
from fleetward.agent.http import HttpFault, Url
from fleetward.server import authority, certificates
from tests.agent.machine import AgentProcess
from tests.serving import FLEETWARD, ServerProcess, StartServer, eventually

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A server's certificates with a rotation under way."""
    made = tmp_path / "tls"
    certificates.prepare(made, ["127.0.0.1"], ["us-east-1"], NOW)
    authority.begin(made, NOW + timedelta(seconds=2), None)
    return made


def pems(folder: Path) -> tuple[str, str, str]:
    """The old CA, the new one, and the succession."""
    old, new = (
        authority.pem(each).decode() for each in x509.load_pem_x509_certificates((folder / "ca.pem").read_bytes())
    )
    return old, new, (folder / "succession.pem").read_text()


LATER = NOW + timedelta(seconds=5)


def test_a_ca_that_a_known_one_signed_is_believed_beside_it(folder: Path) -> None:
    old, new, succession = pems(folder)
    assert trust.blocks(trust.judged(old, old + new, succession, LATER)) == trust.blocks(old + new)


def test_after_the_switch_the_old_ca_is_forgotten(folder: Path) -> None:
    """By whoever knows the new one."""
    old, new, _ = pems(folder)
    assert trust.blocks(trust.judged(old + new, new, "", LATER)) == trust.blocks(new)


def test_nobody_takes_a_younger_ca_away(folder: Path) -> None:
    """A stolen certificate of the old CA must not outlive the rotation."""
    old, new, _ = pems(folder)
    assert trust.blocks(trust.judged(old + new, old, "", LATER)) == trust.blocks(old + new)


def test_a_ca_without_succession_is_not_believed(folder: Path, tmp_path: Path) -> None:
    """Neither alone, nor with somebody else's succession, nor one signed by itself."""
    old, new, succession = pems(folder)
    other = tmp_path / "other"
    certificates.prepare(other, ["127.0.0.1"], ["us-east-1"], NOW)
    authority.begin(other, NOW + timedelta(seconds=2), None)
    _, stranger, strange_succession = pems(other)
    for offered, voucher in (
        (new, ""),
        (new, new),
        (stranger, succession),
        (stranger, strange_succession),
        (stranger, stranger),
        (new, strange_succession),
    ):
        assert trust.blocks(trust.judged(old, old + offered, voucher, LATER)) == trust.blocks(old)
        assert trust.blocks(trust.judged(old, offered, voucher, LATER)) == trust.blocks(old)


def test_a_server_certificate_vouches_for_nobody(folder: Path) -> None:
    """Known or not: only CAs sign CAs."""
    old, new, succession = pems(folder)
    server = (folder / "server.pem").read_text()
    assert trust.blocks(trust.judged(old, old + server, server, LATER)) == trust.blocks(old)
    assert trust.blocks(trust.judged(server, new, succession, LATER)) == trust.blocks(server)


def test_what_is_out_of_its_time_is_not_believed(folder: Path) -> None:
    old, new, succession = pems(folder)
    for when in (NOW - timedelta(days=1), NOW + timedelta(days=4000)):
        assert trust.blocks(trust.judged(old, old + new, succession, when)) == trust.blocks(old)


def test_what_cannot_be_read_is_a_fault(folder: Path) -> None:
    old, _, succession = pems(folder)
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    with pytest.raises(trust.TrustFault):
        trust.judged(old, broken, succession, LATER)
    with pytest.raises(trust.TrustFault, match="too many"):
        trust.judged(old, old * 33, "", LATER)


def ca(server: ServerProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """`fleetward ca …` on the folder of a server."""
    command = [str(FLEETWARD), "ca", *words, "--data", str(server.data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def hang_up(server: ServerProcess) -> None:
    """SIGHUP."""
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


def answers(server: ServerProcess, file: Path) -> bool:
    """Whether a client that trusts only this file is answered."""
    import http.client

    context = ssl.create_default_context(cafile=str(file))
    connection = http.client.HTTPSConnection(server.host, server.port, timeout=10, context=context)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except ssl.SSLError:
        return False
    finally:
        connection.close()


@pytest.fixture
def agent(start_server: StartServer, tmp_path: Path) -> Iterator[AgentProcess]:
    made = AgentProcess(start_server(), tmp_path)
    yield made
    if made.process is not None:
        made.end(signal.SIGKILL)


def test_an_agent_follows_a_rotation_without_joining_again(agent: AgentProcess, tmp_path: Path) -> None:
    """Begun, learnt, switched, worked on; who only knows the old CA is left behind, and the old one is forgotten."""
    server = agent.server
    old = tmp_path / "old.pem"
    old.write_bytes(server.ca.read_bytes())
    begun = ca(server, "rotate")
    assert begun.returncode == 0, begun.stderr
    assert "--finish" in begun.stdout
    agent.start()
    eventually(lambda: trust.blocks(agent.state.ca.read_text()) == trust.blocks(server.ca.read_text()))
    assert len(trust.blocks(agent.state.ca.read_text())) == 2
    assert answers(server, old)
    finished = ca(server, "rotate", "--finish")
    assert finished.returncode == 0, finished.stderr
    hang_up(server)
    eventually(lambda: not answers(server, old))
    assert agent.result(agent.send("echo followed"))["StandardOutputContent"] == "followed\n"
    agent.end()
    agent.start()
    eventually(lambda: trust.blocks(agent.state.ca.read_text()) == trust.blocks(server.ca.read_text()))
    assert len(trust.blocks(agent.state.ca.read_text())) == 1
    assert agent.result(agent.send("echo again"))["Status"] == "Success"


def test_a_running_agent_changes_whom_it_trusts(agent: AgentProcess) -> None:
    """Calls from then on go by the new CAs; a second look changes nothing; the endpoint has what the file has."""
    server, state = agent.server, agent.state
    assert ca(server, "rotate").returncode == 0
    endpoint = Endpoint(Url.parse(server.url), trust_only(state.ca), "us-east-1")
    before = endpoint.trust
    assert asyncio.run(trust.renew(state, endpoint)) is True
    assert endpoint.trust is not before
    assert asyncio.run(trust.renew(state, endpoint)) is False
    assert sorted(path.name for path in state.root.glob("ca.pem*")) == ["ca.pem"]
    assert ca(server, "rotate", "--finish").returncode == 0
    hang_up(server)
    eventually(lambda: asyncio.run(trust.renew(state, endpoint)))
    assert len(trust.blocks(state.ca.read_text())) == 1


def test_nothing_is_learnt_over_a_connection_that_is_not_trusted(agent: AgentProcess, tmp_path: Path) -> None:
    """Somebody else's server gives out somebody else's CA."""
    stranger = certificates.prepare(tmp_path / "stranger", ["127.0.0.1"], ["us-east-1"], NOW)
    agent.state.ca.write_bytes(stranger.ca.read_bytes())
    endpoint = Endpoint(Url.parse(agent.server.url), trust_only(agent.state.ca), "us-east-1")
    with pytest.raises(HttpFault):
        asyncio.run(trust.renew(agent.state, endpoint))
    assert agent.state.ca.read_bytes() == stranger.ca.read_bytes()


def test_the_command_shows_and_refuses(start_server: StartServer, tmp_path: Path) -> None:
    """Hashes to join by, dates, and what cannot be done."""
    server = start_server()
    shown = json.loads(ca(server, "show", "--json").stdout)
    assert [each["signs"] for each in shown["trusted"]] == [True]
    assert ca(server, "show", "--pem").stdout == server.ca.read_text()
    assert ca(server, "rotate", "--finish").returncode == 1
    assert ca(server, "rotate", "--switch-on", "2001-01-01").returncode == 2
    assert ca(server, "rotate", "--switch-on", "soon").returncode == 2
    assert ca(server, "rotate", "--switch-on", "2999-12-31", "--finish").returncode == 2
    assert ca(server, "rotate", "--switch-on", "2999-12-31").returncode == 0
    shown = json.loads(ca(server, "show", "--json").stdout)
    assert (len(shown["trusted"]), shown["rotating"], shown["switch_at"][:10]) == (2, True, "2999-12-31")
    assert "to come" in ca(server, "show").stdout
    assert ca(server, "rotate").returncode == 1
    assert server.raw("GET", "/_fleetward/ca.pem").body == server.ca.read_bytes()
    assert server.raw("GET", "/_fleetward/ca-succession.pem").status == 200
    absent = subprocess.run(
        [str(FLEETWARD), "ca", "show", "--data", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (absent.returncode, "holds no CA" in absent.stderr) == (1, True)
