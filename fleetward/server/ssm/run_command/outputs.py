"""Outputs: what steps wrote, in full; bytes lie in Objects, rows here refer to them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from fleetward.server import jobs
from fleetward.server.call import Call
from fleetward.server.jobs import DONE, DeleteObject, Job, Next
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import InvocationDoesNotExist
from fleetward.server.ssm.run_command import table

OUTPUT_LIMIT = 128 * 1024 * 1024
"""Largest stream that is kept, bytes."""

_THIS = (
    *in_tenant(table.outputs),
    table.outputs.c.command_id == bindparam("command"),
    table.outputs.c.node_id == bindparam("node"),
    table.outputs.c.step == bindparam("of_step"),
    table.outputs.c.stream == bindparam("of_stream"),
)
ADD = insert(table.outputs)
DROP = delete(table.outputs).where(*_THIS)
ONE = select(table.outputs).where(*_THIS)
ALL = (
    select(table.outputs)
    .where(
        *in_tenant(table.outputs),
        table.outputs.c.command_id == bindparam("command"),
        table.outputs.c.node_id == bindparam("node"),
    )
    .order_by(table.outputs.c.step, table.outputs.c.stream)
)
OLD = select(table.outputs).where(table.outputs.c.stored_at < bindparam("before")).limit(200)


def object_key(account: str, region: str, command_id: str, node_id: str, step: str, stream: str) -> str:
    """Where a stream's bytes lie."""
    return f"outputs/{account}/{region}/{command_id}/{node_id}/{step}/{stream}"


def expected(call: Call, request: Mapping[str, str]) -> None:
    """Whether the calling node has such an invocation; raises InvocationDoesNotExist."""
    if call.db.first(table.INVOCATION, **table.key(call, request["CommandId"], call.caller.node_id)) is None:
        raise InvocationDoesNotExist("This node has no such command.")


def stored(call: Call, request: Mapping[str, Any]) -> None:
    """Entry: the bytes lie under `key`; a repeat of the same stream replaces its row."""
    values = {
        **table.key(call, request["CommandId"], call.caller.node_id),
        "of_step": request["Step"],
        "of_stream": request["Stream"],
    }
    call.db.run(DROP, values)
    call.db.run(
        ADD,
        {
            **call.tenant,
            "command_id": request["CommandId"],
            "node_id": call.caller.node_id,
            "step": request["Step"],
            "stream": request["Stream"],
            "object_key": request["key"],
            "size_bytes": request["size_bytes"],
            "stored_at": call.now,
        },
    )


def listed(call: Call, command_id: str, node_id: str) -> list[dict[str, Any]]:
    """The streams kept of one invocation."""
    return [
        {"Step": row.step, "Stream": row.stream, "Size": row.size_bytes}
        for row in call.db.all(ALL, **table.key(call, command_id, node_id))
    ]


def find(call: Call, command_id: str, node_id: str, step: str, stream: str) -> tuple[str, int] | None:
    """Object key and size of one stream, or None when nothing was kept in full."""
    row = call.db.first(ONE, **table.key(call, command_id, node_id), of_step=step, of_stream=stream)
    return None if row is None else (row.object_key, row.size_bytes)


@ssm.timer(every=timedelta(hours=1))
def forget(call: Call) -> None:
    """Outputs older than `keep_outputs`: the row goes now, the bytes by a job."""
    for row in call.db.all(OLD, before=call.now - timedelta(days=call.settings.keep_outputs)):
        call.db.run(
            DROP,
            {
                "account": row.account_id,
                "in_region": row.region,
                "command": row.command_id,
                "node": row.node_id,
                "of_step": row.step,
                "of_stream": row.stream,
            },
        )
        jobs.start(call, "output-delete", row.object_key, {})


@ssm.job("output-delete")
def delete_object(call: Call, job: Job) -> Next:
    """Remove the bytes."""
    if job.step == "start":
        return Next("done", effects=(DeleteObject(job.key),))
    return DONE
