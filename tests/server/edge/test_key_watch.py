"""Key watch: a running server takes up what changed in its ring's file or program."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from fleetward.server import keys
from tests.serving import ServerProcess, StartServer, eventually


def described(server: ServerProcess) -> dict[str, Any]:
    """How the ring stands."""
    state: dict[str, Any] = server.call("DescribeKeys", {}, server.root, service="fleetward").json
    return state


def test_a_key_put_into_the_file_is_loaded_and_used_only_when_told(start_server: StartServer) -> None:
    """An unreadable file changes nothing."""
    server = start_server()
    file = server.data / "keys.json"
    keys.add_key(file, 7)
    whole = file.read_bytes()
    eventually(lambda: described(server)["Servers"][0]["Keys"] == [1, 7])
    assert described(server)["InUse"] == 1
    file.write_bytes(b"{}")
    eventually(lambda: any("not loaded anew" in str(line) for line in server.logged()))
    assert described(server)["Servers"][0]["Keys"] == [1, 7]
    file.write_bytes(whole)
    server.call("RotateKeys", {}, server.root, service="fleetward")
    eventually(lambda: described(server)["InUse"] == 7)


def test_a_program_is_asked_for_the_key_that_is_wanted(start_server: StartServer, tmp_path: Path) -> None:
    """And the server goes on with the keys it has until the program gives it."""
    program, ring = tmp_path / "keys", tmp_path / "ring"
    ring.write_text(json.dumps({"keys": {"1": base64.b64encode(b"\1" * 32).decode()}}))
    program.write_text(f"#!/bin/sh\ncat {ring}\n")
    program.chmod(0o700)
    server = start_server(keys=f"command:{program}")
    both = {str(number): base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)}
    ring.write_text(json.dumps({"keys": both}))
    assert described(server)["Servers"][0]["Keys"] == [1]
    wanted = server.call("RotateKeys", {}, server.root, service="fleetward").json
    assert (wanted["InUse"], wanted["Wanted"]) == (1, 2)
    eventually(lambda: described(server)["InUse"] == 2)
    eventually(lambda: "RewrappedAt" in described(server))
    assert server.call("ListNodes", {}, server.root).status == 200
