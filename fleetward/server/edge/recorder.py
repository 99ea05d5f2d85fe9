"""Recorder: keeps the screens of sessions with their timing, as asciicast v2 files, and never stands in their way.

Frames are noted on the event loop and written by one thread of their own, first to a file in the data folder and, when
the session is over, to Objects. What cannot be written (a full disk, a disk that is slower than a session) is missing
from the recording, which says so; the session goes on. Format: docs.asciinema.org, "asciicast v2".
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

import orjson

from fleetward.protocol.frame import HEADER_BYTES, PayloadType
from fleetward.server.call import Context, service_context
from fleetward.server.edge.recording_parts import PIECE, lines_of, merged, read_pieces
from fleetward.server.ports import Objects
from fleetward.server.service import Entry
from fleetward.server.ssm.session_manager import ends, recordings
from fleetward.server.ssm.session_manager.ends import End, Joined
from fleetward.server.ssm.session_manager.recordings import Stored
from fleetward.server.ssm.session_manager.table import Key

log = logging.getLogger("fleetward.recordings")

STORED = Entry("sessions.recording-stored", recordings.stored, audit=False)
LOOK = Entry("sessions.look-at-recorded", ends.look, reads=True)

KEPT_BYTES = 16 * 1024 * 1024
"""Of one session so much may wait for the disk; what comes on top is left out of the recording."""
FLUSH_BYTES = 256 * 1024
AHEAD = 256
AHEAD_BYTES = 4 * 1024 * 1024
"""Frames that came before one that is missing, and their size; then that one is given up."""
STORED_TRIES = 10
"""How often the store may name another part, to be put together with, before a recording waits for the next look."""
DEFAULT_SIZE = (80, 24)
GAP = "output is missing here"
_NUMBER = slice(48, 56)
_PAYLOAD_TYPE = slice(112, 116)
_OUTPUT_FRAME = b"output_stream_data"
_SHOWN = frozenset({int(PayloadType.OUTPUT), int(PayloadType.STANDARD_ERROR)})

Run = Callable[[Entry, Context, Any], Awaitable[Any]]


class Recorder:
    """The recording of one session. Its methods but `_write` are the event loop's."""

    def __init__(self, recorders: Recorders, joined: Joined) -> None:
        self.key = joined.key
        self.file = recorders.file_of(joined.key)
        self._recorders = recorders
        self._tape = Tape(self.file, joined.title, joined.started_at.timestamp())
        self._next: int | None = None
        self._ahead: dict[int, bytes] = {}
        self._ahead_bytes = 0
        self._noted: list[tuple[float, str, bytes]] = []
        self._noted_bytes = 0
        self._writing_bytes = 0

    def frame(self, source: End, frame: bytes) -> None:
        """A frame that goes through the session: what is shown and the size of the screen are kept."""
        if source is End.NODE:
            if frame.startswith(_OUTPUT_FRAME, 4):
                self._output(int.from_bytes(frame[_NUMBER], "big"), frame)
        elif int.from_bytes(frame[_PAYLOAD_TYPE], "big") == PayloadType.SIZE:
            self._note("r", frame)

    def _output(self, number: int, frame: bytes) -> None:
        """Frames count from 0 and may come again or, after a cut, before one that is still to come."""
        if self._next is None:
            self._next = number
        if number < self._next:
            return
        if number > self._next:
            self._keep(number, frame)
            if len(self._ahead) < AHEAD and self._ahead_bytes < AHEAD_BYTES:
                return
            self._next = min(self._ahead)
            self._note("m", b"")
        else:
            self._show(frame)
            self._next = number + 1
        while (ahead := self._ahead.pop(self._next, None)) is not None:
            self._ahead_bytes -= len(ahead)
            self._show(ahead)
            self._next += 1

    def _keep(self, number: int, frame: bytes) -> None:
        if number not in self._ahead:
            self._ahead[number] = frame
            self._ahead_bytes += len(frame)

    def _show(self, frame: bytes) -> None:
        if int.from_bytes(frame[_PAYLOAD_TYPE], "big") in _SHOWN:
            self._note("o", frame)

    def _note(self, kind: str, frame: bytes) -> None:
        if self._noted_bytes + self._writing_bytes > KEPT_BYTES:
            if self._noted[-1:] and self._noted[-1][1] == "m":
                return
            kind, frame = "m", b""
        self._noted.append((time.time(), kind, frame))
        self._noted_bytes += len(frame)
        if self._noted_bytes >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Have what was noted written."""
        if not self._noted:
            return
        noted, size = self._noted, self._noted_bytes
        self._noted, self._noted_bytes = [], 0
        self._writing_bytes += size

        def written() -> None:
            self._writing_bytes -= size

        self._recorders.write(self._tape, noted, written)

    def close(self) -> None:
        """Nothing more comes: close the file after the last of it."""
        self.flush()
        self._recorders.write(self._tape, None, lambda: None)


class Tape:
    """An asciicast v2 file that is being written, by one thread."""

    def __init__(self, file: Path, title: str, started_at: float) -> None:
        self._file = file
        self._title = title
        self._started_at = started_at
        self._stream: IO[bytes] | None = None
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._first_size: tuple[int, int] | None = None
        self._is_broken = False

    def write(self, noted: list[tuple[float, str, bytes]]) -> None:
        """Append events; OSError is told once, and what could not be written is marked when writing works again."""
        try:
            text = b"".join(self._lines(noted))
            if self._is_broken:
                text = self._event(noted[0][0], "m", GAP) + text
            self._append(text)
            self._is_broken = False
        except OSError as fault:
            if not self._is_broken:
                log.error(
                    "a session is not recorded", extra={"fields": {"file": self._file.name, "reason": str(fault)}}
                )
            self._is_broken = True

    def close(self) -> None:
        """The last event is written, or could not be, which is marked if that can."""
        if self._is_broken:
            with contextlib.suppress(OSError):
                self._append(self._event(time.time(), "m", GAP))
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _append(self, text: bytes) -> None:
        if self._stream is None:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._stream = self._file.open("ab", buffering=0)
            self._file.chmod(0o600)
        begun = self._stream.tell()
        if begun == 0:
            text = self._header() + text
        written = self._stream.write(text)
        if written != len(text):  # half a line would spoil what follows
            self._stream.truncate(begun)
            self._stream.seek(begun)
            raise OSError(f"only {written} of {len(text)} bytes could be written")

    def _header(self) -> bytes:
        columns, rows = self._first_size or DEFAULT_SIZE
        header = {
            "version": 2,
            "width": columns,
            "height": rows,
            "timestamp": int(self._started_at),
            "title": self._title,
            "env": {"TERM": "xterm-256color"},
        }
        return orjson.dumps(header) + b"\n"

    def _lines(self, noted: list[tuple[float, str, bytes]]) -> Iterator[bytes]:
        for at, kind, frame in noted:
            if kind == "o":
                text = self._decode(frame[HEADER_BYTES:])
                if text:
                    yield self._event(at, "o", text)
            elif kind == "m":
                yield self._event(at, "m", GAP)
            elif (size := _size(frame[HEADER_BYTES:])) is not None:
                self._first_size = self._first_size or size
                yield self._event(at, "r", f"{size[0]}x{size[1]}")

    def _event(self, at: float, kind: str, text: str) -> bytes:
        return orjson.dumps([round(max(0.0, at - self._started_at), 6), kind, text]) + b"\n"


class Recorders:
    """The recordings of one server: what is being written, and what is still to be stored."""

    def __init__(self, *, folder: Path, objects: Objects, run: Run) -> None:
        self._folder = folder
        self._objects = objects
        self._run = run
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recorder")
        self._open: set[Key] = set()
        self._released: dict[str, Key] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def file_of(self, key: Key) -> Path:
        """Where a session is recorded until it is over."""
        return self._folder / f"{key.account}.{key.region}.{quote(key.session_id, safe='')}.cast"

    def open(self, joined: Joined) -> Recorder:
        """Record a session, or go on with what was recorded of it on this machine before."""
        self._open.add(joined.key)
        self._released.pop(joined.key.topic, None)
        return Recorder(self, joined)

    def write(self, tape: Tape, noted: list[tuple[float, str, bytes]] | None, written: Callable[[], None]) -> None:
        """Have the thread write events, or close the tape; `written` is called on the loop."""
        done = self._thread.submit(tape.close) if noted is None else self._thread.submit(tape.write, noted)
        loop = asyncio.get_running_loop()
        done.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(written))

    def release(self, recorder: Recorder) -> None:
        """The node's end is elsewhere, or away like the client's: what was recorded here is stored at the end."""
        recorder.close()
        self._open.discard(recorder.key)
        self._released[recorder.key.topic] = recorder.key

    def finish(self, recorder: Recorder) -> None:
        """A session is over."""
        recorder.close()
        self._begin(self._store(recorder.key))

    def wake(self, topics: Sequence[str]) -> None:
        """Something about these sessions changed: those that were recorded here, and are not any more, may be over."""
        for topic in topics:
            if topic in self._released:
                self._begin(self._store_if_over(self._released[topic]))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def sweep(self) -> None:
        """Store what sessions left here that ended while this server did not look. Called every minute."""
        left = await asyncio.to_thread(self._left)
        self._released = {key.topic: key for key in left}
        for key in left:
            await self._store_if_over(key)

    async def _store_if_over(self, key: Key) -> None:
        context = service_context(key.account, key.region)
        row = (await self._run(LOOK, context, [key.session_id])).get(key.session_id)
        if key in self._open:
            return
        if row is None:
            await asyncio.to_thread(self.file_of(key).unlink, missing_ok=True)
        elif row.ended_at is not None:
            self._open.add(key)
            await self._store(key)

    async def stop(self) -> None:
        """Finish what is being written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    def _left(self) -> list[Key]:
        if not self._folder.is_dir():
            return []
        named = (file.name.removesuffix(".cast").split(".", 2) for file in self._folder.glob("*.cast"))
        keys = [Key(parts[0], parts[1], unquote(parts[2])) for parts in named if len(parts) == 3]
        return [key for key in keys if key not in self._open]

    async def _store(self, key: Key) -> None:
        file = self.file_of(key)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, _written)
            if await asyncio.to_thread(file.exists):  # else it has shown nothing
                await self._store_with_others(key, file)
            self._released.pop(key.topic, None)
        except Exception:
            log.exception("a recording was not stored", extra={"fields": {"session": key.session_id}})
        finally:
            self._open.discard(key)

    async def _store_with_others(self, key: Key, file: Path) -> None:
        """Store a part: as the recording, or put together with what other servers have stored of it."""
        context, other = service_context(key.account, key.region), ""
        for _ in range(STORED_TRIES):
            part = await asyncio.to_thread(self._put, key, file, other)
            present = await self._run(STORED, context, part)
            if present != part.object_key:
                await asyncio.to_thread(self._objects.delete, part.object_key)
            if present in ("", part.object_key):
                await asyncio.to_thread(file.unlink, missing_ok=True)
                return
            other = present

    def _put(self, key: Key, file: Path, other: str) -> Stored:
        with file.open("rb") as stream, contextlib.ExitStack() as opened:
            pieces = iter(lambda: stream.read(PIECE), b"")
            name = recordings.object_key(key, _part(file, other))
            if other:
                reader = self._objects.open(other)
                opened.callback(reader.close)
                pieces = merged(lines_of(read_pieces(reader.read)), lines_of(pieces))
            return Stored(key.session_id, name, self._objects.put(name, pieces), other)


def _part(file: Path, other: str) -> str:
    """A name that another part has not: the same for the same beginning, which no two servers write alike."""
    with file.open("rb") as stream:
        return hashlib.sha256(stream.read(PIECE) + other.encode()).hexdigest()[:16]


def _written() -> None:
    """Nothing: what the thread was given before is written when it comes to this."""


def _size(payload: bytes) -> tuple[int, int] | None:
    """Columns and rows of a size message; None when it is none."""
    try:
        told = json.loads(payload)
        columns, rows = int(told["cols"]), int(told["rows"])
    except (ValueError, KeyError, TypeError):
        return None
    return (columns, rows) if 0 < columns < 10_000 and 0 < rows < 10_000 else None
