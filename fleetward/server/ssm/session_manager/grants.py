"""Grants: whether those who opened sessions could still open them; a session ends with the grant that carried it.

A running session is decided as if it were opened anew at the time when it was, with the policies, tags and keys of
now: what an operator takes away counts, that a time or the age of a second factor has passed does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Row

from fleetward.protocol.status import SessionStatus
from fleetward.server.call import Call, Caller, Resource
from fleetward.server.errors import AccessDeniedException
from fleetward.server.ssm import nodes, tags
from fleetward.server.ssm.session_manager import table
from fleetward.server.ssm.session_manager.ending import end
from fleetward.server.ssm.session_manager.starting import document_check, document_resource

ACTION = "ssm:StartSession"


class Held(NamedTuple):
    """A running session and who its owner is now; None: his keys are good no more."""

    row: Row[Any]
    holder: Caller | None


def denied(call: Call, held: Sequence[Held]) -> list[str]:
    """Entry: the ids of the sessions, all of this tenant, whose owners could not open them any more."""
    node_ids = sorted({each.row.node_id for each in held})
    tagged = tags.of(call, nodes.RESOURCE_TYPE, node_ids) if node_ids else {}
    return [each.row.session_id for each in held if not _allowed(call, each, tagged[each.row.node_id])]


def _allowed(call: Call, held: Held, node_tags: dict[str, str]) -> bool:
    if held.holder is None:
        return False
    if held.holder.policies is None:
        return True
    row = held.row
    context = replace(call.context, caller=held.holder, source_ip=row.source_ip)
    then = Call(context, now=row.started_at, db=call.db, settings=call.settings, keys=call.keys)
    resources = [Resource(nodes.arn(call, row.node_id), node_tags)]
    document = document_resource(then, row.document_named)
    try:
        for resource in (*resources, *document):
            then.authorize(ACTION, resource, document_check(then, {}))
    except AccessDeniedException:
        return False
    return True


def end_denied(call: Call, session_ids: Sequence[str]) -> None:
    """Entry: end these sessions, because what allowed them was taken away."""
    for row in table.hold(call, session_ids).values():
        end(call, row, SessionStatus.TERMINATED, "The permission for this session was taken away.")
