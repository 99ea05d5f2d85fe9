"""Recordings: where the recorded screen of a session lies, and who may look at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import bindparam, update

from fleetward.server import jobs
from fleetward.server.call import Call
from fleetward.server.ssm.errors import DoesNotExistException
from fleetward.server.ssm.session_manager import table
from fleetward.server.ssm.session_manager.table import Key, sessions

STORED = (
    update(sessions)
    .where(*table.THIS)
    .values(recording_key=bindparam("object_key"), recording_bytes=bindparam("size_bytes"))
)


class Stored(NamedTuple):
    """A recording, or a part of one, that now lies under a key."""

    session_id: str
    object_key: str
    size_bytes: int
    instead_of: str = ""
    """What it takes the place of, because it holds that part as well."""


def object_key(key: Key, part: str) -> str:
    """Where the bytes of a recording lie."""
    return f"recordings/{key.account}/{key.region}/{key.session_id}/{part}.cast"


def stored(call: Call, request: Stored) -> str:
    """Entry: a session has been recorded, as far as a server has seen it; the key of the recording from now on.

    Another one than was told is a part that another server has stored before; the empty one, of a session forgotten.
    """
    row = table.lock(call, request.session_id)
    if row is None:
        return ""
    present: str = row.recording_key
    if present not in (request.instead_of, request.object_key):
        return present
    if present != request.object_key:
        change = {"object_key": request.object_key, "size_bytes": request.size_bytes}
        call.db.run(STORED, {**table.these(call, row.session_id), **change})
        if present:
            jobs.start(call, "recording-delete", present, {})
    return request.object_key


def locate(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Object key and size of a session's recording; DoesNotExistException while there is none."""
    row = table.find(call, request["SessionId"])
    if row is None:
        raise DoesNotExistException(f"There is no session {request['SessionId']}.")
    if not row.recording_key:
        why = "has not ended" if row.ended_at is None else "has no recording: tunnels and encrypted sessions have none"
        raise DoesNotExistException(f"The session {row.session_id} {why}.")
    return {"Key": row.recording_key, "Size": row.recording_bytes}
