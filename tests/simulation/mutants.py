"""Mutants: bugs that a careless change could bring, each planted into the running code; the simulation must find all.

A mutant is a context in which one rule is broken. Worlds that are built inside it live with the bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import bindparam, select

from fleetward.server import app, jobs, mailbox, presence
from fleetward.server.call import Call, Sent
from fleetward.server.edge import background, channels
from fleetward.server.ssm import nodes, ssm
from fleetward.server.ssm.run_command import release, results, table

Mutant = Callable[[], AbstractContextManager[Any]]


@contextmanager
def acknowledge_before_the_commit() -> Iterator[None]:
    """A reply is acknowledged when it arrives, so a kill before the commit loses it."""
    submit = channels.Channels.submit

    def eager(self: Any, entry: Any, context: Any, request: Any, done: Any) -> None:
        if entry.name.startswith("reply "):
            done(None)
            done = channels._ignore
        submit(self, entry, context, request, done)

    with patch.object(channels.Channels, "submit", eager):
        yield


def skip_the_dedupe_of_replies() -> AbstractContextManager[Any]:
    """A reply that comes again is taken for new."""
    return patch.object(mailbox, "fresh", lambda call, replies: [True] * len(replies))


def regress_a_status() -> AbstractContextManager[Any]:
    """Late news overwrite what has ended."""
    return patch.object(results, "advance", lambda current, new: current is not new)


def release_without_looking_who_runs() -> AbstractContextManager[Any]:
    """MaxConcurrency counts for one release at a time."""
    return patch.object(table.Tally, "running", 0)


def release_twice() -> AbstractContextManager[Any]:
    """What was released counts as waiting still."""
    c = table.invocations.c
    waiting = (
        select(c.node_id)
        .where(
            c.account_id == bindparam("account"),
            c.region == bindparam("in_region"),
            c.command_id == bindparam("command"),
            c.ended_at.is_(None),
        )
        .order_by(c.node_id)
        .limit(bindparam("most"))
    )
    return patch.object(release, "WAITING", waiting)


def forget_a_cancel() -> AbstractContextManager[Any]:
    """CancelCommand is answered and nothing is done about it."""
    return patch.object(ssm.jobs["command-cancel"], "function", lambda call, job: jobs.DONE)


@contextmanager
def lose_the_order_to_cancel() -> Iterator[None]:
    """The invocation is Cancelling, and its node is never told."""
    post = mailbox.post
    with patch.object(mailbox, "post", lambda call, posted: post(call, [m for m in posted if m.kind != "cancel"])):
        yield


def send_what_was_cancelled() -> AbstractContextManager[Any]:
    """A command that was sent and not accepted is sent again after the order to cancel it."""
    return patch.object(mailbox, "recall", lambda call, pairs: None)


def send_more_than_four() -> AbstractContextManager[Any]:
    """The limit of commands sent or running on one node is ignored."""
    return patch.object(mailbox, "COMMANDS_AT_ONCE", 100)


def resend_beyond_the_agents_memory() -> AbstractContextManager[Any]:
    """A command is sent again although its agent may have forgotten that it ran."""
    return patch.object(mailbox, "_may_repeat", lambda call, row, connection: True)


def rely_on_wakes() -> AbstractContextManager[Any]:
    """Nobody looks for messages whose wake was lost."""
    return patch.object(background.LEFT_WAITING, "function", lambda call, server_id: [])


def never_time_out() -> AbstractContextManager[Any]:
    """What is not delivered waits for ever."""
    (timer,) = (timer for timer in app.TIMERS if timer.name.endswith("release.time_out"))
    return patch.object(timer.entry, "function", lambda call: None)


def give_up_what_was_accepted() -> AbstractContextManager[Any]:
    """A node that accepted in time and has not said more gets no time to run."""
    return patch.object(release, "_give_accepted_their_time", lambda call, overdue: set())


@contextmanager
def allow_one_error_more() -> Iterator[None]:
    """MaxErrors is off by one."""
    count = release.release_count

    def generous(waiting: int, running: int, errors: int, concurrency: int, max_errors: int) -> int:
        return count(waiting, running, errors, concurrency, max_errors + 1)

    with patch.object(release, "release_count", generous):
        yield


@contextmanager
def accept_stale_epochs() -> Iterator[None]:
    """Any connection of a node may send, not only its newest."""
    take = mailbox.take

    def careless(renderers: Any) -> Any:
        inner = take(renderers)

        def entry(call: Call, members: Sequence[Sent]) -> Any:
            ids = [member.request[0] for member in members]
            rows = call.db.all(presence.CURRENT, account=call.account, in_region=call.region, nodes=ids)
            newest = {row.node_id: row.epoch for row in rows}
            return inner(call, [Sent(context, (n, newest.get(n, e) if e > 0 else e)) for context, (n, e) in members])

        return entry

    with patch.object(mailbox, "take", careless):
        yield


@contextmanager
def count_an_end_twice() -> Iterator[None]:
    """The counters run ahead of the invocations."""
    end = table.Tally.end

    def twice(self: Any, status: Any, *, released: bool, number: int = 1) -> None:
        end(self, status, released=released, number=number)
        if status == "Failed":
            end(self, status, released=False, number=number)

    with patch.object(table.Tally, "end", twice):
        yield


def lose_the_jobs_of_a_killed_server() -> AbstractContextManager[Any]:
    """A job whose server died keeps its lease for ever."""
    c = jobs.jobs.c
    due = (
        select(jobs.jobs)
        .where(c.due_at <= bindparam("now"), c.lease_until.is_(None))
        .order_by(c.due_at)
        .limit(bindparam("most"))
    )
    return patch.object(jobs, "DUE", due)


def forget_who_left() -> AbstractContextManager[Any]:
    """A deregistered node's commands wait for their time-outs."""
    left = [function for function in ssm.reactions[nodes.NodeLeft] if function is not release.node_left]
    return patch.dict(ssm.reactions, {nodes.NodeLeft: left})


@contextmanager
def take_a_full_buffer_for_acceptance() -> Iterator[None]:
    """ProcessorBufferFull counts as an acknowledgement, although the agent has dropped the job."""
    acknowledge = mailbox.acknowledge

    def trusting(call: Call, members: Sequence[Sent]) -> Any:
        return acknowledge(
            call, [Sent(c, (node, job, 200 if code == 51402 else code, text)) for c, (node, job, code, text) in members]
        )

    with patch.object(channels.ACKNOWLEDGE, "function", trusting):
        yield


@contextmanager
def keep_what_is_finished() -> Iterator[None]:
    """Answered messages stay in the mailbox and hold their places."""

    def keep(call: Call, pairs: Sequence[tuple[str, str]]) -> None:
        for node_id, _ in pairs:
            call.wake_node(node_id)

    with patch.object(mailbox, "finish", keep):
        yield


MUTANTS: Sequence[Mutant] = (
    acknowledge_before_the_commit,
    skip_the_dedupe_of_replies,
    regress_a_status,
    release_without_looking_who_runs,
    release_twice,
    forget_a_cancel,
    lose_the_order_to_cancel,
    send_what_was_cancelled,
    send_more_than_four,
    resend_beyond_the_agents_memory,
    rely_on_wakes,
    never_time_out,
    give_up_what_was_accepted,
    allow_one_error_more,
    accept_stale_epochs,
    count_an_end_twice,
    lose_the_jobs_of_a_killed_server,
    forget_who_left,
    take_a_full_buffer_for_acceptance,
    keep_what_is_finished,
)
