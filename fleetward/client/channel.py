"""One session's reliable stream, whatever becomes of the sockets below it.

The stream itself is `protocol/data_channel`. This is what it needs around it: the link of the moment, a new one after
each that broke (by ResumeSession, with pauses that grow), answers to the node's handshake, a call when one is due.

    Sink  <-- received, ended ---  Channel  <-- messages --  Link  ~~~ server ~~~ node
          --- send, hold ------->  (Stream)  -- messages -->
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fleetward.client.api import Api
from fleetward.client.errors import ClientError, Refused, SessionFailed, Unreachable, plain
from fleetward.client.link import Link, connect
from fleetward.protocol.data_channel.flags import PortFlag, flag_payload
from fleetward.protocol.data_channel.handshake import (
    ClientHandshake,
    Completed,
    Encrypt,
    Failed,
    GenerateKey,
    Send,
    Step,
    Terms,
)
from fleetward.protocol.data_channel.opening import client_open_message
from fleetward.protocol.data_channel.stream import Closed, Data, Event, Side, Stream
from fleetward.protocol.errors import ProtocolError
from fleetward.protocol.frame import PayloadType

log = logging.getLogger("fleetward.client")

T = TypeVar("T")

CLIENT_VERSION = "1.2.804.0"
"""Told to nodes: official agents choose by it what they think this end understands."""
TERMS = Terms(frame_bytes=64 * 1024)
"""Larger frames are allowed, and cost more: their memory comes from the operating system and goes back each time."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
LAST_WORD_SECONDS = 2.0
FORSAKE_SECONDS = 5.0
DATA_KEY_BYTES = 64
MOST_REFUSALS = 8
"""So many one after the other, over some 15 s, are taken for the last word."""
ALWAYS_OVER = frozenset({"AccessDeniedException", "DoesNotExistException", "ValidationException"})
"""Refusals of ResumeSession after which the session is over for this caller."""


@dataclass(frozen=True)
class Timing:
    """How patient a session is, in seconds."""

    opening: float = 60.0
    """Until the node has answered and made its handshake."""
    quiet: float = 5.0
    """Without a byte until the link is asked for a sign; after as long again it is given up and replaced."""
    patience: float = 900.0
    """Without any link, until the session is given up."""


@dataclass(frozen=True)
class Started:
    """What StartSession answered."""

    session_id: str
    node_id: str
    token: str
    url: str


@dataclass(frozen=True)
class Ending:
    """How a session ended: what is to be said of it, and whether that was not its ordinary end."""

    reason: str
    is_failure: bool = False


class Sink:
    """Who uses a channel. What it does not need it leaves as it is here."""

    def opened(self, session: Completed) -> None:
        """The node is there: from now on payloads may be sent."""

    def received(self, payload_type: int, payload: bytes) -> None:
        """The next payload."""

    def flush(self) -> None:
        """No more payloads for now: what was put off to be done for many at once is to be done."""

    def room(self) -> None:
        """After `has_room` was false: there is room again."""

    def away(self) -> None:
        """The link broke; another is being made."""

    def back(self) -> None:
        """The other link is there."""

    def ended(self, ending: Ending) -> None:
        """The session is over; nothing more comes."""


class Channel:
    """One session's stream."""

    def __init__(self, api: Api, started: Started, sink: Sink, timing: Timing) -> None:
        self.started = started
        self.ending: Ending | None = None
        self._api = api
        self._sink = sink
        self._timing = timing
        self._stream = Stream(Side.CLIENT, clock_ms=lambda: time.time_ns() // 1_000_000)
        self._handshake = ClientHandshake(
            client_version=CLIENT_VERSION, session_id=started.session_id, node_id=started.node_id, terms=TERMS
        )
        self._client_id = str(uuid.uuid4())
        self._link: Link | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._forsaking: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._wants_room = False
        self._is_held = False
        self._heard_at = time.monotonic()
        self._failures = 0
        self._refusals = 0

    async def open(self) -> None:
        """Connect and wait for the node; SessionFailed when it does not come to a session."""
        self._spawn(self._connect(self.started.token, self.started.url))
        try:
            async with asyncio.timeout(self._timing.opening):
                await self._settled.wait()
        except TimeoutError:
            self.abandon(f"the node did not answer within {self._timing.opening:.0f} s")
        except asyncio.CancelledError:
            self.abandon("interrupted")
            await self._told()
            raise
        if self.ending is not None:
            await self._told()
            raise SessionFailed(self.ending.reason)

    @property
    def has_room(self) -> bool:
        """Whether more may be sent now; when not, `Sink.room` tells when."""
        if self._stream.room > 0:
            return True
        self._wants_room = True
        return False

    def send(self, payload_type: int, payload: bytes) -> None:
        """Send a payload that is not empty; after the end nothing happens."""
        if self.ending is None:
            self._stream.send(payload_type, payload)
            self._pump(time.monotonic())

    def hold(self) -> None:
        """Deliver no more for now; the node comes to wait."""
        self._is_held = True
        self._stream.hold()

    def release(self) -> None:
        """Deliver again."""
        self._is_held = False
        now = time.monotonic()
        if self._link is not None:
            self._link.resume()
        self._guarded(lambda: self._stream.release(now), now, is_last=True)

    async def wait(self) -> Ending:
        """Wait until the session has ended."""
        await self._over.wait()
        await self._told()
        assert self.ending is not None
        return self.ending

    async def terminate(self, reason: str = "") -> None:
        """End the session, by the control plane; a session that has ended stays so."""
        if self.ending is None:
            self._end(Ending(reason))
            await in_thread(self._api.call, "AmazonSSM", "TerminateSession", {"SessionId": self.started.session_id})

    async def leave(self) -> None:
        """End a port's session: by the agent, else by the control plane; when neither can be told it times out."""
        if self.ending is not None:
            return
        self.send(PayloadType.FLAG, flag_payload(PortFlag.TERMINATE_SESSION))
        try:
            await asyncio.wait_for(self._over.wait(), LAST_WORD_SECONDS)
        except TimeoutError:
            self._end(Ending(""))
            self._forsaking = asyncio.create_task(self._forsake())
            await self._told()

    def abandon(self, reason: str) -> None:
        """End a session that cannot go on; the control plane is told, as far as it can be."""
        if self.ending is None:
            self._end(Ending(plain(reason), is_failure=True))
            self._forsaking = asyncio.create_task(self._forsake())

    # -- what the link tells ---------------------------------------------------------------------------------------

    def received(self, message: memoryview, is_last: bool) -> None:
        """A message, see `link.Receiver`."""
        now = time.monotonic()
        self._heard_at = now
        self._failures = self._refusals = 0
        self._guarded(lambda: self._stream.receive(message, now), now, is_last=is_last)

    def writable(self) -> None:
        """There is room below."""
        self._pump(time.monotonic())

    def lost(self) -> None:
        """The link broke. One that breaks before it is in use is seen by who makes it."""
        if self._link is None:
            return
        self._link = None
        self._failures += 1
        if self.ending is None:
            self._sink.away()
            self._spawn(self._connect("", self.started.url))

    # -- payloads ----------------------------------------------------------------------------------------------------

    def _guarded(self, read: Callable[[], list[Event]], now: float, *, is_last: bool) -> None:
        """Handle events; whoever breaks the protocol ends the session."""
        try:
            for event in read():
                self._handle(event)
        except ProtocolError as fault:
            self.abandon(f"the stream is broken: {fault}")
        if is_last and self.ending is None:
            self._sink.flush()
            self._pump(now)
        if self._is_held and not self._stream.may_read and self._link is not None:
            self._link.hold()

    def _handle(self, event: Event) -> None:
        if self.ending is not None:
            return
        if isinstance(event, Closed):
            for late in self._stream.release(time.monotonic()):
                self._handle(late)
            self._sink.flush()
            self._end(Ending(plain(event.output), is_failure=not self._settled.is_set()))
        elif isinstance(event, Data):
            if self._handshake.is_over:
                self._sink.received(event.payload_type, event.payload)
            else:
                self._shake(event)

    def _shake(self, data: Data) -> None:
        self._take(self._handshake.receive(data.payload_type, data.payload))
        if self._handshake.is_over and data.payload_type == PayloadType.OUTPUT:
            self._sink.received(data.payload_type, data.payload)  # of an agent that makes no handshake for shells

    def _take(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case Send():
                    self._stream.send(step.payload_type, step.payload)
                case GenerateKey():
                    self._spawn(self._generate_key(step))
                case Encrypt():
                    self._stream.encrypt(step.keys)
                case Completed():
                    if step.terms is not None:
                        self._stream.use(step.terms)
                    self._settled.set()
                    self._sink.opened(step)
                case Failed():
                    self._pump(time.monotonic())
                    self.abandon(step.reason)

    async def _generate_key(self, asked: GenerateKey) -> None:
        request = {
            "KeyId": asked.key_id,
            "NumberOfBytes": DATA_KEY_BYTES,
            "EncryptionContext": dict(asked.encryption_context),
        }
        try:
            answer = await in_thread(self._api.call, "TrentService", "GenerateDataKey", request)
            made = base64.b64decode(answer["Plaintext"]), base64.b64decode(answer["CiphertextBlob"])
            self._take(self._handshake.key_generated(*made))
        except (ClientError, ProtocolError, KeyError, ValueError) as fault:
            self._take(self._handshake.key_refused(f"no data key under {asked.key_id}: {fault}"[:400]))
        self._pump(time.monotonic())

    def _pump(self, now: float) -> None:
        """Write what may be written now, and see to it that what is due later is written then."""
        link = self._link
        if link is None or not link.is_writable:
            return
        link.send(self._stream.outgoing(now))
        self._arm(now)
        if self._wants_room and self._stream.room > 0:
            self._wants_room = False
            self._sink.room()

    def _arm(self, now: float) -> None:
        due_at = self._stream.due_at()
        if due_at is None:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + max(due_at - now, 0.001)
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._due)

    def _due(self) -> None:
        self._timer = None
        self._pump(time.monotonic())

    # -- links, one after the other ----------------------------------------------------------------------------------

    async def _connect(self, token: str, url: str) -> None:
        """Make links until one is open, the session turns out to be over, or patience ends."""
        while self.ending is None:
            if self._failures:
                await asyncio.sleep(self._pause())
            try:
                token = token or await self._resume()
                await self._use(await self._open_link(url), token)
                return
            except Refused as refused:
                token = ""
                self._refused(refused)
            except Unreachable as fault:
                log.debug("no link: %s", fault)
            except ClientError as fault:
                self._end(Ending(str(fault), is_failure=True))
            self._failures += 1
            if time.monotonic() - self._heard_at > self._timing.patience:
                self._end(Ending("the connection was lost and could not be made again", is_failure=True))

    def _refused(self, refused: Refused) -> None:
        """Give up when the answer will not change, or does not for a while."""
        log.debug("no link: %s", refused)
        self._refusals += not refused.may_pass
        if refused.code in ALWAYS_OVER or self._refusals >= MOST_REFUSALS:
            self._end(Ending(str(refused), is_failure=True))

    async def _resume(self) -> str:
        """A new token; SessionFailed when the session is over."""
        request = {"SessionId": self.started.session_id}
        answer = await in_thread(self._api.call, "AmazonSSM", "ResumeSession", request)
        token = answer.get("TokenValue")
        if not token:
            raise SessionFailed("the session timed out")
        return str(token)

    async def _open_link(self, url: str) -> Link:
        return await connect(url, self, ca=self._api.access.ca, quiet_seconds=self._timing.quiet)

    async def _use(self, link: Link, token: str) -> None:
        if self.ending is not None:
            link.close()
            return
        if link.is_lost:
            raise Unreachable("the link broke at once")
        link.send_text(client_open_message(token, self._client_id, CLIENT_VERSION, str(uuid.uuid4())))
        now = time.monotonic()
        self._link = link
        self._stream.reconnected(now)
        self._sink.back()
        self._pump(now)

    def _pause(self) -> float:
        longest = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 10), LONGEST_PAUSE_SECONDS)
        return float(longest * random.uniform(0.5, 1.0))  # noqa: S311 - spreads clients, guards nothing

    # -- the end -----------------------------------------------------------------------------------------------------

    async def _told(self) -> None:
        """Wait a moment until the control plane knows of a session that was abandoned."""
        if self._forsaking is not None:
            await asyncio.wait([self._forsaking], timeout=FORSAKE_SECONDS)

    async def _forsake(self) -> None:
        request = {"SessionId": self.started.session_id}
        try:
            await in_thread(self._api.call, "AmazonSSM", "TerminateSession", request)
        except ClientError as fault:
            log.debug("not terminated: %s", fault)

    def _end(self, ending: Ending) -> None:
        if self.ending is not None:
            return
        self.ending = ending
        self._settled.set()
        self._over.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            self._link.close()
            self._link = None
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        self._sink.ended(ending)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        """A duty is over; one that failed in a way nobody thought of ends the session, which would hang without it."""
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            log.error("a session's duty failed", exc_info=fault)
            self.abandon(f"{type(fault).__name__}: {fault}")


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """What a function that waits returns. Its thread keeps no program from ending, other than those of asyncio."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(answer: T | None, fault: BaseException | None) -> None:
        if done.cancelled():
            return
        if fault is not None:
            done.set_exception(fault)
        else:
            done.set_result(answer)  # type: ignore[arg-type]

    def work() -> None:
        try:
            outcome: tuple[T | None, BaseException | None] = (function(*arguments), None)
        except BaseException as fault:
            outcome = (None, fault)
        try:
            loop.call_soon_threadsafe(settle, *outcome)
        except RuntimeError:
            pass  # the loop has ended, nobody waits

    threading.Thread(target=work, daemon=True).start()
    return await done
