"""Reverts: a node that was set back is sent nothing again that it may have run."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fleetward.protocol.control_channel import SEND_COMMAND, job_id
from fleetward.server import mailbox, own
from fleetward.server.ssm import ssm


@pytest.fixture
def confirm(desk: Any) -> Any:
    """ConfirmSequence of a node."""
    desk.world.services["fleetward"] = own.own

    def asked(node: str, sequence: int) -> int:
        answer = desk.world.call("fleetward:ConfirmSequence", {"Sequence": sequence}, node)
        desk.work()
        return int(answer["Sequence"])

    return asked


def tell(desk: Any, node: str, command_id: str, sequence: object, status: str = "InProgress") -> None:
    """A reply as our agent writes it."""
    content = orjson.dumps({"documentStatus": status, "runtimeStatus": None, "sequence": sequence}).decode()
    reply = mailbox.Reply(node, job_id(command_id, node), f"{command_id[:20]}-{sequence}"[:36], content)
    desk._batch(ssm.replies[SEND_COMMAND].function, [reply])
    desk.work()


def test_what_was_sent_to_a_node_that_was_set_back_ends_and_the_rest_goes_out(desk: Any, confirm: Any) -> None:
    (node,) = desk.nodes(1)
    assert confirm(node, 0) == 0
    running, unanswered, *_ = [desk.send([node]) for _ in range(4)]
    assert len(desk.take(node)) == 4
    fifth = desk.send([node])
    tell(desk, node, running, 7)
    assert confirm(node, 7) == 7
    assert desk.status(running, node) == "InProgress"
    assert confirm(node, 3) == 7
    assert {desk.status(each, node) for each in (running, unanswered)} == {"Undeliverable"}
    desk.connect(node, "fleetward")
    assert desk.take(node) == [job_id(fifth, node)], "it was never sent, so it cannot have run"
    assert confirm(node, 8) == 8


def test_numbers_only_rise_and_nonsense_is_not_one(desk: Any, confirm: Any) -> None:
    (node,) = desk.nodes(1)
    command_id = desk.send([node])
    desk.take(node)
    assert confirm(node, 2) == 2
    for sequence in (9, 4, -1, 2**60, "12", None, True):
        tell(desk, node, command_id, sequence)
    assert confirm(node, 9) == 9


def test_a_node_that_joined_anew_starts_from_its_own_count(desk: Any, confirm: Any) -> None:
    node, other = desk.nodes(2)
    assert confirm(node, 5) == 5
    desk.world.call("DeregisterManagedInstance", {"InstanceId": node})
    assert confirm(other, 2) == 2
