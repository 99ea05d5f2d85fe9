"""Outputs kept in full: rows that refer to objects."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import jobs
from fleetward.server.jobs import DeleteObject
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import InvocationDoesNotExist
from fleetward.server.ssm.run_command import outputs


def store(desk: Any, node: str, command_id: str, size: int, stream: str = "stdout") -> None:
    request = {"CommandId": command_id, "Step": "s", "Stream": stream, "key": f"k/{stream}", "size_bytes": size}
    desk.world.entry(outputs.stored, context=desk.world.as_node(node))(request)


def test_stream_stored_again_replaces_the_former(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    store(desk, node, command_id, 10)
    store(desk, node, command_id, 20)
    store(desk, node, command_id, 3, "stderr")
    assert desk.world.do(lambda call: outputs.listed(call, command_id, node)) == [
        {"Step": "s", "Stream": "stderr", "Size": 3},
        {"Step": "s", "Stream": "stdout", "Size": 20},
    ]
    assert desk.world.do(lambda call: outputs.find(call, command_id, node, "s", "stdout")) == ("k/stdout", 20)
    assert desk.world.do(lambda call: outputs.find(call, command_id, node, "other", "stdout")) is None


def test_only_the_commands_own_nodes_may_store(desk: Any) -> None:
    first, second = desk.nodes(2)
    command_id = desk.send([first])
    request = {"CommandId": command_id, "Step": "s", "Stream": "stdout"}
    desk.world.entry(outputs.expected, context=desk.world.as_node(first))(request)
    with pytest.raises(InvocationDoesNotExist):
        desk.world.entry(outputs.expected, context=desk.world.as_node(second))(request)


def test_old_outputs_go_row_first_then_bytes(desk: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    store(desk, node, command_id, 10)
    desk.world.clock.advance(timedelta(days=91))
    desk.world.do(outputs.forget)
    assert desk.world.do(lambda call: outputs.listed(call, command_id, node)) == []
    (job,) = desk.world.entry(jobs.lease)(("server", 10))
    assert job.kind == "output-delete"
    first = desk.world.do(lambda call: ssm.jobs["output-delete"].function(call, job))
    assert first.effects == (DeleteObject("k/stdout"),)


def test_objects_of_accounts_lie_apart() -> None:
    keys = {outputs.object_key(account, "r", "c", "n", "s", "stdout") for account in ("1", "2")}
    assert len(keys) == 2
