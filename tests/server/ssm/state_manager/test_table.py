"""What many nodes come to."""

from __future__ import annotations

import pytest

from fleetward.protocol.status import InvocationStatus
from fleetward.server.ssm.state_manager.table import coarse, detailed, roll_up


@pytest.mark.parametrize(
    ("counts", "running", "expected"),
    [
        ({}, False, ("Pending", "Associated")),
        ({}, True, ("Pending", "InProgress")),
        ({"Success": 2, "Skipped": 1}, False, ("Success", "Success")),
        ({"Success": 2, "Pending": 1}, False, ("Pending", "Pending")),
        ({"Success": 2, "InProgress": 1}, False, ("Pending", "InProgress")),
        ({"Success": 2, "TimedOut": 1, "Pending": 3}, True, ("Failed", "Failed")),
        ({"Success": 2, "Failed": 0}, False, ("Success", "Success")),
    ],
)
def test_failed_comes_before_pending_before_success(
    counts: dict[str, int], running: bool, expected: tuple[str, str]
) -> None:
    assert roll_up(counts, running=running) == expected


def test_every_state_of_an_invocation_has_a_word() -> None:
    assert {coarse(detailed(status)) for status in InvocationStatus} == {"Pending", "Success", "Failed"}
