"""Key rotation: every server has the new key before one seals with it; afterwards no row needs the old one."""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import LargeBinary

from fleetward.protocol.sigv4 import Credentials
from fleetward.server import jobs, key_rotation, keys, own, presence
from fleetward.server.backends.store_sqlite import SqliteStore
from fleetward.server.call import Call
from fleetward.server.db import Db
from fleetward.server.errors import ValidationException
from fleetward.server.iam import principals
from fleetward.server.jobs import AddMasterKey, DropMasterKeys, Next
from fleetward.server.keys import HEAD, KeyFault, KeyRing
from fleetward.server.schema import EPOCH, metadata
from tests.both_databases import Core
from tests.serving import ACCOUNT, FLEETWARD, ServerProcess, StartServer, eventually

PUBLIC = {
    "compliance_items.content",
    "inventory_blobs.content",
    "inventory_blobs.digests",
    "inventory_blobs.folded",
    "inventory_catalogue.nodes",
    "logs_blocks.content",
    "nodes.previous_public_key",
    "nodes.public_key",
    "s3_objects.key",
    "s3_uploads.key",
}
"""Bytes that are no secret."""
ROWS = 6000


def test_every_column_of_bytes_is_declared_as_sealed_or_known_as_public() -> None:
    """Who adds a sealed column and does not declare it would lose it with the old key."""
    assert own.SEALED
    columns = {str(c) for table in metadata.tables.values() for c in table.columns if isinstance(c.type, LargeBinary)}
    assert columns == PUBLIC | {str(sealed.column) for sealed in own.SEALED}


# -- the steps, on both databases --------------------------------------------------------------------------------------


class Server:
    """One of several servers on a core's store: its own ring, the same rows."""

    def __init__(self, core: Core, name: str, ring: dict[int, bytes]) -> None:
        self.core = core
        self.name = name
        self.ring = KeyRing(ring)

    def do(self, function: Callable[[Call], Any]) -> Any:
        """Run `function(call)` in a transaction of this server."""
        self.core.runner.keys = self.ring
        return self.core.do(function)

    def live(self) -> None:
        """Renew the lease and report, as the watch does."""
        self.do(lambda call: presence.renew(call, (self.name, "")))
        self.do(lambda call: key_rotation.report(call, self.name))

    def step(self, kind: str = key_rotation.ROTATION) -> Next | None:
        """Run one step of the job that is due, with what it asks of the edge left undone; None: nothing is due."""
        leased = self.do(lambda call: jobs.lease(call, (self.name, 1)))
        if not leased:
            return None
        (job,) = leased
        assert job.kind == kind
        entry = jobs.advance(own.own.jobs[kind].function)
        following: Next = self.do(lambda call: entry(call, (self.name, job)))
        if following.effects:
            told = replace(job, step=following.step, state=following.state, outcome=[None])
            self.do(lambda call: entry(call, (self.name, told)))
        return following

    def add_rows(self, *names: str) -> None:
        """Access keys whose secret is their name."""
        for name in names:
            self.do(lambda call, name=name: principals.add_access_key(call, name, name, "arn", ACCOUNT))

    def secret(self, name: str) -> str:
        """What this server reads of a row."""
        found = self.do(lambda call: principals.find_access_key(call, name))
        return str(found.secret_access_key)


ONE, TWO = b"\1" * 32, b"\2" * 32


@pytest.fixture
def pair(core: Core) -> tuple[Server, Server]:
    """Two servers with one key, both living."""
    a, b = Server(core, "a", {1: ONE}), Server(core, "b", {1: ONE})
    for server in (a, b):
        assert server.do(key_rotation.begin) == 1
        server.live()
    return a, b


def test_nobody_seals_with_a_key_that_another_server_does_not_have(pair: tuple[Server, Server], core: Core) -> None:
    a, b = pair
    a.add_rows("before")
    a.do(key_rotation.rotate)
    following = a.step()
    assert following is not None
    assert following.effects == [AddMasterKey(2)]
    a.ring.load({1: ONE, 2: TWO}, 1)
    a.live()
    a.step()
    assert a.do(key_rotation.describe)["WaitingFor"] == ["b"]
    assert a.do(key_rotation.begin) == 1
    b.ring.load({1: ONE, 2: b"\3" * 32}, 1)
    b.live()
    a.step()
    assert a.do(key_rotation.describe)["WaitingFor"] == ["b"], "another key of the same number does not count"
    b.ring.load({1: ONE, 2: TWO}, 1)
    b.live()
    a.step()
    assert a.do(key_rotation.begin) == 2
    a.ring.use(2)
    a.live()
    a.step()
    a.add_rows("meanwhile")
    b.add_rows("late")  # still under the old key: so rows wait to be wrapped anew until b has reported
    assert "RewrappedAt" not in a.do(key_rotation.describe)
    assert b.secret("meanwhile") == "meanwhile"
    b.ring.use(2)
    b.live()
    while a.step():
        pass
    assert "RewrappedAt" in a.do(key_rotation.describe)
    alone = Server(core, "c", {2: TWO})
    assert [alone.secret(name) for name in ("before", "meanwhile", "late")] == ["before", "meanwhile", "late"]


def test_a_server_that_is_gone_is_not_waited_for(pair: tuple[Server, Server], core: Core) -> None:
    a, _ = pair
    a.ring.load({1: ONE, 2: TWO}, 1)
    a.live()
    a.do(key_rotation.rotate)
    a.step()
    assert a.do(key_rotation.begin) == 1
    core.advance(seconds=40)
    a.live()
    a.step()
    assert a.do(key_rotation.begin) == 2


def test_only_one_rotation_goes_on_at_a_time(pair: tuple[Server, Server], core: Core) -> None:
    a, _ = pair
    for _ in range(3):
        a.do(key_rotation.rotate)
    assert a.do(key_rotation.describe)["Wanted"] == 2
    assert len(a.do(lambda call: jobs.lease(call, ("a", 10)))) == 1


def test_a_server_without_the_key_in_use_does_not_begin(pair: tuple[Server, Server], core: Core) -> None:
    for ring in ({2: TWO}, {1: TWO}):
        with pytest.raises(KeyFault, match="not the one"):
            Server(core, "c", ring).do(key_rotation.begin)


def test_a_ring_from_a_program_is_changed_by_its_owner(pair: tuple[Server, Server], core: Core) -> None:
    a, _ = pair
    core.runner.settings = replace(core.runner.settings, keys="command:/bin/keys")
    with pytest.raises(ValidationException, match="program"):
        a.do(lambda call: key_rotation.retire(call, at_once=True))
    a.do(key_rotation.rotate)
    following = a.step()
    assert following is not None
    assert (following.step, following.effects) == ("spread", ())


def rotated(a: Server, b: Server) -> None:
    """Both servers seal with key 2, and all rows are."""
    for server in (a, b):
        server.ring.load({1: ONE, 2: TWO}, 1)
        server.live()
    a.do(key_rotation.rotate)
    a.step()
    for server in (a, b):
        server.ring.use(2)
        server.live()
    while a.step():
        pass


def test_old_keys_are_retired_when_no_token_can_need_them_any_more(pair: tuple[Server, Server], core: Core) -> None:
    a, b = pair
    a.do(lambda call: key_rotation.retire(call, at_once=False))
    assert a.step() is None, "there is no older key"
    rotated(a, b)
    at = core.time + timedelta(hours=36)
    a.do(lambda call: key_rotation.retire(call, at_once=False))
    assert a.do(key_rotation.describe)["RetireAt"] == at
    core.advance(hours=35)
    assert a.step(key_rotation.RETIREMENT) is None
    core.advance(hours=1)
    a.add_rows("x")
    done = []
    while following := a.step(key_rotation.RETIREMENT):
        done.append(following)
    assert done[-1].effects == [DropMasterKeys(2)]
    assert "RetireAt" not in a.do(key_rotation.describe)


def test_a_row_found_under_an_old_key_is_wrapped_anew_before_the_key_goes(
    pair: tuple[Server, Server], core: Core
) -> None:
    a, b = pair
    rotated(a, b)
    b.ring.use(1)  # as a server that slept through it all
    b.add_rows("late")
    a.do(lambda call: key_rotation.retire(call, at_once=True))
    while a.step(key_rotation.RETIREMENT):
        pass
    assert Server(core, "c", {2: TWO}).secret("late") == "late"


# -- one server, its ring in a file ------------------------------------------------------------------------------------


def under(server: ServerProcess, number: int) -> int:
    """How many secrets are sealed with this key."""
    with sqlite3.connect(f"file:{server.data}/fleetward.db?mode=ro", uri=True) as connection:
        head = HEAD.pack(1, number)
        query = "SELECT count(*) FROM iam_access_keys WHERE substr(secret, 1, 5) = ?"
        return int(connection.execute(query, (head,)).fetchone()[0])


def add_rows(server: ServerProcess, user_id: str) -> list[str]:
    """Access keys of the user `x` in a stopped server's store."""
    ring = keys.load_ring(server.data)
    store = SqliteStore(server.data / "fleetward.db", threads=False)
    names = [f"AKIA{number:016}" for number in range(ROWS)]
    with store.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        rows = [
            {"access_key_id": name, "account_id": ACCOUNT, "principal": "arn:aws:iam::123456789012:user/x"}
            | {"user_id": user_id, "secret": ring.seal(name.encode(), f"access-key/{name}"), "status": "Active"}
            | {"created_at": EPOCH}
            for name in names
        ]
        Db(connection).run(principals.ADD_KEY, rows)
        connection.exec_driver_sql("COMMIT")
    store.close()
    return names


class Load:
    """Calls by root and by a role's temporary keys, one after the other, until it ends."""

    def __init__(self, server: ServerProcess, *signers: Credentials) -> None:
        self.statuses: list[int] = []
        self._server = server
        self._signers = signers
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            for signer in self._signers:
                try:
                    self.statuses.append(self._server.call("ListNodes", {}, signer).status)
                except (OSError, http.client.HTTPException):
                    self._ended.wait(0.05)  # it was killed, and is being started again


def own_call(server: ServerProcess, operation: str, **request: Any) -> Any:
    """One of our own operations, as root."""
    answer = server.call(operation, request, server.root, service="fleetward")
    assert answer.status == 200, answer.body
    return answer.json


def test_after_a_rotation_no_row_is_sealed_under_the_old_key(start_server: StartServer) -> None:
    """Under load, and with the server killed while rows are wrapped anew."""
    server = start_server(requests_per_principal=1_000_000)
    token = server.role("ReadOnly")
    user = server.client("iam").create_user(UserName="x")["User"]
    server.stop()
    names = add_rows(server, user["UserId"])
    server.start()
    with Load(server, server.root, token) as load:
        assert own_call(server, "RotateKeys")["Wanted"] == 2
        eventually(lambda: under(server, 2) > 0)
        server.kill()
        done = under(server, 2)
        assert 0 < done < ROWS, "the kill came too late to prove anything"
        server.start()
        assert server.call("ListNodes", {}, Credentials(names[-1], names[-1])).code == "AccessDeniedException"
        eventually(lambda: "RewrappedAt" in own_call(server, "DescribeKeys"), 30)
        assert (under(server, 1), under(server, 2)) == (0, ROWS + 1)
    assert len(load.statuses) > 10
    assert set(load.statuses) == {200}
    for name in (names[0], names[-1]):  # known, and without a right
        assert server.call("ListNodes", {}, Credentials(name, name)).code == "AccessDeniedException"
    shown = subprocess.run(
        [str(FLEETWARD), "keys", "status"], env=environment(server), capture_output=True, text=True, check=True
    )
    assert "in use     2" in shown.stdout
    assert "all sealed with it" in shown.stdout


def environment(server: ServerProcess) -> dict[str, str]:
    """What the command line finds the server by."""
    return {
        **os.environ,
        "AWS_ENDPOINT_URL": server.url,
        "AWS_CA_BUNDLE": str(server.ca),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": server.root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.root.secret_access_key,
    }


def test_retired_keys_are_gone_and_every_row_opens_without_them(start_server: StartServer) -> None:
    """Temporary credentials of before end with their key when it is not waited for."""
    server = start_server()
    token = server.role("ReadOnly")
    own_call(server, "RotateKeys")
    eventually(lambda: "RewrappedAt" in own_call(server, "DescribeKeys") and in_use(server) == 2)
    assert server.call("ListNodes", {}, token).status == 200
    own_call(server, "RetireKeys", AtOnce=True)
    eventually(lambda: list(json.loads((server.data / "keys.json").read_text())["keys"]) == ["2"])
    eventually(lambda: server.call("ListNodes", {}, token).code == "UnrecognizedClientException")
    assert server.call("ListNodes", {}, server.root).status == 200
    server.kill()
    server.start()
    assert server.call("ListNodes", {}, server.root).status == 200


def in_use(server: ServerProcess) -> int:
    """The number of the key in use."""
    return int(own_call(server, "DescribeKeys")["InUse"])
