"""Recordings: where they lie, and what is said while there is none."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.jobs import DeleteObject
from fleetward.server.ssm.errors import DoesNotExistException
from fleetward.server.ssm.session_manager import recordings
from fleetward.server.ssm.session_manager.recordings import Stored
from fleetward.server.ssm.session_manager.table import Key


def test_a_recording_is_located_once_it_is_stored(board: Any) -> None:
    """Before that the session runs; or nothing was shown."""
    session_id = board.open()
    locate = board.world.entry(recordings.locate, reads=True)
    with pytest.raises(DoesNotExistException, match="has not ended"):
        locate({"SessionId": session_id})
    board.world.call("TerminateSession", {"SessionId": session_id})
    with pytest.raises(DoesNotExistException, match="no recording"):
        locate({"SessionId": session_id})
    key = recordings.object_key(Key(board.world.account, board.world.region, session_id), "part")
    assert board.world.entry(recordings.stored)(Stored(session_id, key, 123)) == key
    assert locate({"SessionId": session_id}) == {"Key": key, "Size": 123}


def test_a_part_takes_the_place_of_those_that_it_holds(board: Any) -> None:
    """Another server's is named instead, so that the two can be put together."""
    session_id = board.open()
    board.world.call("TerminateSession", {"SessionId": session_id})
    store = board.world.entry(recordings.stored)
    assert store(Stored(session_id, "recordings/one", 1)) == "recordings/one"
    assert store(Stored(session_id, "recordings/one", 1)) == "recordings/one"  # told again
    assert store(Stored(session_id, "recordings/two", 2)) == "recordings/one"
    assert store(Stored(session_id, "recordings/both", 3, "recordings/one")) == "recordings/both"
    assert store(Stored(session_id, "recordings/late", 3, "recordings/one")) == "recordings/both"
    located = board.world.entry(recordings.locate, reads=True)({"SessionId": session_id})
    assert located == {"Key": "recordings/both", "Size": 3}
    assert board.work() == [DeleteObject("recordings/one")]
    assert store(Stored("root-0123456789abcdef0", "recordings/one", 1)) == ""


def test_an_unknown_session_has_none(board: Any) -> None:
    """DoesNotExistException, as ResumeSession says it."""
    with pytest.raises(DoesNotExistException):
        board.world.entry(recordings.locate)({"SessionId": "root-0123456789abcdef0"})
