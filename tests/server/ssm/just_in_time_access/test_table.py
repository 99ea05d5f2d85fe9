"""The state of a request at a time, written down or not; and its keys in a backup."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fleetward.server.ssm.just_in_time_access import table
from fleetward.server.ssm.just_in_time_access.table import Status


@pytest.mark.parametrize("state", Status)
def test_time_ends_what_is_open_and_nothing_else(office: Any, state: Status) -> None:
    bob = office.user("bob")
    office.policy("Everything", ("IamUser", "alice"), answerWithinHours=1)
    request_id = office.ask(bob, office.fleet.admit())
    due = office.world.clock.now() + timedelta(hours=1)

    def bring(call: Any) -> Any:
        table.move(call, table.hold(call, request_id), state, due=due)
        return table.find(call, request_id)

    row = office.world.do(bring)
    assert table.status(row, due - timedelta(microseconds=1)) is state
    assert table.status(row, due) is (Status.EXPIRED if state in table.OPEN else state)


def test_no_key_is_in_the_store(office: Any) -> None:
    bob = office.user("bob")
    request_id = office.approved(bob, office.fleet.admit())
    keys = office.token(bob, request_id)["Credentials"]
    row = office.world.do(lambda call: table.find(call, request_id))
    assert not [value for value in row if str(value) and str(value) in (keys["SecretAccessKey"], keys["SessionToken"])]
    assert keys["AccessKeyId"] not in repr(row)
