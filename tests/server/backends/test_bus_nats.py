"""NatsBus: the published checks on a real nats-server, and its conduct when that is away."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.backends.bus_nats import NatsBus, messages
from fleetward.server.settings import SettingsFault
from fleetward.testing.bus_checks import BusChecks, Ear, hears
from tests.services import Nats, nats_program


class TestNatsBus(BusChecks):
    shared = True

    @pytest.fixture
    def make_bus(self, nats_server: Nats) -> Callable[[], NatsBus]:
        prefix = f"t{uuid.uuid4().hex}"
        return lambda: NatsBus(f"nats://{nats_server.address}?prefix={prefix}")


@pytest.fixture
def own_server(nats_server: Nats) -> Iterator[Callable[..., Nats]]:
    """Starts further nats-servers with options."""
    folder, started = Path(tempfile.mkdtemp(prefix="fleetward-test-")), []
    program = nats_program()
    assert program is not None

    def start(*options: str) -> Nats:
        started.append(Nats(folder, program, *options))
        return started[-1]

    yield start
    for server in started:
        server.program.stop()
    shutil.rmtree(folder)


def test_other_prefix_is_another_fleet(nats_server: Nats) -> None:
    async def check() -> None:
        one, other = (
            NatsBus(f"nats://{nats_server.address}?prefix=a"),
            NatsBus(f"nats://{nats_server.address}?prefix=b"),
        )
        third = NatsBus(f"nats://{nats_server.address}?prefix=a")
        deaf, ear = Ear(other), Ear(third)
        for bus in (one, other, third):
            await bus.start()
        await hears(one, ear)
        assert deaf.heard == []
        for bus in (one, other, third):
            await bus.stop()

    asyncio.run(check())


def test_server_that_is_away_does_not_stop_own_wakes(own_server: Callable[..., Nats]) -> None:
    async def check() -> None:
        server = own_server()
        one, other = NatsBus(f"nats://{server.address}"), NatsBus(f"nats://{server.address}")
        one_ear, other_ear = Ear(one), Ear(other)
        await one.start()
        await other.start()
        await hears(one, other_ear)
        server.kill()
        for number in range(50):
            one.publish([f"alone/{number}"])
        await one_ear.until("alone/0", "alone/49")
        server.start()
        await hears(one, other_ear)
        await hears(other, one_ear)
        await one.stop()
        await other.stop()

    asyncio.run(check())


def test_start_does_not_wait_for_ever(own_server: Callable[..., Nats], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetward.server.backends.bus_nats.CONNECT_WITHIN", 0.05)

    async def check() -> None:
        server = own_server()
        server.kill()
        one, other = NatsBus(f"nats://{server.address}"), NatsBus(f"nats://{server.address}")
        ear, other_ear = Ear(one), Ear(other)
        await one.start()
        await other.start()
        assert not one.connected
        one.publish(["alone"])
        await ear.until("alone")
        server.start()
        await hears(one, other_ear)
        assert one.connected
        await one.stop()
        await other.stop()

    asyncio.run(check())


def test_stop_ends_a_connection_that_never_came(
    own_server: Callable[..., Nats], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetward.server.backends.bus_nats.CONNECT_WITHIN", 0.05)

    async def check() -> None:
        server = own_server()
        server.kill()
        bus = NatsBus(f"nats://{server.address}")
        await bus.start()
        async with asyncio.timeout(5):
            await bus.stop()
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(check())


def test_last_wakes_leave_before_stop_returns(nats_server: Nats) -> None:
    async def check() -> None:
        one, other = NatsBus(f"nats://{nats_server.address}"), NatsBus(f"nats://{nats_server.address}")
        ear = Ear(other)
        await one.start()
        await other.start()
        await hears(one, ear)
        one.publish(["last"])
        await asyncio.sleep(0)
        await one.stop()
        await ear.until("last")
        await other.stop()

    asyncio.run(check())


def test_user_and_password_come_from_the_url(own_server: Callable[..., Nats]) -> None:
    async def check() -> None:
        server = own_server("--user", "fleet", "--pass", "p@ss")
        one, other = (NatsBus(f"nats://fleet:p%40ss@{server.address}") for _ in range(2))
        ear = Ear(other)
        await one.start()
        await other.start()
        await hears(one, ear)
        await one.stop()
        await other.stop()

    asyncio.run(check())


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nats")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def test_tls_is_checked_against_the_named_authority(
    own_server: Callable[..., Nats], certificate: tuple[Path, Path]
) -> None:
    async def check() -> None:
        server = own_server("--tls", "--tlscert", str(certificate[0]), "--tlskey", str(certificate[1]))
        one, other = (NatsBus(f"tls://{server.address}?ca={certificate[0]}") for _ in range(2))
        ear = Ear(other)
        await one.start()
        await other.start()
        await hears(one, ear)
        await one.stop()
        await other.stop()

    asyncio.run(check())


def test_tls_url_tells_nothing_to_a_server_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetward.server.backends.bus_nats.CONNECT_WITHIN", 0.5)
    heard = bytearray()
    listener = socket.create_server(("127.0.0.1", 0))

    def pretend() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"INFO " + json.dumps({"server_id": "x", "version": "2.10.0"}).encode() + b"\r\n")
            while data := connection.recv(4096):
                heard.extend(data)

    thread = threading.Thread(target=pretend, daemon=True)
    thread.start()

    async def check() -> None:
        bus = NatsBus(f"tls://fleet:secret@127.0.0.1:{listener.getsockname()[1]}")
        await bus.start()
        assert not bus.connected
        await bus.stop()

    asyncio.run(check())
    listener.close()
    thread.join(5)
    assert not thread.is_alive()
    assert heard == b""


def test_foreign_messages_are_passed_over(nats_server: Nats) -> None:
    async def check() -> None:
        import nats

        bus = NatsBus(f"nats://{nats_server.address}?prefix=mixed")
        ear = Ear(bus)
        await bus.start()
        stranger = await nats.connect(f"nats://{nats_server.address}")
        for payload in (b"", b"\xff\xfe", b"{}", b'"text"', b'[1, null, "good"]'):
            await stranger.publish("mixed.wake", payload)
        await ear.until("good")
        assert ear.heard == ["good"]
        await stranger.close()
        await bus.stop()

    asyncio.run(check())


@pytest.mark.parametrize(
    "url", ["", "nats://", "http://host", "nats:host", "nats://host:port", "nats://host?unknown=1"]
)
def test_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(SettingsFault):
        NatsBus(url)


@given(st.lists(st.text(max_size=40), max_size=60), st.integers(min_value=20, max_value=200))
def test_messages_hold_every_topic_that_fits_once_and_in_order(topics: list[str], limit: int) -> None:
    chunks = list(messages(topics, limit))
    assert all(len(chunk) <= limit for chunk in chunks)
    fitting = [topic for topic in topics if len(json.dumps(topic, ensure_ascii=False).encode()) + 2 <= limit]
    told = [topic for chunk in chunks for topic in json.loads(chunk)]
    assert told == [topic for topic in topics if topic in told]
    assert set(fitting) <= set(told) | {topic for topic in fitting if any(ord(sign) == 127 for sign in topic)}


def test_program_is_the_packaged_one() -> None:
    program = nats_program()
    if program is None:
        pytest.skip("nats-server is missing")
    assert b"nats-server" in subprocess.run([program, "--version"], capture_output=True, check=True).stdout
