"""Releasing: a command's job makes its invocations; rate control lets them go, errors and time stop them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update

from fleetward.protocol.control_channel import job_id
from fleetward.protocol.status import CommandStatus, InvocationStatus, release_count, resolve_share
from fleetward.server import jobs, mailbox, presence
from fleetward.server.call import Call
from fleetward.server.jobs import DONE, Job, Next
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import nodes, ssm
from fleetward.server.ssm.run_command import commands, table
from fleetward.server.ssm.run_command.table import Tally

CHUNK = 250
DELAYED_AFTER = timedelta(seconds=30)
"""What no connection has taken by then is shown as Delayed; it goes out as soon as the node is back."""
RELEASABLE = (CommandStatus.PENDING.value, CommandStatus.IN_PROGRESS.value, CommandStatus.DELAYED.value)
OPEN = (InvocationStatus.PENDING.value, InvocationStatus.DELAYED.value)

ADD_INVOCATION = insert(table.invocations)
RESOLVE = (
    update(table.commands)
    .where(*table.THIS_COMMAND)
    .values(
        resolved=bindparam("is_resolved"),
        target_count=bindparam("targets"),
        concurrency_limit=bindparam("concurrency"),
        error_limit=bindparam("errors"),
    )
)
WAITING = (
    select(table.invocations.c.node_id)
    .where(
        *in_tenant(table.invocations),
        table.invocations.c.command_id == bindparam("command"),
        table.invocations.c.released_at.is_(None),
        table.invocations.c.ended_at.is_(None),
    )
    .order_by(table.invocations.c.node_id)
    .limit(bindparam("most"))
)
POSTPONE = update(table.invocations).where(*table.THIS_INVOCATION).values(due_at=bindparam("due"))
RELEASE = (
    update(table.invocations)
    .where(*table.THIS_INVOCATION)
    .values(released_at=bindparam("now"), due_at=bindparam("due"))
)
DELAY = (
    update(table.invocations)
    .where(*table.THIS_INVOCATION)
    .values(status=InvocationStatus.DELAYED.value, due_at=bindparam("due"))
)
CANCELLING = update(table.invocations).where(*table.THIS_INVOCATION).values(status=InvocationStatus.CANCELLING.value)
UNFINISHED = (
    select(table.invocations)
    .where(
        *in_tenant(table.invocations),
        table.invocations.c.command_id == bindparam("command"),
        table.invocations.c.node_id > bindparam("after"),
        table.invocations.c.ended_at.is_(None),
    )
    .order_by(table.invocations.c.node_id)
    .limit(CHUNK)
)
UNFINISHED_AMONG = (
    select(table.invocations)
    .where(
        *in_tenant(table.invocations),
        table.invocations.c.command_id == bindparam("command"),
        table.invocations.c.node_id.in_(bindparam("nodes", expanding=True)),
        table.invocations.c.ended_at.is_(None),
    )
    .order_by(table.invocations.c.node_id)
)
OVERDUE = (
    select(table.invocations)
    .where(*in_tenant(table.invocations), table.invocations.c.due_at <= bindparam("now"))
    .order_by(table.invocations.c.due_at)
    .limit(CHUNK)
)
OVERDUE_TENANTS = (
    select(table.invocations.c.account_id, table.invocations.c.region)
    .where(table.invocations.c.due_at <= bindparam("now"))
    .distinct()
)
UNFINISHED_COMMANDS = (
    select(table.commands.c.command_id)
    .where(
        *in_tenant(table.commands),
        table.commands.c.command_id > bindparam("after"),
        table.commands.c.status.in_(bindparam("statuses", expanding=True)),
    )
    .order_by(table.commands.c.command_id)
    .limit(100)
)
UNFINISHED_OF_NODE = select(table.invocations).where(
    *in_tenant(table.invocations),
    table.invocations.c.node_id == bindparam("node"),
    table.invocations.c.ended_at.is_(None),
)


@ssm.job("command")
def expand(call: Call, job: Job) -> Next:
    """Make the invocations of a command, a chunk at a time, releasing as many as may go."""
    row = table.lock(call, [job.key]).get(job.key)
    if row is None or row.resolved:
        return DONE
    targets = commands.Targets(tuple(row.options["InstanceIds"]), tuple(row.options["Targets"]))
    total = row.target_count
    if job.step == "start":
        total = nodes.count(call, targets.select_by())
    concurrency = resolve_share(row.options.get("MaxConcurrency", "50"), max(total, 1), minimum=1)
    errors = resolve_share(row.options.get("MaxErrors", "0"), max(total, 1))
    found = nodes.select(call, targets.select_by(), job.state["after"], CHUNK)
    known = job.state.get("known", 0) + len(found)
    tally = Tally(row)
    tally.concurrency, tally.error_limit = concurrency, errors
    tally.resolved = len(found) < CHUNK
    tally.target_count = known if tally.resolved else max(total, known)
    call.db.run(
        RESOLVE,
        {
            **table.key(call, row.command_id),
            "is_resolved": tally.resolved,
            "targets": tally.target_count,
            "concurrency": concurrency,
            "errors": errors,
        },
    )
    _add(call, row, tally, found)
    proceed(call, tally)
    if tally.resolved:
        return DONE
    return Next("expand", {"after": found[-1].node_id, "known": known})


def _add(call: Call, row: Row[Any], tally: Tally, found: Sequence[Row[Any]]) -> None:
    """Rows for these nodes; those whose platform the document does not run on end at once."""
    rows = []
    for node in found:
        fits = not node.platform_type or node.platform_type in row.platform_types
        cancelled = row.cancelled
        status = InvocationStatus.PENDING if fits else InvocationStatus.INVALID_PLATFORM
        if cancelled and fits:
            status = InvocationStatus.CANCELLED
        over = status is not InvocationStatus.PENDING
        if over:
            tally.end(status, released=False)
        rows.append(
            {
                **call.tenant,
                "command_id": row.command_id,
                "node_id": node.node_id,
                "node_name": node.name or "",
                "requested_at": row.requested_at,
                "released_at": None,
                "status": status.value,
                "steps": {},
                "trace": "",
                "started_at": None,
                "ended_at": call.now if over else None,
                "due_at": None if over else row.deliver_until,
            }
        )
    call.db.run(ADD_INVOCATION, rows)


def proceed(call: Call, tally: Tally) -> None:
    """Release what may go now, store the counters, and say so when the command has ended."""
    release_next(call, tally)
    status = tally.store(call)
    if tally.stopped and tally.waiting > 0:
        jobs.start(call, "command-stop", tally.row.command_id, {})
    if tally.resolved and tally.ended_total >= tally.target_count:
        call.emit(commands.CommandFinished(tally.row.command_id, CommandStatus(status)))


def release_next(call: Call, tally: Tally) -> None:
    """Post the next invocations of a command to their nodes, as many as rate control allows."""
    if tally.cancelled or call.now >= tally.row.deliver_until or commands.halted(call) is not None:
        return
    number = release_count(tally.waiting, tally.running, tally.errors, tally.concurrency, tally.error_limit)
    if number <= 0:
        return
    row = tally.row
    most = min(number, CHUNK)
    released = call.db.values(WAITING, **table.key(call, row.command_id), most=most)
    times = {"now": call.now, "due": min(call.now + DELAYED_AFTER, row.deliver_until)}
    call.db.run(RELEASE, [{**table.key(call, row.command_id, node_id), **times} for node_id in released])
    _tell(call, row, released)
    tally.released += len(released)
    if number > most and len(released) == most:
        jobs.start(call, "command-release", row.command_id, {})


def _tell(call: Call, row: Row[Any], node_ids: Sequence[str]) -> None:
    """A message to each node, or the news to the capability that tells them."""
    if row.carrier is not None:
        if node_ids:
            call.emit(table.InvocationsReleased(row.carrier, row.command_id, tuple(node_ids)))
        return
    mailbox.post(
        call,
        [
            mailbox.Message(
                node_id, job_id(row.command_id, node_id), "command", row.command_id, expires_at=row.deliver_until
            )
            for node_id in node_ids
        ],
    )


@ssm.job("command-release")
def release_more(call: Call, job: Job) -> Next:
    """Go on releasing where one entry would have been too large."""
    row = table.lock(call, [job.key]).get(job.key)
    if row is not None:
        proceed(call, Tally(row))
    return DONE


@ssm.job("command-resume")
def resume(call: Call, job: Job) -> Next:
    """After a halt: look at every unfinished command again."""
    scope = call.here
    ids = call.db.values(UNFINISHED_COMMANDS, **scope, statuses=RELEASABLE, after=job.state["after"])
    for row in table.lock(call, ids[:10]).values():
        proceed(call, Tally(row))
    return Next("start", {"after": ids[:10][-1]}) if ids else DONE


@ssm.job("command-stop")
def stop(call: Call, job: Job) -> Next:
    """MaxErrors is exceeded: end what was not released yet as Terminated."""
    row = table.lock(call, [job.key]).get(job.key)
    if row is None:
        return DONE
    waiting = call.db.values(WAITING, **table.key(call, job.key), most=CHUNK)
    tally = Tally(row)
    _end(call, tally, waiting, InvocationStatus.TERMINATED, released=False)
    status = tally.store(call)
    if len(waiting) == CHUNK:
        return Next("start", {})
    if tally.resolved and tally.ended_total >= tally.target_count:
        call.emit(commands.CommandFinished(job.key, CommandStatus(status)))
    return DONE


@ssm.job("command-cancel")
def cancel(call: Call, job: Job) -> Next:
    """Cancel what has not finished: unsent invocations at once, others by an order to their nodes."""
    row = table.lock(call, [job.key]).get(job.key)
    if row is None:
        return DONE
    chosen = job.state["nodes"]
    if chosen and not row.resolved:
        return Next("start", job.state, due_at=call.now + timedelta(seconds=1))
    if chosen:
        found = [call.db.first(table.INVOCATION, **table.key(call, job.key, node_id)) for node_id in chosen]
        unfinished = [each for each in found if each is not None and each.ended_at is None]
    else:
        unfinished = list(call.db.all(UNFINISHED, **table.key(call, job.key), after=job.state["after"]))
    tally = Tally(row)
    _cancel(call, tally, unfinished)
    proceed(call, tally)
    if chosen or len(unfinished) < CHUNK:
        return DONE
    return Next("start", {"nodes": [], "after": unfinished[-1].node_id})


def _cancel(call: Call, tally: Tally, unfinished: Sequence[Row[Any]]) -> None:
    command_id = tally.row.command_id
    unreleased, unsent, sent = [], [], []
    for each in unfinished:
        if each.released_at is None:
            unreleased.append(each.node_id)
        elif tally.row.carrier is not None or _waits(call, each):  # what others carry, nodes know as no job
            unsent.append(each.node_id)
        elif each.status != InvocationStatus.CANCELLING.value:
            sent.append(each.node_id)
    _end(call, tally, unreleased, InvocationStatus.CANCELLED, released=False)
    _end(call, tally, unsent, InvocationStatus.CANCELLED, released=True)
    mailbox.finish(call, [(node_id, job_id(command_id, node_id)) for node_id in unsent])
    call.db.run(CANCELLING, [table.key(call, command_id, node_id) for node_id in sent])
    mailbox.recall(call, [(node_id, job_id(command_id, node_id)) for node_id in sent])  # or it might begin after this
    mailbox.post(
        call,
        [
            mailbox.Message(
                node_id,
                job_id(call.new_id(), node_id),
                "cancel",
                job_id(command_id, node_id),
                expires_at=tally.row.expires_at,
                lane=mailbox.Lane.URGENT,
            )
            for node_id in sent
        ],
    )


def _waits(call: Call, row: Row[Any]) -> bool:
    return row.status in OPEN and not mailbox.was_sent(call, row.node_id, job_id(row.command_id, row.node_id))


def _end(call: Call, tally: Tally, node_ids: Sequence[str], status: InvocationStatus, *, released: bool) -> None:
    table.end_invocations(call, [(tally.row.command_id, node_id, status) for node_id in node_ids])
    if node_ids:
        if tally.row.carrier is not None:
            call.emit(table.InvocationsEnded(tally.row.carrier, tally.row.command_id, tuple(node_ids), status))
        tally.end(status, released=released, number=len(node_ids))


@ssm.timer(every=timedelta(seconds=15), due=OVERDUE_TENANTS)
def time_out(call: Call) -> bool:
    """End what was not delivered, or never answered, in its time (only an agent can say ExecutionTimedOut).

    What has time left and found no connection is Delayed. A chunk at a time; True while there are more.
    """
    overdue = call.db.all(OVERDUE, **call.here, now=call.now)
    postponed = _give_accepted_their_time(call, overdue)
    postponed |= _delay(call, [row for row in overdue if (row.command_id, row.node_id) not in postponed])
    late = [row for row in overdue if (row.command_id, row.node_id) not in postponed]
    end_unanswered(call, late, InvocationStatus.DELIVERY_TIMED_OUT)
    return len(overdue) == CHUNK


def _give_accepted_their_time(call: Call, overdue: Sequence[Row[Any]]) -> set[tuple[str, str]]:
    """Those whose nodes accepted them in time and have not said more: they are given the time to run as well."""
    commands_of = table.lock(call, (row.command_id for row in overdue))
    silent = [row for row in overdue if row.status in OPEN and row.released_at is not None]
    accepted = mailbox.accepted(call, (row.node_id for row in silent))
    postponed = {
        (row.command_id, row.node_id): commands_of[row.command_id].expires_at
        for row in silent
        if (row.node_id, job_id(row.command_id, row.node_id)) in accepted
        and commands_of[row.command_id].expires_at > call.now
    }
    call.db.run(POSTPONE, [{**table.key(call, *pair), "due": due} for pair, due in postponed.items()])
    return set(postponed)


def _delay(call: Call, overdue: Sequence[Row[Any]]) -> set[tuple[str, str]]:
    """Those that are due although their time is not over: their nodes have not taken them for a while."""
    commands_of = table.lock(call, (row.command_id for row in overdue))
    early = [row for row in overdue if row.status in OPEN and commands_of[row.command_id].deliver_until > call.now]
    connected = presence.connected(call, [row.node_id for row in early])
    for statement, rows in (
        (POSTPONE, [row for row in early if row.node_id in connected]),  # it is busy with others
        (DELAY, [row for row in early if row.node_id not in connected]),
    ):
        until = ((row, commands_of[row.command_id].deliver_until) for row in rows)
        call.db.run(statement, [{**table.key(call, row.command_id, row.node_id), "due": due} for row, due in until])
    return {(row.command_id, row.node_id) for row in early}


def end_unanswered(call: Call, rows: Sequence[Row[Any]], status: InvocationStatus) -> None:
    """End invocations whose nodes will not tell any more, and let others go in their place."""
    by_command: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        by_command[row.command_id].append(row)
    for command_id, command in table.lock(call, by_command).items():
        tally = Tally(command)
        ids = [each.node_id for each in by_command[command_id]]
        ends: dict[tuple[InvocationStatus, bool], list[str]] = defaultdict(list)
        for current in call.db.all(UNFINISHED_AMONG, **table.key(call, command_id), nodes=ids):
            cancelling = current.status == InvocationStatus.CANCELLING.value
            end = InvocationStatus.CANCELLED if cancelling else status
            ends[end, current.released_at is not None].append(current.node_id)
        for (end, was_released), node_ids in ends.items():
            _end(call, tally, node_ids, end, released=was_released)
        mailbox.finish(call, [(each.node_id, job_id(command_id, each.node_id)) for each in by_command[command_id]])
        proceed(call, tally)


@ssm.reaction(mailbox.GivenUp)
def give_up(call: Call, event: mailbox.GivenUp) -> None:
    """A command was sent and nobody knows whether it arrived: Undeliverable, it may have run."""
    if event.kind == "command":
        row = call.db.first(table.INVOCATION, **table.key(call, event.subject, event.node_id))
        if row is not None and row.ended_at is None:
            end_unanswered(call, [row], InvocationStatus.UNDELIVERABLE)


@ssm.reaction(mailbox.Refused)
def refuse(call: Call, event: mailbox.Refused) -> None:
    """The node refuses the command: Failed, with its reason."""
    if event.kind == "command":
        row = call.db.first(table.INVOCATION, **table.key(call, event.subject, event.node_id))
        if row is not None and row.ended_at is None:
            end_unanswered(call, [row], InvocationStatus.FAILED)
            call.db.run(TRACE, {**table.key(call, event.subject, event.node_id), "text": f"{event.code} {event.text}"})


@ssm.reaction(nodes.NodeLeft)
def node_left(call: Call, event: nodes.NodeLeft) -> None:
    """A node was deregistered: nothing reaches it any more."""
    rows = call.db.all(UNFINISHED_OF_NODE, **call.here, node=event.node_id)
    end_unanswered(call, rows, InvocationStatus.UNDELIVERABLE)


TRACE = update(table.invocations).where(*table.THIS_INVOCATION).values(trace=bindparam("text"))
