"""Passwords beside the event loop: bounded, and as much work for nobody as for somebody."""

from __future__ import annotations

import asyncio

import argon2
import pytest

from fleetward.server.edge import passwords as edge
from fleetward.server.edge.passwords import Passwords
from fleetward.server.errors import ServiceUnavailableException
from fleetward.server.iam import passwords


def test_a_hash_for_nobody_costs_what_a_users_does() -> None:
    stored = passwords.hashed("secret")
    assert argon2.extract_parameters(passwords._nobodys()) == argon2.extract_parameters(stored)
    assert argon2.extract_parameters(stored).type is argon2.Type.ID
    assert passwords.matches(stored, "secret")
    assert not passwords.matches(stored, "other")
    assert not passwords.matches("", "secret")
    assert not passwords.matches("not a hash", "secret")


def test_the_loop_goes_on_and_no_more_than_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "WAITING", 3)

    async def crowd() -> list[object]:
        door = Passwords()
        asked = [asyncio.create_task(door.matches("", "x")) for _ in range(5)]
        turns = 0
        while not all(task.done() for task in asked):
            await asyncio.sleep(0)
            turns += 1
        assert turns > 20  # a blocked loop would have had two or three
        door.close()
        return [task.exception() or task.result() for task in asked]

    found = asyncio.run(crowd())
    assert found[:3] == [False] * 3
    assert [type(each) for each in found[3:]] == [ServiceUnavailableException] * 2
