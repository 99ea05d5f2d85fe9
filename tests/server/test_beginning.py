"""The beginning: root's key is told once, made anew on request, and written for its user alone."""

from __future__ import annotations

import json
import stat

import pytest

from fleetward.server import beginning
from fleetward.server.call import Call
from fleetward.server.iam import principals
from tests.server.conftest import World


def test_the_first_start_alone_tells_roots_secret(world: World) -> None:
    created = beginning.first_start(world.runner, world.settings)
    assert created is not None
    assert created["secret_access_key"]
    assert world.do(principals.root_key_ids) == [created["access_key_id"]]
    assert beginning.first_start(world.runner, world.settings) is None


def test_a_reset_of_root_leaves_the_new_key_alone_active(world: World) -> None:
    first = beginning.first_start(world.runner, world.settings)
    assert first is not None
    again = beginning.reset_root(world.runner, world.settings)
    assert again["access_key_id"] != first["access_key_id"]
    found = [
        world.do(lambda call, key_id=each["access_key_id"]: principals.find_access_key(call, key_id))
        for each in (first, again)
    ]
    assert [key.active for key in found] == [False, True]
    assert found[1].secret_access_key == again["secret_access_key"]


def test_an_entry_before_the_loop_raises_what_it_raises(world: World) -> None:
    def fails(call: Call, _: object) -> None:
        raise LookupError(call.account)

    with pytest.raises(LookupError, match=world.account):
        beginning.run_now(world.runner, world.settings, fails)


def test_only_its_user_reads_roots_credentials(world: World) -> None:
    created = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "secret"}
    file = beginning.write_root_credentials(world.settings, created)
    assert file.name == beginning.CREDENTIALS
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {**created, "account": world.account, "region": world.region}
