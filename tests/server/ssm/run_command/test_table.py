"""Counters of a command and the status that follows from them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetward.protocol.status import CommandStatus, InvocationStatus, counts_as_error, is_terminal
from fleetward.server.ssm.run_command import table

TERMINAL = [status for status in InvocationStatus if is_terminal(status)]


def tally(**changes: Any) -> table.Tally:
    row = {
        "ended": {},
        "ended_released": 0,
        "released_count": 0,
        "target_count": 10,
        "resolved": True,
        "cancelled": False,
        "concurrency_limit": 5,
        "error_limit": 0,
        "status": "Pending",
        **changes,
    }
    return table.Tally(SimpleNamespace(**row))  # type: ignore[arg-type]


@given(ends=st.lists(st.tuples(st.sampled_from(TERMINAL), st.booleans()), max_size=10))
def test_waiting_running_and_ended_are_the_targets(ends: list[tuple[InvocationStatus, bool]]) -> None:
    counted = tally(released_count=sum(released for _, released in ends))
    for status, released in ends:
        counted.end(status, released=released)
    assert counted.waiting + counted.running + counted.ended_total == counted.target_count
    assert counted.running == 0
    assert counted.errors == sum(counts_as_error(status) for status, _ in ends)
    assert counted.stopped == (counted.errors > 0)


def test_status_follows_the_counters() -> None:
    counted = tally(target_count=2, released_count=2)
    assert counted.status() is CommandStatus.PENDING
    counted.end(InvocationStatus.SUCCESS, released=True)
    assert counted.status() is CommandStatus.IN_PROGRESS
    counted.cancelled = True
    assert counted.status() is CommandStatus.CANCELLING
    counted.end(InvocationStatus.CANCELLED, released=True)
    assert counted.status() is CommandStatus.CANCELLED


def test_command_does_not_end_before_all_its_targets_are_known() -> None:
    counted = tally(target_count=1, released_count=1, resolved=False)
    counted.end(InvocationStatus.SUCCESS, released=True)
    assert counted.status() is CommandStatus.IN_PROGRESS


def test_open_statuses_are_not_over() -> None:
    assert {status.value for status in InvocationStatus if not table.is_over(status.value)} == {
        "Pending",
        "InProgress",
        "Delayed",
        "Cancelling",
    }


def test_commands_are_locked_in_one_order(desk: Any) -> None:
    (node,) = desk.nodes(1)
    sent = [desk.send([node]) for _ in range(3)]
    locked = desk.world.do(lambda call: list(table.lock(call, [*sent, sent[0], "unknown"])))
    assert locked == sorted(sent)
    assert desk.world.do(lambda call: table.lock(call, [])) == {}
