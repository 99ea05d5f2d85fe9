"""Identity against a real server: joining, temporary keys, rotation of the key, fingerprints, leaving."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent import identity, platforms, signing
from fleetward.agent.client import Client, ServiceFault
from fleetward.agent.identity import IdentityFault, RoleTokens
from fleetward.agent.platforms.linux import Linux
from fleetward.agent.state import StateFolder, read_json, write_json
from fleetward.protocol import sigv4
from tests.agent.machine import run
from tests.serving import ServerProcess


@pytest.fixture
def state(tmp_path: Path, serving: ServerProcess) -> StateFolder:
    folder = StateFolder(tmp_path / "state")
    folder.prepare()
    shutil.copy(serving.ca, folder.ca)
    return folder


def join(state: StateFolder, server: ServerProcess) -> identity.Identity:
    activation_id, code = server.activation()
    return run(identity.register(state, platforms.current(), server.url, "us-east-1", activation_id, code))


def tokens_of(state: StateFolder) -> RoleTokens:
    kept = identity.load(state)
    return RoleTokens(state, identity.endpoint_of(state, kept.endpoint, kept.region), platforms.current())


def test_joining_gives_a_node_that_can_call(state: StateFolder, serving: ServerProcess) -> None:
    joined = join(state, serving)
    assert joined.node_id.startswith("mi-")
    assert identity.load(state) == joined

    async def work() -> dict[str, Any]:
        endpoint = identity.endpoint_of(state, joined.endpoint, joined.region)
        client = Client(endpoint, joined.node_id, RoleTokens(state, endpoint, platforms.current()))
        return await client.ssm(
            "UpdateInstanceInformation",
            {"InstanceId": joined.node_id, "AgentName": "a", "AgentVersion": "0.1.0.0", "PlatformType": "Linux"},
        )

    assert run(work()) == {}


def test_secrets_are_readable_by_their_owner_alone(state: StateFolder, serving: ServerProcess) -> None:
    join(state, serving)
    run(tokens_of(state).current())
    assert state.vault.stat().st_mode & 0o077 == 0
    for path in (*state.vault.iterdir(), state.credentials):
        assert path.stat().st_mode & 0o077 == 0, path
    assert f"endpoint_url = {serving.url}" in state.credentials.read_text()


def test_a_refused_registration_leaves_what_was_there(state: StateFolder, serving: ServerProcess) -> None:
    before = join(state, serving)
    with pytest.raises(IdentityFault, match="refused the registration"):
        run(
            identity.register(
                state,
                platforms.current(),
                serving.url,
                "us-east-1",
                "00000000-0000-0000-0000-000000000000",
                "x" * 20,
            )
        )
    assert identity.load(state) == before


def test_the_ca_is_taken_only_by_its_hash(serving: ServerProcess) -> None:
    pem = serving.ca.read_text()
    right = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    fetched = run(identity.fetch_ca(serving.url, right.upper()))
    assert ssl.PEM_cert_to_DER_cert(fetched) == ssl.PEM_cert_to_DER_cert(pem)
    with pytest.raises(IdentityFault, match="somebody else may be answering"):
        run(identity.fetch_ca(serving.url, "0" * 64))


def test_a_folder_that_has_not_joined_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IdentityFault, match="fleetward join"):
        identity.load(StateFolder(tmp_path))


def test_keys_that_are_still_good_are_used_after_a_restart(state: StateFolder, serving: ServerProcess) -> None:
    join(state, serving)
    first = run(tokens_of(state).current())
    assert run(tokens_of(state).current()) == first


def test_rejected_keys_are_replaced(state: StateFolder, serving: ServerProcess) -> None:
    join(state, serving)

    async def work() -> None:
        tokens = tokens_of(state)
        first = await tokens.current()
        tokens.reject(first)
        assert await tokens.current() != first

    run(work())


def test_a_node_that_left_is_no_node_any_more(state: StateFolder, serving: ServerProcess) -> None:
    joined = join(state, serving)
    run(identity.leave(state, joined))
    listed = serving.client().describe_instance_information()["InstanceInformationList"]
    assert joined.node_id not in [node["InstanceId"] for node in listed]
    with pytest.raises(ServiceFault):
        run(identity.leave(state, joined))


class Machine(Linux):
    """A machine whose id can change, as a clone's does."""

    identity = "first"

    def hardware(self) -> dict[str, str]:
        return {"machine-id": self.identity}


def test_the_fingerprint_stays_until_the_machine_is_another(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.prepare()
    machine = Machine()
    first = identity.fingerprint(state, machine)
    assert identity.fingerprint(state, machine) == first
    machine.identity = "clone"
    second = identity.fingerprint(state, machine)
    assert second != first
    machine.identity = ""  # cannot be told
    assert identity.fingerprint(state, machine) == second


def test_forgetting_leaves_no_key(state: StateFolder, serving: ServerProcess) -> None:
    join(state, serving)
    run(tokens_of(state).current())
    identity.forget(state)
    assert list(state.vault.iterdir()) == []
    assert not state.credentials.exists()


# --- rotation, against a control plane that does what is asked of it here -------------------------------------------


class ControlPlane:
    """The node-facing half of a control plane: checks RSA signatures, rotates keys, or loses the answer."""

    def __init__(self) -> None:
        self.public_key = b""
        self.wants_rotation = False
        self.after_rotation: Callable[[], int] = lambda: 200
        self.before_rotation: Callable[[], int] = lambda: 200
        self.rotations = 0

    def answer(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, Any]]:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        claim = sigv4.parse_claim("POST", handler.path, "", headers)
        assert claim is not None
        try:
            sigv4.verify_rsa(
                claim,
                self.public_key,
                method="POST",
                raw_path=handler.path,
                query_string="",
                headers=headers,
                body_hash_hex=hashlib.sha256(body).hexdigest(),
                now=datetime.now(UTC),
                skew=timedelta(minutes=5),
            )
        except sigv4.SignatureFault:
            return 400, {"__type": "AccessDeniedException", "message": "not your key"}
        if headers["x-amz-target"].endswith("RequestManagedInstanceRoleToken"):
            token = {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t"}
            until = (datetime.now(UTC) + timedelta(hours=1)).timestamp()
            return 200, {**token, "TokenExpirationDate": until, "UpdateKeyPair": self.wants_rotation}
        return self._rotate(json.loads(body))

    def _rotate(self, request: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.rotations += 1
        status = self.before_rotation()
        if status == 200:
            self.public_key = base64.b64decode(request["NewPublicKey"])
            self.wants_rotation = False
            status = self.after_rotation()
        return status, {} if status == 200 else {"__type": "InternalServerError"}


@pytest.fixture
def plane() -> Iterator[tuple[ControlPlane, str]]:
    control = ControlPlane()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, members = control.answer(self, self.rfile.read(int(self.headers["Content-Length"])))
            data = json.dumps(members).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield control, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def known(state: StateFolder, plane: tuple[ControlPlane, str]) -> identity.Identity:
    """A node that the control plane knows by its key."""
    private_key, public_key = run(signing.generate())
    made = identity.Identity("mi-0123456789abcdef0", plane[1], "us-east-1", private_key, public_key, "now")
    identity.save(state, made)
    plane[0].public_key = base64.b64decode(public_key)
    return made


def test_a_key_is_rotated_when_asked_and_used_from_then_on(state: StateFolder, plane: tuple[ControlPlane, str]) -> None:
    before = known(state, plane)
    plane[0].wants_rotation = True
    run(tokens_of(state).current())
    after = identity.load(state)
    assert after.private_key != before.private_key
    assert base64.b64decode(after.public_key) == plane[0].public_key
    assert after.next_private_key == ""
    assert plane[0].rotations == 1
    (state.vault / "token.json").unlink()
    run(tokens_of(state).current())


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_rotation_without_answer_keeps_the_key_that_works(
    state: StateFolder, plane: tuple[ControlPlane, str], lost: str
) -> None:
    known(state, plane)
    control = plane[0]
    control.wants_rotation = True

    def refuse() -> int:
        control.wants_rotation = False
        return 400

    setattr(control, f"{lost}_rotation", refuse)
    run(tokens_of(state).current())
    kept = identity.load(state)
    assert base64.b64decode(kept.public_key) == control.public_key
    assert kept.next_private_key == ""


def test_a_rotation_cut_off_by_a_kill_is_settled_at_the_next_start(
    state: StateFolder, plane: tuple[ControlPlane, str]
) -> None:
    made = known(state, plane)
    private_key, public_key = run(signing.generate())
    identity.save(state, replace(made, next_private_key=private_key, next_public_key=public_key))
    plane[0].public_key = base64.b64decode(public_key)  # the control plane had taken it
    run(tokens_of(state).current())
    assert identity.load(state).private_key == private_key


def test_a_registration_that_got_no_answer_is_repeated_with_the_same_key(state: StateFolder) -> None:
    write_json(state.vault / "pending.json", {"private_key": "kept", "public_key": "kept"})
    with pytest.raises(IdentityFault):
        run(identity.register(state, platforms.current(), "http://127.0.0.1:9", "", "i" * 36, "c" * 20))
    assert read_json(state.vault / "pending.json") == {"private_key": "kept", "public_key": "kept"}
