"""A real server process for tests: `fleetward server` on a free port, spoken to as operators and nodes do.

Test modules name this one in `pytest_plugins`. `serving` is one server for the session, for tests that leave it as
they found it; `start_server` starts servers of a test's own, with settings by `FLEETWARD_*` and a folder that outlives
`kill`.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleetward.protocol import sigv4
from fleetward.protocol.sigv4 import Credentials
from tests import fork_server
from tests.identity_provider import IdentityProvider, authority

ACCOUNT = "123456789012"
REGION = "us-east-1"
START_WITHIN = 30.0
STOP_WITHIN = 15.0
KEPT_SECONDS = 30.0
"""A connection that was idle for so long is not used again: the server closes idle ones after 75 s."""
FLEETWARD = Path(sys.executable).with_name("fleetward")

TARGETS = {
    "ssm": "AmazonSSM",
    "ec2messages": "EC2WindowsMessageDeliveryService_V20141106",
    "fleetward": "Fleetward",
    "kms": "TrentService",
    "logs": "Logs_20140328",
}
SIGNING = {"fleetward": "ssm"}


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's name in any of the protocols; empty for a success."""
        if self.status < 300:
            return ""
        if "json" in self.headers.get("content-type", ""):
            return str(self.json.get("__type", "")).rsplit("#", 1)[-1]
        text = self.body.decode(errors="replace")
        if "<Code>" in text:
            return text.partition("<Code>")[2].partition("<")[0]
        return text.partition("<")[2].partition(">")[0]  # ssmmessages: the root is named like the error

    @property
    def message(self) -> str:
        """The error's text in any of the protocols."""
        if "json" in self.headers.get("content-type", ""):
            body = self.json
            return str(body.get("message", body.get("Message", "")))
        return self.body.decode(errors="replace")


@cache
def private_key(number: int) -> RSAPrivateKey:
    """The key of the machine with this number; made once for all tests."""
    return generate_private_key(public_exponent=65537, key_size=2048)


def public_text(key: RSAPrivateKey) -> str:
    """A machine's public key as it registers it."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


@dataclass
class Node:
    """A machine that has joined: what it signs with."""

    server: ServerProcess
    node_id: str
    key: RSAPrivateKey
    fingerprint: str = "first"
    keys: Credentials = field(default_factory=lambda: Credentials("", ""))

    def renew(self) -> Credentials:
        """Temporary keys by the node's own key."""
        answer = self.by_key("RequestManagedInstanceRoleToken", {"Fingerprint": self.fingerprint})
        assert answer.status == 200, answer.body
        token = answer.json
        self.keys = Credentials(token["AccessKeyId"], token["SecretAccessKey"], token["SessionToken"])
        return self.keys

    def by_key(self, operation: str, request: Mapping[str, Any], service: str = "ssm", **options: Any) -> Answer:
        """A call signed with the node's RSA key."""
        return self.server.call(operation, request, self, service=service, **options)

    def call(self, operation: str, request: Mapping[str, Any], service: str = "ssm", **options: Any) -> Answer:
        """A call signed with the node's temporary keys."""
        return self.server.call(operation, request, self.keys, service=service, **options)

    def beat(self) -> None:
        """A heartbeat."""
        facts = {"AgentName": "amazon-ssm-agent", "AgentVersion": "3.3.0.0", "PlatformType": "Linux"}
        facts |= {"AgentStatus": "Active", "PlatformName": "Test", "PlatformVersion": "1", "ComputerName": "machine"}
        answer = self.call("UpdateInstanceInformation", {"InstanceId": self.node_id, "IPAddress": "10.0.0.1", **facts})
        assert answer.status == 200, answer.body

    def channel_token(self) -> str:
        """A token that opens the node's control channel."""
        answer = self.server.create_channel(self.node_id, self.keys)
        assert answer.status == 201, answer.body
        return answer.body.decode().partition("<TokenValue>")[2].partition("<")[0]


Process = subprocess.Popen[str] | fork_server.Forked


class ServerProcess:
    """`fleetward server` in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str, listen: str = "127.0.0.1:0", **settings: object) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self.settings = settings
        self.arguments = arguments
        self.listen = listen
        self.url = ""
        self.process: Process | None = None
        self._local = threading.local()
        self._numbers = itertools.count(1)
        self._root: Credentials | None = None

    def start(self, process: Process | None = None) -> Self:
        """Start it and wait until it serves; at its former port, if it had one. `process` is one started already."""
        if self.url:
            self.listen = urlsplit(self.url).netloc
        self.process = process or self._fork()
        assert self.process.stdout is not None
        timer = threading.Timer(START_WITHIN, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        assert line.startswith("ready https://"), f"{line!r} {self.log.read_text()[-3000:]}"
        self.url = line.split()[1]
        self._local = threading.local()
        return self

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        """The installed program, not waited for."""
        command = [str(FLEETWARD), *self._words, *arguments]
        if setpriv := shutil.which("setpriv"):
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with self.log.open("a") as stream:
            return subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )

    def _fork(self) -> Process:
        if not fork_server.AVAILABLE:
            return self.spawn()
        if not self.data.exists() and not {"database", "ephemeral"} & self.settings.keys():
            self.data.mkdir(mode=0o700)
            shutil.copyfile(_empty_database(), self.data / "fleetward.db")
        with self.log.open("a") as stream:
            return fork_server.start(self._words, self._environment, stream)

    @property
    def _words(self) -> list[str]:
        return ["server", "--data", str(self.data), "--listen", self.listen, *self.arguments]

    @property
    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEETWARD_")}
        environment["FLEETWARD_SLOW_ENTRY_FAILS"] = "true"  # `_end` looks whether any did
        return environment | {f"FLEETWARD_{name.upper()}": str(value) for name, value in self.settings.items()}

    def stop(self) -> int:
        """End it in good order; its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(STOP_WITHIN)
        if self.process.stdout is not None:
            self.process.stdout.close()
        slow = [line for line in self.log.read_text().splitlines() if "SlowEntry" in line]
        assert not slow, slow[0]
        return code

    @property
    def port(self) -> int:
        """The port it serves on."""
        return urlsplit(self.url).port or 0

    @property
    def host(self) -> str:
        """The address it serves on."""
        return urlsplit(self.url).hostname or ""

    @property
    def ca(self) -> Path:
        """The certificate to trust."""
        return self.data / "tls" / "ca.pem"

    @property
    def root(self) -> Credentials:
        """The account's root."""
        if self._root is None:
            known = json.loads((self.data / "root-credentials.json").read_text())
            self._root = Credentials(known["access_key_id"], known["secret_access_key"])
        return self._root

    def forget_root(self) -> None:
        """Read root's key anew from the folder."""
        self._root = None

    def tls(self) -> ssl.SSLContext:
        """A client's context that trusts the server."""
        return ssl.create_default_context(cafile=str(self.ca))

    def client(self, service: str = "ssm", keys: Credentials | None = None, **options: Any) -> Any:
        """A boto3 client, of root unless other keys are given."""
        keys = keys or self.root
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.url,
            verify=str(self.ca),
            region_name=options.pop("region_name", REGION),
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
            config=Config(
                retries={"total_max_attempts": 1}, parameter_validation=False, s3={"addressing_style": "path"}
            ),
            **options,
        )

    def role(self, name: str, **options: Any) -> Credentials:
        """Temporary keys of a role that root assumes."""
        arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
        made = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="tester", **options)["Credentials"]
        return Credentials(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])

    def activation(self, **members: Any) -> tuple[str, str]:
        """A new activation: id and code."""
        made = self.call("CreateActivation", {"IamRole": "SSMServiceRole", **members}, self.root).json
        return made["ActivationId"], made["ActivationCode"]

    def join(self, number: int = 1, **members: Any) -> Node:
        """A machine with its temporary keys; the RSA key is that of its number."""
        activation_id, code = self.activation(**members)
        key = private_key(number)
        request = {
            "ActivationId": activation_id,
            "ActivationCode": code,
            "PublicKey": public_text(key),
            "PublicKeyType": "Rsa",
            "Fingerprint": "first",
        }
        answer = self.call("RegisterManagedInstance", request, None)
        assert answer.status == 200, answer.body
        node = Node(self, answer.json["InstanceId"], key)
        node.renew()
        return node

    def call(
        self,
        operation: str,
        request: Mapping[str, Any] | bytes,
        signer: Credentials | Node | None,
        *,
        service: str = "ssm",
        **options: Any,
    ) -> Answer:
        """An aws-json call. `options` as for `send`."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"{TARGETS[service]}.{operation}",
            **options.pop("headers", {}),
        }
        service = options.pop("scope", SIGNING.get(service, service))
        return self.send("POST", "/", body, headers, signer, service=service, **options)

    def create_channel(self, channel_id: str, signer: Credentials | None, body: bytes | None = None) -> Answer:
        """CreateControlChannel."""
        body = b'{"MessageSchemaVersion":"1.0","RequestId":"1"}' if body is None else body
        path = f"/v1/control-channel/{channel_id}"
        return self.send("POST", path, body, {"Content-Type": "application/json"}, signer, service="ssmmessages")

    def form(
        self, fields: Mapping[str, str], signer: Credentials | None, service: str = "sts", **options: Any
    ) -> Answer:
        """A call in the query protocol."""
        from urllib.parse import urlencode

        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        return self.send("POST", "/", urlencode(fields).encode(), headers, signer, service=service, **options)

    def send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        signer: Credentials | Node | None,
        *,
        service: str = "ssm",
        region: str = REGION,
        skew: timedelta = timedelta(),
        tampered: Callable[[dict[str, str]], None] | None = None,
        sent_body: bytes | None = None,
    ) -> Answer:
        """One request over this thread's kept connection, signed by `signer`.

        `skew` moves the time of signing; `tampered` and `sent_body` change what is sent after it was signed.
        """
        given = {"Host": f"{self._bracketed()}:{self.port}", **headers}
        bare, _, query = path.partition("?")
        options: dict[str, Any] = {
            "method": method,
            "url_path": bare,
            "query": query,
            "headers": given,
            "body": body,
            "region": region,
            "service": service,
            "now": datetime.now(UTC) + skew,
        }
        if isinstance(signer, Node):
            given |= sigv4.sign_headers_rsa(signer.node_id, signer.key, **options)
        elif signer is not None:
            given |= sigv4.sign_headers(signer, **options)
        if tampered is not None:
            tampered(given)
        return self.raw(method, path, body if sent_body is None else sent_body, given)

    def raw(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """One request as it stands, over this thread's kept connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and time.monotonic() - self._local.used_at > KEPT_SECONDS:
            connection.close()
            connection = None
        self._local.used_at = time.monotonic()
        if connection is None:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=30, context=self.tls())
            self._local.connection = connection
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            answer = Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        except BaseException:
            connection.close()
            self._local.connection = None
            raise
        if response.will_close:
            connection.close()
            self._local.connection = None
        return answer

    def plain_socket(self) -> socket.socket:
        """A TCP connection, without TLS."""
        return socket.create_connection((self.host, self.port), timeout=20)

    def tls_socket(self) -> ssl.SSLSocket:
        """A TLS connection."""
        return self.tls().wrap_socket(self.plain_socket(), server_hostname=self.host)

    def logged(self) -> list[dict[str, Any]]:
        """The lines of its log that are JSON."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def logged_request(self, **fields: str) -> dict[str, Any]:
        """The newest line that has these fields; request lines come a moment after their answers."""

        def newest() -> dict[str, Any] | None:
            wanted = [line for line in self.logged() if fields.items() <= line.items()]
            return wanted[-1] if wanted else None

        found: dict[str, Any] = eventually(newest)
        return found

    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def eventually(check: Callable[[], Any], within: float = 10.0) -> Any:
    """The first true value of `check`, asked again and again; fails after `within` seconds."""
    until = time.monotonic() + within
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > until:
            pytest.fail(f"not so within {within} s: {check}", pytrace=False)
        time.sleep(0.02)


@cache
def _empty_database() -> Path:
    """A database with all tables and nothing else, as a server's first start makes it, which takes time."""
    from fleetward.server import app
    from fleetward.server.backends.store_sqlite import SqliteStore

    folder = _folder()
    store = SqliteStore(folder / "fleetward.db", threads=False)
    app.create_tables(store)
    store.close()
    return folder / "fleetward.db"


def pytest_unconfigure() -> None:
    """Nothing outlives the worker."""
    fork_server.close()
    if _empty_database.cache_info().currsize:
        shutil.rmtree(_empty_database().parent, ignore_errors=True)


def _folder() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="fleetward-", dir=memory if memory.is_dir() else None))


@pytest.fixture(scope="session")
def serving() -> Iterator[ServerProcess]:
    """One server for the session."""
    folder = _folder()
    server = ServerProcess(
        folder,
        requests_per_principal=1_000_000,
        requests_per_node=1_000_000,
        allow_fetch="127.0.0.0/8",
        fetch_ca=authority().ca,
    )
    server.start(server.spawn())  # the installed program, in most tests
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


StartServer = Callable[..., ServerProcess]


def _starter() -> Iterator[StartServer]:
    started: list[ServerProcess] = []

    def start(*arguments: str, run: bool = True, **settings: Any) -> ServerProcess:
        server = ServerProcess(_folder(), *arguments, **settings)
        started.append(server)
        return server.start() if run else server

    yield start
    for server in started:
        if server.process is not None:
            server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts servers that end with the test: `start_server(**settings)`."""
    yield from _starter()


@pytest.fixture(scope="module")
def start_server_of_module() -> Iterator[StartServer]:
    """Starts servers that end with the module."""
    yield from _starter()


@pytest.fixture(scope="session")
def node(serving: ServerProcess) -> Node:
    """A machine of the session's server, with a heartbeat behind it."""
    joined = serving.join(1, DefaultInstanceName="first")
    joined.beat()
    return joined


@pytest.fixture(scope="session")
def other_node(serving: ServerProcess) -> Node:
    """Another machine of the session's server."""
    joined = serving.join(2, DefaultInstanceName="second")
    joined.beat()
    return joined


@pytest.fixture(scope="session")
def iam(serving: ServerProcess) -> Any:
    """Root's client of IAM on the session's server."""
    return serving.client("iam")


@pytest.fixture(scope="session")
def provider() -> Iterator[IdentityProvider]:
    """An identity provider that the session's server may ask."""
    made = IdentityProvider()
    yield made
    made.close()
