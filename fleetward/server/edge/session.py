"""Session: the ends of one session that are on this server, and what goes between them, unchanged.

Numbers, acknowledgements and repeats are between the two ends (protocol/data_channel). The server reads only the few
frames that are its own (AP 11.4), and what it counts and records. A slow end holds the other one back: nothing is
buffered but what waits, bounded, for an end that is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

from picows import WSCloseCode

from fleetward.protocol.frame import HEADER_BYTES, PayloadType
from fleetward.server.call import service_context
from fleetward.server.edge.acknowledged import Acknowledged
from fleetward.server.edge.recorder import Recorder
from fleetward.server.edge.session_end import SessionEnd, note
from fleetward.server.service import BATCH, Entry
from fleetward.server.ssm.session_manager import ends
from fleetward.server.ssm.session_manager.ends import End, Joined, Traffic
from fleetward.server.ssm.session_manager.table import Key

if TYPE_CHECKING:
    from fleetward.server.edge.data_channels import DataChannels

log = logging.getLogger("fleetward.sessions")

LEAVES = {
    End.NODE: Entry("sessions.node-leaves", ends.node_leaves, audit=False),
    End.CLIENT: Entry("sessions.client-leaves", ends.client_leaves, audit=False),
}
NODE_ENDED = Entry("sessions.node-ended", ends.node_ended, audit=False)
COUNT = Entry("sessions.count", ends.count, together=BATCH, audit=False)

WAITS_FOR_AN_END = 1024 * 1024
"""So many bytes wait for an end that is away; then the other one is held back."""
ACKNOWLEDGEMENTS_KEPT = 256
"""A client's last acknowledgements, given again to a node that comes back: an official client never repeats one."""
LAST_WORDS_SECONDS = 1.0
"""How long the server of the node's end has to say to a client elsewhere, after the last output, that all is over."""
COMPLETION_SECONDS = 4.0
"""How long an official agent whose end is gone says, on its control channel, how a session ended: thrice in 3 s."""
COUNT_EVERY_SECONDS = 10
"""How often at most traffic is written down; what comes after a longer silence is at once, as it ends one."""
_OF_SERVER = b"agent_session_state"
_TERMINATING = b'"Terminating"'
_ACKNOWLEDGE = b"acknowledge"
_TYPE_AT = 4
_NEITHER_INPUT_NOR_OUTPUT = _ACKNOWLEDGE[0]
"""How the types begin that are looked at more closely."""
_PAYLOAD_TYPE_AT = 115
"""Its last byte: the others are 0."""
_COUNTED = (int(PayloadType.OUTPUT), int(PayloadType.STANDARD_ERROR))


class Session:
    """One session: its ends that are here, and what goes between them."""

    def __init__(self, channels: DataChannels, key: Key) -> None:
        self._channels = channels
        self.key = key
        self._context = service_context(key.account, key.region)
        self._ends: dict[End, SessionEnd] = {}
        self._waiting: dict[End, deque[bytes]] = {End.NODE: deque(), End.CLIENT: deque()}
        self._waiting_bytes = {End.NODE: 0, End.CLIENT: 0}
        self._acknowledgements: deque[bytes] = deque(maxlen=ACKNOWLEDGEMENTS_KEPT)
        self._acknowledged: Acknowledged | None = None
        self._recorder: Recorder | None = None
        self._meter = Meter()
        self._accounts = False
        """Whether the node's end is here, where what goes through is counted and recorded."""
        self._is_over = False
        self._is_ending_there = False
        """Whether an official agent has said that it is ending the session."""
        self._ending: asyncio.TimerHandle | None = None

    @property
    def is_linked(self) -> bool:
        """Whether the node's end is at another server, which this one has a link to."""
        end = self._ends.get(End.NODE)
        return end is not None and end.is_far

    def awaits_node(self, client_epoch: int) -> bool:
        """Whether this connection of the client is here, and still without a node's end."""
        client = self._ends.get(End.CLIENT)
        return not self._is_over and client is not None and client.epoch == client_epoch and End.NODE not in self._ends

    def join(self, end: SessionEnd, joined: Joined) -> None:
        """An end is open: the one before it, if any, is not the session's any more."""
        self._replace(end)
        if not joined.repeats_well and self._acknowledged is None:
            self._acknowledged = Acknowledged()
        if joined.recorded and self._recorder is None and end.which is End.NODE:
            self._recorder = self._channels.recorders.open(joined)
        self._introduce(end)
        if end.which is End.CLIENT and End.NODE not in self._ends and joined.owner is not None:
            self._channels.look_soon([self])

    def link(self, end: SessionEnd) -> None:
        """The node's end is at another server, and the link to it is open: that server tells both ends to go on."""
        self._replace(end)
        self._stop_recording()
        for frame in self._acknowledgements:
            end.send(frame)
        self._deliver_waiting(end)
        self._ends[End.CLIENT].resume_reading()

    def _replace(self, end: SessionEnd) -> None:
        which = end.which
        before = self._ends.get(which)
        self._ends[which] = end
        if before is not None:
            before.close(WSCloseCode.OK)
        if which is End.CLIENT and self.is_linked:  # by a link of the connection before
            self._drop_link()
        self._connect(before)

    def _drop_link(self) -> None:
        link = self._ends.pop(End.NODE)
        link.is_current, link.other = False, None
        link.close(WSCloseCode.OK)

    def _connect(self, former: SessionEnd | None) -> None:
        """Tell the ends of each other, and a former one that nobody listens to it any more; `forward` asks nobody."""
        node, client = self._ends.get(End.NODE), self._ends.get(End.CLIENT)
        self._accounts = node is not None and not node.is_far
        if former is not None:
            former.is_current, former.other = False, None
        if node is not None:
            node.is_current, node.other = True, client
        if client is not None:
            client.is_current, client.other = True, node

    def _introduce(self, end: SessionEnd) -> None:
        which = end.which
        if which is End.NODE:
            for frame in self._acknowledgements:
                end.send(frame)
        self._deliver_waiting(end)
        other = self._ends.get(which.other)
        if other is not None:
            other.send(note("start_publication"))
            other.resume_reading()
            end.send(note("start_publication"))
            if other.is_full:
                end.pause_reading()

    def _deliver_waiting(self, end: SessionEnd) -> None:
        if end.which is End.CLIENT and self._acknowledged is not None:
            for frame in self._acknowledged.give_again():
                end.send(frame)
        waiting, self._waiting[end.which] = self._waiting[end.which], deque()
        self._waiting_bytes[end.which] = 0
        for frame in waiting:
            self._give(end, frame)

    def leave(self, end: SessionEnd) -> None:
        """The connection of an end is gone."""
        which = end.which
        if self._ends.get(which) is not end:
            return
        del self._ends[which]
        if which is End.CLIENT and self.is_linked:
            self._drop_link()
        self._connect(end)
        other = self._ends.get(which.other)
        if other is not None:
            other.send(note("pause_publication"))
            other.resume_reading()
        else:
            self._forget()
        if self._is_over:
            return
        if not end.is_far:
            self._submit(LEAVES[which], (self.key.session_id, end.epoch))
            if which is End.NODE and self._is_ending_there:
                loop = asyncio.get_running_loop()
                loop.call_later(COMPLETION_SECONDS, self._submit, NODE_ENDED, self.key.session_id)
        elif which is End.NODE:
            self._channels.look_soon([self])

    def _forget(self) -> None:
        self.count()
        self._channels.forget(self)
        self._stop_recording()

    def _stop_recording(self) -> None:
        """The node's end is not here any more; whoever has it records."""
        if self._recorder is not None:
            self._channels.recorders.release(self._recorder)
            self._recorder = None

    def forward(self, source: SessionEnd, frame: bytes) -> None:
        """Give the other end what this one sent; of a session that is over, and of an end replaced, nothing goes on.

        Every frame of every session comes through here.
        """
        if not source.is_current or self._is_over:
            return
        kind = frame[_TYPE_AT]
        if kind == _NEITHER_INPUT_NOR_OUTPUT and source.is_node and frame.startswith(_OF_SERVER, _TYPE_AT):
            self._is_ending_there = self._acknowledged is not None and frame.find(_TERMINATING, HEADER_BYTES) > 0
            return
        if self._acknowledged is not None and self._settles(self._acknowledged, source, frame):
            return
        other = source.other
        if other is None:
            self._wait(source, frame)
            return
        if self._accounts:
            if frame[_PAYLOAD_TYPE_AT] in _COUNTED:
                self._meter.add(source.is_node, len(frame) - HEADER_BYTES)
            if self._recorder is not None:
                self._recorder.frame(source.which, frame)
        other.send(frame)

    def _wait(self, source: SessionEnd, frame: bytes) -> None:
        """Keep a frame for an end that is away. What comes from the node has passed its end already."""
        if self._accounts:
            self._keep_account(End.NODE, frame)
        if source.is_node and self._acknowledged is not None and self._acknowledged.is_on_the_way(frame):
            return
        away = source.which.other
        self._waiting[away].append(frame)
        self._waiting_bytes[away] += len(frame)
        if self._waiting_bytes[away] > WAITS_FOR_AN_END:
            source.pause_reading()

    def _give(self, end: SessionEnd, frame: bytes) -> None:
        if end.is_node and not end.is_far:
            self._keep_account(End.CLIENT, frame)
        end.send(frame)

    def _keep_account(self, source: End, frame: bytes) -> None:
        """Count and record what passes the node's end: of two servers, the one that has it does."""
        if frame[_PAYLOAD_TYPE_AT] in _COUNTED:
            self._meter.add(source is End.NODE, len(frame) - HEADER_BYTES)
        if self._recorder is not None:
            self._recorder.frame(source, frame)

    def _settles(self, acknowledged: Acknowledged, source: SessionEnd, frame: bytes) -> bool:
        """Help an official agent with its acknowledgements; whether the frame needs to go no further."""
        if source.is_node:
            again = acknowledged.answer(frame)
            if again is not None:
                source.send(again)
            return again is not None
        if frame.startswith(_ACKNOWLEDGE, _TYPE_AT):
            acknowledged.note(frame)
            self._acknowledgements.append(frame)
        return False

    def hold_back(self, end: SessionEnd) -> None:
        """An end takes what it is sent more slowly than it comes. One that was replaced holds nobody back."""
        if end.other is not None:
            end.other.pause_reading()

    def let_go(self, end: SessionEnd) -> None:
        """It has caught up."""
        if end.other is not None:
            end.other.resume_reading()

    def stands(self, row: Any) -> None:
        """How the store sees it: going on, over, or with a newer connection of an end somewhere else."""
        if self._is_over or self._ending is not None:
            return
        if row is None or row.ended_at is not None:
            text = "" if row is None else row.details
            if self.is_linked:
                self._ending = asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._end, text)
            else:
                self._end(text)
            return
        for end in tuple(self._ends.values()):
            if end.is_outdated(row):
                if end.is_far:
                    self.leave(end)
                end.close(WSCloseCode.OK)
        if self._is_elsewhere(row) and self._channels.peers is not None:
            self._channels.peers.reach(self, row)

    def _is_elsewhere(self, row: Any) -> bool:
        """Whether the client is here and its node at another server."""
        client_is_here = self.awaits_node(row.client_epoch) and not self._ends[End.CLIENT].is_far
        elsewhere = row.node_server not in (None, self._channels.server_id)
        return client_is_here and elsewhere and row.node_left_at is None

    def _end(self, text: str) -> None:
        self._is_over = True
        self.count()
        for end in tuple(self._ends.values()):
            end.finish(text)
        if self._recorder is not None:
            self._channels.recorders.finish(self._recorder)
            self._recorder = None

    def second(self, now: datetime) -> None:
        """What is done every second: count, flush, look for ends that have vanished."""
        if self._meter.tick(now):
            self.count()
        if self._recorder is not None:
            self._recorder.flush()
        if self._acknowledged is not None:
            self._say_again(self._acknowledged)
        for end in tuple(self._ends.values()):
            end.keep_alive()

    def _say_again(self, acknowledged: Acknowledged) -> None:
        said, node = acknowledged.say_again(), self._ends.get(End.NODE)
        if node is not None and not node.is_far:
            for frame in said:
                node.send(frame)

    def count(self) -> None:
        """Write down what went through since the last time."""
        counted = self._meter.take()
        if counted is not None:
            bytes_in, bytes_out, active_at = counted
            self._submit(COUNT, Traffic(self.key, bytes_in, bytes_out, active_at or self._channels.clock.now()))

    def close(self, code: WSCloseCode) -> None:
        """Close both ends; the session goes on where they come again."""
        for end in tuple(self._ends.values()):
            end.close(code)

    def _submit(self, entry: Entry, request: Any) -> None:
        self._channels.runner.submit(entry, self._context, request, _log_failure)


class Meter:
    """Bytes of a session each way, and when the last of them went through."""

    def __init__(self) -> None:
        self._to_node = 0
        self._from_node = 0
        self._is_active = False
        self._active_at: datetime | None = None
        self._seconds = 0

    def add(self, from_node: bool, size: int) -> None:
        """So many bytes went through."""
        if from_node:
            self._from_node += size
        else:
            self._to_node += size
        self._is_active = True

    def tick(self, now: datetime) -> bool:
        """A second has passed; whether it is time to write down what was counted."""
        self._seconds += 1
        if self._is_active:
            self._is_active, self._active_at = False, now
        return self._seconds >= COUNT_EVERY_SECONDS and bool(self._to_node or self._from_node)

    def take(self) -> tuple[int, int, datetime | None] | None:
        """Bytes to the node, bytes from it, when the last were seen, and begin anew; None when there were none."""
        if not (self._to_node or self._from_node):
            return None
        counted = self._to_node, self._from_node, None if self._is_active else self._active_at
        self._to_node = self._from_node = self._seconds = 0
        return counted


def _log_failure(outcome: Any) -> None:
    if isinstance(outcome, BaseException):
        log.error("entry of a session failed", exc_info=outcome)
