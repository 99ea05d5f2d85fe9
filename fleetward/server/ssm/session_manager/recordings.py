"""Recordings: where the recorded screen of a session lies, and who may look at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, update

from fleetward.server.call import Call
from fleetward.server.ssm.errors import DoesNotExistException
from fleetward.server.ssm.session_manager import table
from fleetward.server.ssm.session_manager.table import Key, sessions

STORED = (
    update(sessions)
    .where(*table.THIS)
    .values(recording_key=bindparam("object_key"), recording_bytes=bindparam("size_bytes"))
)


def object_key(key: Key) -> str:
    """Where a recording's bytes lie."""
    return f"recordings/{key.account}/{key.region}/{key.session_id}.cast"


def stored(call: Call, request: tuple[str, str, int]) -> None:
    """Entry: the recording of a session lies under a key: `(session_id, object_key, size_bytes)`."""
    session_id, lies_under, size = request
    call.db.run(STORED, {**table.these(call, session_id), "object_key": lies_under, "size_bytes": size})


def locate(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Object key and size of a session's recording; DoesNotExistException while there is none."""
    row = table.find(call, request["SessionId"])
    if row is None:
        raise DoesNotExistException(f"There is no session {request['SessionId']}.")
    if not row.recording_key:
        why = "has not ended" if row.ended_at is None else "has no recording: tunnels and encrypted sessions have none"
        raise DoesNotExistException(f"The session {row.session_id} {why}.")
    return {"Key": row.recording_key, "Size": row.recording_bytes}
