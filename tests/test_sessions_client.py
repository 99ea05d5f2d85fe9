"""Sessions with real parts: a server process, our agent, our client at a real terminal, OpenSSH, roads that break."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pexpect
import pytest

from fleetward import client
from fleetward.client import Address, Fleet, Refused, Timing
from fleetward.protocol.sigv4 import Credentials
from tests.cli.test_doctor import between
from tests.cuts import Road
from tests.serving import FLEETWARD, REGION, ServerProcess, StartServer, eventually
from tests.test_main_job import Machine

pytestmark = pytest.mark.slow

CUTS = 20
SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)


class Site:
    """A server behind a road that can be cut for its operators, and a node of it."""

    def __init__(self, start_server: StartServer, folder: Path) -> None:
        self.road = Road()
        self.server: ServerProcess = start_server(public_url=f"https://127.0.0.1:{self.road.port}")
        self.road.target = (self.server.host, self.server.port)
        self.endpoint = f"https://127.0.0.1:{self.road.port}"
        self.machine = Machine(self.server, folder / "state").start()
        self.node_id = self.machine.node_id

    @property
    def environment(self) -> dict[str, str]:
        """An operator's environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "FLEETWARD_"))}
        return kept | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_CA_BUNDLE": str(self.server.ca),
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.server.root.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.server.root.secret_access_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
        }

    def fleet(self, timing: Timing | None = None, keys: Credentials | None = None) -> Fleet:
        """The client."""
        return client.connect(self.endpoint, keys or self.server.root, region=REGION, ca=self.server.ca, timing=timing)

    def fleetward(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command of ours, to its end."""
        command = [str(FLEETWARD), *words]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False, **options
        )

    def shell(self, *words: str) -> Any:
        """`fleetward session start` at a terminal."""
        command = ["session", "start", self.node_id, *words]
        return pexpect.spawn(
            str(FLEETWARD), command, env=self.environment, timeout=30, dimensions=(24, 80), encoding="utf-8"
        )


@pytest.fixture(scope="module")
def site(start_server_of_module: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site for the module."""
    made = Site(start_server_of_module, tmp_path_factory.mktemp("site"))
    yield made
    made.machine.stop()
    made.road.close()


def exit_code(child: Any) -> int:
    """How it ended."""
    child.expect(pexpect.EOF)
    child.close()
    code: int = child.exitstatus
    return code


class Target:
    """A service on the node: sends back what comes, then its hash."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        hashed = hashlib.sha256()
        with accepted:
            while data := accepted.recv(65536):
                hashed.update(data)
                accepted.sendall(data)
            accepted.sendall(hashed.digest())


@pytest.fixture
def target() -> Iterator[Target]:
    """One of them."""
    made = Target()
    yield made
    made.close()


async def echoed(address: Address, data: bytes, pace: float = 0.0) -> bytes:
    """What comes back for some data, sent in 100 parts with a pause between."""
    reader, writer = await asyncio.open_connection(*address)
    part = len(data) // 100 + 1

    async def send() -> None:
        for start in range(0, len(data), part):
            writer.write(data[start : start + part])
            await writer.drain()
            await asyncio.sleep(pace)
        writer.write_eof()

    _, back = await asyncio.gather(send(), reader.read(-1))
    writer.close()
    return back


def with_digest(data: bytes) -> bytes:
    """What the target answers."""
    return data + hashlib.sha256(data).digest()


def test_a_shell_echoes_resizes_interrupts_and_exits_as_the_program_did(site: Site) -> None:
    """And what was seen is played, exported and listed."""
    child = site.shell("--reason", "a look")
    child.expect("SessionId: (\\S+)\r\n")
    session_id = child.match[1]
    child.send("exec sh\r")
    child.send("stty size; echo ze'b'ra-é; tty\r")
    child.expect_exact("24 80\r\nzebra-é\r\n/dev/pts/")
    child.setwinsize(33, 111)
    child.send("stty size\r")
    child.expect_exact("33 111\r\n")
    child.send("sleep 100\r")
    child.expect_exact("sleep 100\r\n")
    time.sleep(0.3)
    child.send("\x03")
    child.send("echo rc=$?\r")
    child.expect_exact("rc=130\r\n")
    child.send("exit 3\r")
    child.expect_exact(f"Exiting session with sessionId: {session_id}.")
    assert exit_code(child) == 3

    def listed() -> list[Any]:
        done = site.fleetward("session", "list", "--history", "--node", site.node_id, "--json")
        return [each for each in json.loads(done.stdout) if each["SessionId"] == session_id]

    (session,) = eventually(listed)
    assert (session["Status"], session["Reason"]) == ("Terminated", "a look")
    assert session_id in site.fleetward("session", "list", "--history").stdout
    exported = site.fleetward("session", "export", session_id).stdout
    assert json.loads(exported.splitlines()[0])["version"] == 2
    played = site.fleetward("session", "play", session_id, "--speed", "100").stdout
    assert "zebra-é" in played
    assert "33 111" in played


def test_five_thousand_lines_arrive_when_pasted_and_five_megabytes_when_printed(site: Site) -> None:
    async def script() -> None:
        async with site.fleet() as fleet:
            async with await fleet.start_session(site.node_id) as session:
                await session.send(
                    b"exec sh\nstty -echo; PS1=; cd /tmp; cat > pasted.$$; sha256sum < pasted.$$; rm pasted.$$\n"
                )
                await asyncio.sleep(0.5)
                pasted = b"".join(b"line %d of a paste\n" % number for number in range(5000))
                await session.send(pasted + b"\x04")
                assert hashlib.sha256(pasted).hexdigest().encode() in await until(session, b"  -\r\n")
                await session.send(b"head -c 5000000 /dev/zero | tr '\\0' x; echo; exit 5\n")
                done = await session.collect(6_000_000)
                assert (done.stdout.count(b"x"), done.exit_code) == (5_000_000, 5)

    asyncio.run(asyncio.wait_for(script(), 60))


async def until(session: client.Session, mark: bytes) -> bytes:
    """What comes until a mark has come."""
    taken = b""
    while mark not in taken:
        piece = await session.receive()
        assert piece, taken[-500:]
        taken += piece
    return taken


def test_commands_give_their_output_and_exit_code(site: Site) -> None:
    async def script() -> None:
        async with site.fleet() as fleet:
            done = await fleet.run(site.node_id, ["sh", "-c", "echo 'out  put'; exit 7"])
            assert (done.exit_code, done.stdout) == (7, b"out  put\n")
            done = await fleet.run(site.node_id, "sh -c 'kill -9 $$'")
            assert done.exit_code == 137

    asyncio.run(asyncio.wait_for(script(), 60))
    words = ["--document", "AWS-StartNonInteractiveCommand", "--parameter", "command=sh -c 'exit 9'"]
    assert site.fleetward("session", "start", site.node_id, *words, stdin=subprocess.DEVNULL).returncode == 9


def test_a_session_encrypted_with_our_kms_works(site: Site) -> None:
    key_id = site.server.client("kms").create_key()["KeyMetadata"]["KeyId"]
    content = {"schemaVersion": "1.0", "sessionType": "Standard_Stream", "inputs": {"kmsKeyId": key_id}}
    ssm = site.server.client()
    ssm.create_document(Name="Sealed", DocumentType="Session", Content=json.dumps(content))
    allow_decryption(site, key_id)

    async def script() -> None:
        async with site.fleet() as fleet:
            async with await fleet.start_session(site.node_id, document="Sealed") as session:
                await session.send(b"echo se'al'ed; exit 4\n")
                done = await session.collect(100_000)
                assert b"sealed\r\n" in done.stdout
                assert done.exit_code == 4

    asyncio.run(asyncio.wait_for(script(), 60))


def allow_decryption(site: Site, key_id: str) -> None:
    """What the node's role needs to open a session's key."""
    key = f"arn:aws:kms:{REGION}:123456789012:key/{key_id}"
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}]}
    iam = site.server.client("iam")
    role = ROLE.rpartition("/")[2]
    iam.put_role_policy(RoleName=role, PolicyName="decrypt", PolicyDocument=json.dumps(policy))


ROLE = "SSMServiceRole"


def test_three_connections_carry_five_megabytes_each_intact(site: Site, target: Target) -> None:
    async def script() -> None:
        payloads = [os.urandom(5_000_000) for _ in range(3)]
        async with site.fleet() as fleet, fleet.tunnel(site.node_id, target.port) as address:
            answers = await asyncio.gather(*(echoed(address, data) for data in payloads))
        assert [answer == with_digest(data) for answer, data in zip(answers, payloads, strict=True)] == [True] * 3

    asyncio.run(asyncio.wait_for(script(), 90))


def test_a_tunnel_survives_cuts_of_both_kinds_without_losing_a_byte(site: Site, target: Target) -> None:
    data = os.urandom(20_000_000)

    async def script() -> None:
        timing = Timing(quiet=0.3)
        async with site.fleet(timing) as fleet, fleet.tunnel(site.node_id, target.port) as address:
            stream = asyncio.create_task(echoed(address, data, pace=0.2))
            for number in range(CUTS):
                await asyncio.sleep(0.7)
                if number % 2:
                    site.road.silence()
                else:
                    site.road.reset()
            assert await stream == with_digest(data)

    asyncio.run(asyncio.wait_for(script(), 110))


def test_a_tunnel_and_a_shell_survive_a_restart_of_the_server(site: Site, target: Target) -> None:
    data = os.urandom(2_000_000)
    under_way = threading.Event()

    async def script() -> None:
        async with site.fleet() as fleet, fleet.tunnel(site.node_id, target.port) as address:
            async with await fleet.start_session(site.node_id) as session:
                await session.send(b"X=kept\n")
                stream = asyncio.create_task(echoed(address, data, pace=0.1))
                await asyncio.sleep(1)
                under_way.set()
                assert await stream == with_digest(data)
                await session.send(b"echo $X-$X; exit 0\n")
                await until(session, b"kept-kept")

    with ThreadPoolExecutor(1) as pool:
        playing = pool.submit(asyncio.run, asyncio.wait_for(script(), 100))
        assert under_way.wait(30)
        site.server.kill()
        site.server.start()
        playing.result()


def test_a_session_that_is_terminated_ends_at_once(site: Site) -> None:
    child = site.shell()
    child.expect("SessionId: (\\S+)\r\n")
    session_id = child.match[1]
    child.send("echo re'a'dy\r")
    child.expect_exact("ready")
    assert site.fleetward("session", "terminate", session_id).returncode == 0
    child.expect_exact(f"SessionId: {session_id} : Terminated by", timeout=2)
    assert exit_code(child) == 1


def test_wrong_nodes_and_missing_rights_are_one_clear_line(site: Site) -> None:
    done = site.fleetward("session", "start", "mi-00000000000000000")
    assert done.returncode == 1
    assert done.stderr.startswith("fleetward: TargetNotConnected: ")
    assert len(done.stderr.splitlines()) == 1
    assert site.fleetward("tunnel", site.node_id, "0").returncode == 2
    assert site.fleetward("tunnel", site.node_id, "1:h", "--local", "1", "--local", "2").returncode == 2
    assert site.fleetward("session", "start", site.node_id, "--parameter", "x").returncode == 2
    iam = site.server.client("iam")
    iam.create_user(UserName="mallory")
    made = iam.create_access_key(UserName="mallory")["AccessKey"]

    async def script() -> None:
        keys = Credentials(made["AccessKeyId"], made["SecretAccessKey"])
        async with site.fleet(keys=keys) as fleet:
            with pytest.raises(Refused, match="AccessDenied"):
                await fleet.run(site.node_id, "true")

    asyncio.run(script())


def test_a_proxy_is_taken_for_calls_and_streams(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its password, and only where NO_PROXY does not say otherwise."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def script() -> int | None:
        async with site.fleet() as fleet:
            return (await fleet.run(site.node_id, "sh -c 'exit 2'")).exit_code

    with between(None) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        assert asyncio.run(asyncio.wait_for(script(), 60)) == 2
        assert len(proxy.asked) >= 2
        assert all(b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in asked for asked in proxy.asked)
        asked = len(proxy.asked)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert asyncio.run(asyncio.wait_for(script(), 60)) == 2
        assert len(proxy.asked) == asked


def test_one_command_opens_several_forwards_and_ends_them_all(site: Site, target: Target) -> None:
    words = ["tunnel", site.node_id, str(target.port), f"{target.port}:127.0.0.1", "--reason", "two"]
    child = pexpect.spawn(str(FLEETWARD), words, env=site.environment, timeout=30, encoding="utf-8")
    ports = []
    for _ in range(2):
        child.expect(r"127\.0\.0\.1:(\d+) leads to ")
        ports.append(int(child.match[1]))
    child.expect_exact("Waiting for connections...")
    for port in ports:
        assert asyncio.run(echoed(Address("127.0.0.1", port), b"data" * 1000)) == with_digest(b"data" * 1000)
    child.sendintr()
    assert exit_code(child) == 0

    def ended() -> list[str]:
        history = json.loads(site.fleetward("session", "list", "--history", "--json").stdout)
        two = [each["SessionId"] for each in history if each.get("Reason") == "two"]
        return two if len(two) == 2 else []

    for session_id in eventually(ended):
        shown = json.loads(site.fleetward("session", "show", session_id, "--json").stdout)
        assert (shown["Port"], shown["Status"]) == (str(target.port), "Terminated")
        assert shown["BytesIn"] >= 4000
        assert shown["BytesOut"] >= 4032


@pytest.mark.skipif(SSHD is None, reason="OpenSSH's server is not installed")
def test_openssh_goes_through_the_proxy_command(site: Site, tmp_path: Path) -> None:
    """A login, a command's exit code and 5 MB each way."""
    assert SSHD is not None
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n"
    )
    proxy = f"ProxyCommand={sys.executable} -m fleetward.cli ssh-proxy %h %p"
    options = ["-F", "none", "-i", str(tmp_path / "user"), "-o", proxy, "-o", "StrictHostKeyChecking=no"]
    options += ["-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "BatchMode=yes", "-p", str(port)]
    data = os.urandom(5_000_000)
    daemon = subprocess.Popen([SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        done = subprocess.run(
            ["ssh", *options, site.node_id, "cat; exit 6"],
            env=site.environment,
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
        )
    finally:
        daemon.terminate()
        daemon.wait(10)
    assert (done.returncode, len(done.stdout)) == (6, len(data)), done.stderr
    assert done.stdout == data
