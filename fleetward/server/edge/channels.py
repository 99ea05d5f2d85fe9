"""Channels: the websockets of nodes, driven by protocol/control_channel.py; no store access but through entries."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from fleetward.protocol.control_channel import (
    JobAcknowledged,
    JobReplied,
    ServerControlChannel,
    TaskCompleted,
)
from fleetward.protocol.errors import RemoteProtocolError
from fleetward.server import mailbox, presence
from fleetward.server.call import Context, node_topic
from fleetward.server.edge.messages import DATA_FRAMES, Messages, TooLong
from fleetward.server.service import BATCH, Entry, Runner, Service

log = logging.getLogger("fleetward.channels")

ROUNDS_OF_SILENCE = 8
"""Rounds in which nothing came before a channel counts as dead; from half of them on it is pinged."""

COMPLETED = "agent_task_complete"
"""The reply under which the end of a session is recorded."""

CONNECT = Entry("presence.connect", presence.connect, together=BATCH, audit=False)
LEAVE = Entry("presence.leave", presence.leave, together=BATCH, audit=False)
ACKNOWLEDGE = Entry("mailbox.acknowledge", mailbox.acknowledge, together=BATCH, audit=False)


class Channels:
    """All control channels open on this server."""

    def __init__(self, *, runner: Runner, services: Sequence[Service], server_id: str) -> None:
        self.runner = runner
        self.server_id = server_id
        self.round = 0
        self._open: dict[str, NodeChannel] = {}
        self._opening: set[NodeChannel] = set()
        self._replies = {topic: entry for service in services for topic, entry in service.replies.items()}
        self.reply_entry = lru_cache(maxsize=64)(self._reply_entry)
        renderers = {kind: function for service in services for kind, function in service.messages.items()}
        self.take = Entry(
            "mailbox.take", mailbox.take(renderers.__getitem__), together=mailbox.TAKEN_AT_ONCE, audit=False
        )

    def __len__(self) -> int:
        return len(self._open)

    def wake(self, topics: Sequence[str]) -> None:
        """Let every channel whose topic is named look into its mailbox."""
        for topic in topics:
            channel = self._open.get(topic)
            if channel is not None:
                channel.look()

    def listener(self, context: Context, check_token: Callable[[str], bool]) -> NodeChannel:
        """A channel for the node of `context`, whose first message must carry a token that `check_token` accepts."""
        return NodeChannel(self, context, check_token)

    def opening(self, channel: NodeChannel) -> None:
        """A connection whose opening message is still to come, or to be recorded."""
        self._opening.add(channel)

    def opened(self, channel: NodeChannel) -> None:
        """The newest connection of a node replaces the one before."""
        self._opening.discard(channel)
        before = self._open.get(channel.topic)
        self._open[channel.topic] = channel
        if before is not None and before is not channel:
            before.close(WSCloseCode.OK)

    def closed(self, channel: NodeChannel) -> None:
        """Forget a channel, unless a newer one has its place."""
        self._opening.discard(channel)
        if self._open.get(channel.topic) is channel:
            del self._open[channel.topic]

    def next_round(self) -> None:
        """Ping channels that have been silent for a while, and drop those that stayed so: called every `silence / 8`.

        A peer that vanished tells nobody. Agents ping every 54 s, so as a rule nothing is sent for this.
        """
        self.round += 1
        for channel in tuple(self._open.values()):
            silent = self.round - channel.heard
            if silent > ROUNDS_OF_SILENCE:
                channel.drop()
            elif silent > ROUNDS_OF_SILENCE // 2:
                channel.ping()

    def close_all(self) -> None:
        """Close every channel: the server stops."""
        for channel in (*self._opening, *self._open.values()):
            channel.close(WSCloseCode.GOING_AWAY)

    def _reply_entry(self, topic: str) -> Entry | None:
        """The entry for a reply under a wire topic, `aws.ssm.sendCommand…`."""
        return next((entry for prefix, entry in self._replies.items() if topic.startswith(prefix)), None)

    def submit(self, entry: Entry, context: Context, request: Any, done: Callable[[Any], None]) -> None:
        """Run an entry; `done` is called on the loop after the commit."""
        self.runner.submit(entry, context, request, done)


class NodeChannel(WSListener):
    """One node's control channel: token first, then jobs out and acknowledgements and replies in."""

    __slots__ = (
        "_again",
        "_channels",
        "_check_token",
        "_looking",
        "_messages",
        "_opening",
        "_protocol",
        "_transport",
        "context",
        "epoch",
        "heard",
        "topic",
    )

    def __init__(self, channels: Channels, context: Context, check_token: Callable[[str], bool]) -> None:
        self._channels = channels
        self.context = context
        self._check_token = check_token
        self._protocol = ServerControlChannel()
        self._transport: WSTransport | None = None
        self.epoch = 0
        self.heard = channels.round
        self.topic = node_topic(context.account, context.region, context.caller.node_id)
        self._looking = False
        self._again = False
        self._messages = Messages()
        self._opening: asyncio.TimerHandle | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade is answered; the message that opens the channel must follow in time."""
        self._transport = transport
        self._channels.opening(self)
        seconds = self._channels.runner.settings.header_timeout
        self._opening = asyncio.get_running_loop().call_later(seconds, self.close, WSCloseCode.POLICY_VIOLATION)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame of the node, which lives."""
        self.heard = self._channels.round
        try:
            if frame.msg_type == WSMsgType.PING:
                transport.send_pong(frame.get_payload_as_bytes())
            elif frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()
            elif frame.msg_type in DATA_FRAMES:
                self._take(frame)
        except TooLong:
            self.close(WSCloseCode.MESSAGE_TOO_BIG)
        except (RemoteProtocolError, UnicodeDecodeError) as fault:
            log.info(
                "channel closed", extra={"fields": {"node": self.context.caller.node_id, "reason": str(fault)[:200]}}
            )
            self.close(WSCloseCode.PROTOCOL_ERROR)

    def _take(self, frame: WSFrame) -> None:
        message = self._messages.take(frame)
        if message is not None and message[0] == WSMsgType.TEXT:
            self._open(message[1].decode())
        elif message is not None:
            self._receive(message[1])

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        self._transport = None
        self._opened_or_gone()
        self._channels.closed(self)
        if self.epoch:
            self._channels.submit(LEAVE, self.context, (self.context.caller.node_id, self.epoch), _ignore)

    def close(self, code: WSCloseCode) -> None:
        """Close from our side."""
        if self._transport is not None:
            self._transport.send_close(code)
            self._transport.disconnect()

    def ping(self) -> None:
        """Ask whether the node is still there."""
        if self._transport is not None:
            self._transport.send_ping()

    def drop(self) -> None:
        """Nobody is there any more: end the connection without a word."""
        log.info("channel silent", extra={"fields": {"node": self.context.caller.node_id}})
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def _opened_or_gone(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    def look(self) -> None:
        """Take from the mailbox what may go out; one look at a time, a wake meanwhile causes another."""
        if not self.epoch or self._transport is None:
            return
        if self._looking:
            self._again = True
            return
        self._looking = True
        self._channels.submit(self._channels.take, self.context, (self.context.caller.node_id, self.epoch), self._send)

    def _open(self, text: str) -> None:
        opened = self._protocol.receive_text(text)
        self._opened_or_gone()
        if not self._check_token(opened.token):
            self.close(WSCloseCode.POLICY_VIOLATION)
            return
        request = (self.context.caller.node_id, self._channels.server_id, opened.agent_version[:32])
        self._channels.submit(CONNECT, self.context, request, self._connected)

    def _connected(self, outcome: Any) -> None:
        if isinstance(outcome, BaseException) or self._transport is None:
            self.close(WSCloseCode.TRY_AGAIN_LATER)
            return
        self.epoch = outcome
        self._channels.opened(self)
        self.look()

    def _send(self, outcome: Any) -> None:
        self._looking = False
        if isinstance(outcome, BaseException):
            log.error("mailbox not read", exc_info=outcome)
            return
        if self._transport is None:
            return
        if outcome is None:
            self.close(WSCloseCode.GOING_AWAY)
            return
        now_ms = time.time_ns() // 1_000_000
        for message in outcome:
            self._transport.send(WSMsgType.BINARY, self._frame(message, now_ms))
        if self._again:
            self._again = False
            self.look()

    def _frame(self, message: mailbox.Outgoing, now_ms: int) -> bytes:
        """A message as its form wants it; what is about a session has the session's id as its topic."""
        message_id = uuid.uuid4()
        if message.form is mailbox.Form.START_SESSION:
            return self._protocol.start_session(message.topic, message.content, message_id=message_id, now_ms=now_ms)
        if message.form is mailbox.Form.CLOSE_SESSION:
            return self._protocol.close_session(message.topic, message.node_id, message_id=message_id, now_ms=now_ms)
        return self._protocol.send_job(
            message.message_id, message.topic, message.content, message_id=message_id, now_ms=now_ms
        )

    def _receive(self, data: bytes) -> None:
        event = self._protocol.receive_frame(data)
        node_id = self.context.caller.node_id
        if isinstance(event, JobReplied):
            self._record(event)
        elif isinstance(event, JobAcknowledged):
            request = (node_id, event.job_id[:160], event.status_code, event.error_message[:500])
            self._channels.submit(ACKNOWLEDGE, self.context, request, _ignore)
        elif isinstance(event, TaskCompleted):
            self._complete(event)

    def _complete(self, event: TaskCompleted) -> None:
        """A session has ended on the node: it is told that this is known, once it is."""

        def acknowledge(outcome: Any) -> None:
            if isinstance(outcome, BaseException):
                log.error("end of a session not stored", exc_info=outcome)
            elif self._transport is not None:
                now_ms = time.time_ns() // 1_000_000
                frame = self._protocol.acknowledge_task(
                    event.session_id, event.message_id, message_id=uuid.uuid4(), now_ms=now_ms
                )
                self._transport.send(WSMsgType.BINARY, frame)

        entry = self._channels.reply_entry(COMPLETED)
        if entry is None:
            acknowledge(None)
        else:
            self._channels.submit(entry, self.context, event, acknowledge)

    def _record(self, event: JobReplied) -> None:
        entry = self._channels.reply_entry(event.topic)
        message_id = event.message_id

        def acknowledge(outcome: Any) -> None:
            if isinstance(outcome, BaseException):
                log.error("reply not stored", exc_info=outcome)
                return
            if self._transport is not None:
                now_ms = time.time_ns() // 1_000_000
                frame = self._protocol.acknowledge_reply(
                    event.job_id, message_id, message_id=uuid.uuid4(), now_ms=now_ms
                )
                self._transport.send(WSMsgType.BINARY, frame)

        if entry is None:
            acknowledge(None)
            return
        reply = mailbox.Reply(self.context.caller.node_id, event.job_id[:160], str(message_id), event.content)
        self._channels.submit(entry, self.context, reply, acknowledge)


def _ignore(outcome: Any) -> None:
    if isinstance(outcome, BaseException):
        log.error("entry failed", exc_info=outcome)
