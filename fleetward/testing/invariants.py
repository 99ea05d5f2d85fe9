"""Invariants: what a fleet promises, checked on its database and on what its nodes saw.

Triggers take note of what must not happen even for a moment; `always` and `ended` look at the whole. They know the
tables and AWS's words, and none of the rules' code: a rule is written down a second time here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fleetward.server.schema import microseconds

if TYPE_CHECKING:
    from fleetward.testing.world import World

OVER = (
    "Success",
    "DeliveryTimedOut",
    "ExecutionTimedOut",
    "Failed",
    "Cancelled",
    "Undeliverable",
    "Terminated",
    "InvalidPlatform",
    "AccessDenied",
)
COMMAND_OVER = (*OVER, "Incomplete", "NoInstancesInTag", "RateExceeded")
BY_SERVER = ("DeliveryTimedOut", "Undeliverable", "Cancelled", "Terminated", "Failed")
"""How an invocation may have ended before its node's result came; Failed when the node had refused it."""
SHOWS_AS = {"TimedOut": "ExecutionTimedOut"}

_OVER = ", ".join(f"'{each}'" for each in OVER)
_COMMAND_OVER = ", ".join(f"'{each}'" for each in COMMAND_OVER)
_SAME = " AND ".join(
    f"NEW.{name} IS OLD.{name}"
    for name in ("status", "steps", "trace", "started_at", "ended_at", "due_at", "released_at")
)
_WHICH = "NEW.command_id || ' on ' || NEW.node_id"


def _note(name: str, event: str, condition: str, text: str) -> str:
    """A trigger that takes note when `condition` holds."""
    return (
        f"CREATE TRIGGER simulation_{name} AFTER {event} WHEN {condition} "  # noqa: S608
        f"BEGIN INSERT INTO simulation_violations VALUES ({text}); END"
    )


_ROW = "UPDATE ON run_command_invocations"
TRIGGERS = (
    "CREATE TABLE simulation_violations (text TEXT NOT NULL)",
    "CREATE TABLE simulation_releases (command_id TEXT NOT NULL, running INTEGER NOT NULL, errors INTEGER NOT NULL)",
    _note(
        "end_is_kept",
        _ROW,
        "OLD.ended_at IS NOT NULL AND (NEW.status <> OLD.status OR NEW.ended_at IS NOT OLD.ended_at)",
        f"'status of ' || {_WHICH} || ' went from ' || OLD.status || ' to ' || NEW.status",
    ),
    _note(
        "end_has_time",
        _ROW,
        f"(NEW.ended_at IS NOT NULL) <> (NEW.status IN ({_OVER}))",
        f"'end and status differ: ' || {_WHICH} || ' is ' || NEW.status",
    ),
    _note(
        "no_repeats",
        _ROW,
        f"OLD.ended_at IS NOT NULL AND {_SAME}",
        f"'a repeated reply was recorded again: ' || {_WHICH}",
    ),
    _note(
        "no_return",
        _ROW,
        "OLD.status IN ('InProgress', 'Cancelling') AND NEW.status = 'Pending'"
        " OR OLD.status = 'Cancelling' AND NEW.status = 'InProgress'",
        f"'status of ' || {_WHICH} || ' went back from ' || OLD.status || ' to ' || NEW.status",
    ),
    _note(
        "command_end_is_kept",
        "UPDATE ON run_command_commands",
        f"OLD.status IN ({_COMMAND_OVER}) AND NEW.status <> OLD.status",
        "'status of command ' || NEW.command_id || ' went from ' || OLD.status || ' to ' || NEW.status",
    ),
    _note(
        "accepted_has_time",
        _ROW,
        "OLD.status = 'Pending' AND NEW.status = 'DeliveryTimedOut' AND EXISTS (SELECT 1 FROM mailbox_messages m"
        " WHERE m.account_id = NEW.account_id AND m.region = NEW.region AND m.node_id = NEW.node_id"
        " AND m.message_id = 'aws.ssm.' || NEW.command_id || '.' || NEW.node_id AND m.state = 'accepted')"
        " AND NEW.ended_at < (SELECT expires_at FROM run_command_commands c WHERE c.account_id = NEW.account_id"
        " AND c.region = NEW.region AND c.command_id = NEW.command_id)",
        f"'accepted in time and given up before its time to run was over: ' || {_WHICH}",
    ),
    _note(
        "released_once",
        _ROW,
        "OLD.released_at IS NOT NULL AND NEW.released_at IS NOT OLD.released_at",
        f"'released again: ' || {_WHICH}",
    ),
    """
    CREATE TRIGGER simulation_release AFTER UPDATE ON run_command_invocations
    WHEN OLD.released_at IS NULL AND NEW.released_at IS NOT NULL BEGIN
    INSERT INTO simulation_releases SELECT NEW.command_id,
    count(*) FILTER (WHERE released_at IS NOT NULL AND ended_at IS NULL),
    count(*) FILTER (WHERE status IN ('Failed', 'ExecutionTimedOut'))
    FROM run_command_invocations
    WHERE account_id = NEW.account_id AND region = NEW.region AND command_id = NEW.command_id; END
    """,
)


def is_now(stored: int, now: datetime) -> bool:
    """Whether a stored time is this very moment."""
    return stored == microseconds(now)


def share(expression: str, targets: int, least: int) -> int:
    """Nodes that "5" or "10%" of so many targets allow."""
    if expression.endswith("%"):
        return max(least, int(expression[:-1]) * targets // 100)
    return max(least, int(expression))


def always(world: World) -> list[str]:
    """What is broken now and must never be."""
    found = [row[0] for row in world.eyes.execute("SELECT text FROM simulation_violations")]
    for check in (_counters, _accepted, _rate_control, _confirmed, _audit_chain):
        found += check(world)
    return found


def in_passing(world: World) -> list[str]:
    """Those of `always` that a fault may hide again, cheap enough to look at often."""
    found = [row[0] for row in world.eyes.execute("SELECT text FROM simulation_violations")]
    return [*found, *_counters(world), *_accepted(world)]


def ended(world: World) -> list[str]:
    """What should have ended and has not."""
    found = [
        f"command {command_id} is still {status}"
        for command_id, status in world.eyes.execute(
            f"SELECT command_id, status FROM run_command_commands WHERE status NOT IN ({_COMMAND_OVER})"  # noqa: S608
        )
    ]
    found += [
        f"command {command_id} on {node_id} is still {status}"
        for command_id, node_id, status in world.eyes.execute(
            "SELECT command_id, node_id, status FROM run_command_invocations WHERE ended_at IS NULL"
        )
    ]
    found += [
        f"a message {kind} for {node_id} is still {state}"
        for node_id, kind, state in world.eyes.execute(
            "SELECT node_id, kind, state FROM mailbox_messages WHERE kind = 'command'"
        )
    ]
    found += [
        f"job {kind} of {key} has not ended: {fault}"
        for kind, key, fault in world.eyes.execute("SELECT kind, key, fault FROM jobs WHERE due_at IS NOT NULL")
    ]
    return found


def _counters(world: World) -> Iterator[str]:
    """The counters of each command equal what its invocations say."""
    counted: dict[str, dict[str, int]] = {}
    totals: dict[str, list[int]] = {}
    for command_id, status, number, released, done, done_released in world.eyes.execute(
        "SELECT command_id, status, count(*), count(released_at), count(ended_at),"
        " count(*) FILTER (WHERE released_at IS NOT NULL AND ended_at IS NOT NULL)"
        " FROM run_command_invocations GROUP BY command_id, status"
    ):
        if done:
            counted.setdefault(command_id, {})[status] = number
        sums = totals.setdefault(command_id, [0, 0, 0])
        totals[command_id] = [a + b for a, b in zip(sums, (number, released, done_released), strict=True)]
    for command_id, resolved, targets, released, ends, ended_released in world.eyes.execute(
        "SELECT command_id, resolved, target_count, released_count, ended, ended_released FROM run_command_commands"
    ):
        rows, rows_released, rows_ended = totals.get(command_id, [0, 0, 0])
        told = {status: number for status, number in json.loads(ends).items() if number}
        if told != counted.get(command_id, {}):
            yield f"command {command_id} counts {told}, its invocations are {counted.get(command_id, {})}"
        if (released, ended_released) != (rows_released, rows_ended):
            yield f"command {command_id} counts {released} released and {ended_released} of them ended, not {totals}"
        if resolved and targets != rows:
            yield f"command {command_id} has {rows} invocations and says {targets}"


def _accepted(world: World) -> Iterator[str]:
    """What the server holds for accepted its node really has."""
    disks = {node.node_id: node.disk for node in world.nodes}
    for node_id, command_id in world.eyes.execute(
        "SELECT node_id, subject FROM mailbox_messages WHERE state = 'accepted' AND kind = 'command'"
    ):
        if command_id not in disks[node_id].received:
            yield f"command {command_id} counts as accepted by {node_id}, which has never taken it"


def _rate_control(world: World) -> Iterator[str]:
    """At no release were more under way than MaxConcurrency allows, or more failed than MaxErrors allows."""
    worst = {
        command_id: (running, errors)
        for command_id, running, errors in world.eyes.execute(
            "SELECT command_id, max(running), max(errors) FROM simulation_releases GROUP BY command_id"
        )
    }
    for command_id, options, targets in world.eyes.execute(
        "SELECT command_id, options, target_count FROM run_command_commands"
    ):
        asked = json.loads(options)
        running, errors = worst.get(command_id, (0, 0))
        concurrency = share(asked.get("MaxConcurrency", "50"), targets, 1)
        if running > concurrency:
            yield f"command {command_id} had {running} nodes under way, MaxConcurrency allows {concurrency}"
        allowed = share(asked.get("MaxErrors", "0"), targets, 0)
        if errors > allowed:
            yield f"command {command_id} went on after {errors} errors, MaxErrors allows {allowed}"


def _confirmed(world: World) -> Iterator[str]:
    """What a node reported and the server acknowledged is in the result."""
    for reply in world.confirmed_replies:
        row = world.eyes.execute(
            "SELECT status, steps, ended_at FROM run_command_invocations WHERE command_id = ? AND node_id = ?",
            (reply.command_id, reply.node_id),
        ).fetchone()
        if row is None:
            continue
        status, steps, ended_at = row[0], json.loads(row[1]), row[2]
        yield from _step_lost(reply.content.get("runtimeStatus") or {}, steps, reply.command_id, reply.node_id)
        told = reply.content["documentStatus"]
        if told == "InProgress":
            continue
        told = SHOWS_AS.get(told, told)
        earlier = ended_at is not None and ended_at < microseconds(world.clock.start) + reply.at
        if status != told and not (status in BY_SERVER and earlier):
            yield f"{reply.node_id} reported {told} for {reply.command_id}, was acknowledged, and it is {status}"


def _step_lost(reported: Mapping[str, Any], steps: Mapping[str, Any], command_id: str, node_id: str) -> Iterator[str]:
    for name, step in reported.items():
        if steps.get(name, {}).get("status") != step["status"] or steps[name]["stdout"] != step["standardOutput"]:
            yield f"{node_id} reported step {name} of {command_id}, was acknowledged, and it is not there"


def _audit_chain(world: World) -> Iterator[str]:
    """The records of the audit trail follow each other without a gap, each hash made of the one before."""
    digest = ""
    rows = world.eyes.execute(
        "SELECT sequence, hash, body FROM audit_records WHERE sequence IS NOT NULL ORDER BY sequence"
    )
    for expected, (sequence, stored, body) in enumerate(rows, 1):
        digest = hashlib.sha256(f"{digest}\n{sequence}\n{body}".encode()).hexdigest()
        if sequence != expected or stored != digest:
            yield f"the audit chain is broken at record {sequence}"
            return
