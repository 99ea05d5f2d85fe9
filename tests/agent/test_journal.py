"""The journal: what is written survives, what was torn never happened, what ended is remembered."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fleetward.agent.journal import REMEMBER_SECONDS, Journal, is_command_id

COMMAND = "5db0bc3e-d1c3-4bd9-847c-49d09e196819"


def journal(folder: Path) -> Journal:
    folder.mkdir(exist_ok=True)
    return Journal(folder)


def test_an_accepted_command_is_known_and_open(tmp_path: Path) -> None:
    first = journal(tmp_path / "journal")
    assert not first.knows(COMMAND)
    first.accept(COMMAND, {"content": "x", "at": 1.0})
    again = journal(tmp_path / "journal")
    assert again.knows(COMMAND)
    (record,) = again.open_records()
    assert record.accepted == {"event": "accepted", "sequence": 1, "content": "x", "at": 1.0}
    assert again.sequence == 1
    assert record.command_id == COMMAND


def test_at_every_byte_a_torn_write_loses_only_its_own_event(tmp_path: Path) -> None:
    kept = journal(tmp_path / "journal")
    record = kept.accept(COMMAND, {"at": 1.0})
    path = tmp_path / "journal" / f"{COMMAND}.jsonl"
    before = path.read_bytes()
    record.add({"event": "started", "step": "é\n"})
    whole = path.read_bytes()
    for size in range(len(before), len(whole)):
        path.write_bytes(whole[:size])
        (read,) = journal(tmp_path / "journal").open_records()
        assert [event["event"] for event in read.events] == ["accepted"]
        read.add({"event": "ended"})  # what follows must not grow onto the torn line
        (read,) = journal(tmp_path / "journal").open_records()
        assert [event["event"] for event in read.events] == ["accepted", "ended"]
    path.write_bytes(whole)
    (read,) = journal(tmp_path / "journal").open_records()
    assert [event["event"] for event in read.events] == ["accepted", "started"]


def test_a_command_torn_before_it_was_accepted_is_unknown(tmp_path: Path) -> None:
    kept = journal(tmp_path / "journal")
    (tmp_path / "journal" / f"{COMMAND}.new").write_bytes(b'{"event":"acc')
    assert kept.open_records() == []
    assert not kept.knows(COMMAND)


def test_a_finished_command_is_remembered_for_30_days_and_no_longer(tmp_path: Path) -> None:
    kept = journal(tmp_path / "journal")
    kept.accept(COMMAND, {"content": "long" * 1000, "at": 1.0}).finish()
    assert kept.open_records() == []
    assert kept.knows(COMMAND)
    marker = tmp_path / "journal" / "finished" / COMMAND
    assert marker.stat().st_size == 0
    now = time.time()
    kept.forget_old(now + REMEMBER_SECONDS - 60)
    assert kept.knows(COMMAND)
    os.utime(marker, (now - REMEMBER_SECONDS - 60, now - REMEMBER_SECONDS - 60))
    kept.forget_old(now)
    assert not kept.knows(COMMAND)


def test_open_commands_come_back_in_the_order_they_came(tmp_path: Path) -> None:
    kept = journal(tmp_path / "journal")
    for number, name in enumerate(("c", "a", "b")):
        kept.accept(name, {"at": float(number)})
    assert [record.command_id for record in kept.open_records()] == ["c", "a", "b"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a.b", "x" * 65, "a b", "a\n"])
def test_only_plain_names_are_command_ids(name: str) -> None:
    assert not is_command_id(name)
    assert is_command_id(COMMAND)
