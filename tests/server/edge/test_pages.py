"""Pages: health, the CA, outputs in full."""

from __future__ import annotations

import hashlib
import ssl

import pytest

from tests.calls import Stage, put_output
from tests.serving import ServerProcess


def read(server: ServerProcess, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """An operator reads an output."""
    answer = server.send("GET", path, b"", headers, server.root)
    return answer.status, answer.body, dict(answer.headers)


def test_health_and_readiness_are_told_without_signature(serving: ServerProcess) -> None:
    """The process lives; the store answers."""
    assert serving.raw("GET", "/healthz").body == b"ok\n"
    assert serving.raw("GET", "/readyz").body == b"ready\n"
    assert serving.raw("POST", "/healthz").status == 400


def test_the_ca_is_given_to_whoever_compares_its_hash(serving: ServerProcess) -> None:
    """The same certificate as in the data folder, and the one that signed the server's."""
    answer = serving.raw("GET", "/_fleetward/ca.pem")
    assert answer.body == serving.ca.read_bytes()
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(answer.body.decode())).digest()


def test_an_output_is_read_as_it_was_written(stage: Stage) -> None:
    """All of it, from an offset on, as an attachment that no browser runs."""
    command_id = stage.invoked()
    body = bytes(range(256)) * 5000
    assert put_output(stage.node, f"/_fleetward/outputs/{command_id}/step/stdout", body).status == 200
    path = f"/_fleetward/outputs/{command_id}/{stage.node.node_id}/step/stdout"
    status, read_body, headers = read(stage.server, path)
    assert (status, read_body) == (200, body)
    assert headers["content-disposition"] == "attachment"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-fleetward-size"] == str(len(body))
    assert read(stage.server, f"{path}?offset=1279990")[1] == body[1279990:]
    assert read(stage.server, f"{path}?offset=99999999")[0] in (200, 400)


def test_a_stream_sent_again_replaces_the_first(stage: Stage) -> None:
    """Agents repeat what they do not know to be stored."""
    command_id = stage.invoked()
    for body in (b"first", b"second"):
        assert put_output(stage.node, f"/_fleetward/outputs/{command_id}/step/stderr", body).status == 200
    assert read(stage.server, f"/_fleetward/outputs/{command_id}/{stage.node.node_id}/step/stderr")[1] == b"second"


@pytest.mark.parametrize("role", ["ReadOnly", "Administrator"])
def test_outputs_are_read_by_whoever_may_read_invocations(stage: Stage, role: str) -> None:
    """And by nobody without a signature."""
    command_id = stage.output()
    path = f"/_fleetward/outputs/{command_id}/{stage.node.node_id}/hello/stdout"
    assert stage.server.send("GET", path, b"", {}, stage.server.role(role)).status == 200
    assert stage.server.send("GET", path, b"", {}, None).code == "MissingAuthenticationTokenException"
    assert stage.server.send("GET", path, b"", {}, stage.node.keys).code == "AccessDeniedException"
    assert stage.server.send("GET", path + "x", b"", {}, stage.server.root).code == "ValidationException"
    other = path.replace("/hello/", "/other/")
    assert stage.server.send("GET", other, b"", {}, stage.server.root).code == "InvocationDoesNotExist"
    assert stage.server.send("DELETE", path, b"", {}, stage.server.root).status == 405
