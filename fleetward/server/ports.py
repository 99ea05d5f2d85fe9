"""Ports: what the core needs from the outside world. Each has two real implementations in backends/."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection

Outcome = Any
"""What became of one unit: its result, or the exception it raised."""

Body = Callable[[Connection, Sequence[Any]], Sequence[Outcome]]
"""Runs units that arrived together, inside one savepoint: `(connection, inputs) -> one outcome per input`."""


@dataclass(slots=True)
class Unit:
    """One piece of work for the store. Units with the same `body` object may run together as one batch."""

    body: Body
    argument: Any
    done: Callable[[Outcome], None]
    together: int = 1
    """How many units of this body may share one run; 1 = always alone."""


class Store(Protocol):
    """Keeps rows. Writes are serialised and committed in groups; a unit is done only after its commit."""

    dialect: str

    def write(self, unit: Unit) -> None:
        """Run `unit` on a writing connection; `unit.done` is called after the commit, from any thread."""

    def read(self, unit: Unit) -> None:
        """Run `unit` on a reading connection that sees all that was committed before."""

    def close(self) -> None:
        """Finish what is under way and let go of every connection."""


class Bus(Protocol):
    """Carries wakes between entries and servers. Losing one costs delay, never truth."""

    def publish(self, topics: Sequence[str]) -> None:
        """Tell every server, this one included, that something happened to `topics`. From any thread."""

    def subscribe(self, receive: Callable[[Sequence[str]], None]) -> None:
        """Have `receive` called with the topics of each publication, on the event loop's thread."""

    async def start(self) -> None:
        """Connect; keeps reconnecting by itself afterwards."""

    async def stop(self) -> None:
        """Disconnect."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's key, size in bytes and time of last change."""

    key: str
    size_bytes: int
    changed_at: datetime


class Upload(Protocol):
    """An object that comes piece by piece, from one thread at a time; `finish` or `abandon` ends it."""

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes, which may be others when this has returned."""

    def finish(self) -> int:
        """Make the object visible, all at once and durable; returns its size in bytes."""

    def abandon(self) -> None:
        """Leave nothing behind."""


def fill(upload: Upload, chunks: Iterable[bytes]) -> int:
    """Write all the chunks and finish; returns the size in bytes. When the chunks fail, nothing is left behind."""
    try:
        for chunk in chunks:
            upload.write(chunk)
    except BaseException:
        upload.abandon()
        raise
    return upload.finish()


class Reader(Protocol):
    """One object that is read in pieces, from any thread. What was there at its opening stays readable if it can."""

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`; raises KeyError when the object has gone."""

    def close(self) -> None:
        """Let go of it."""


class Objects(Protocol):
    """Keeps bytes under keys. Called outside transactions only, from worker threads."""

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        """Store the bytes atomically under `key`, replacing; returns their number."""

    def upload(self, key: str) -> Upload:
        """Begin an object that replaces what `key` holds once it is finished."""

    def open(self, key: str) -> Reader:
        """The object for reading in pieces; raises KeyError when there is no such object."""

    def forget_unfinished(self, before: datetime) -> int:
        """Remove what uploads left behind that nobody finished or abandoned since; returns how many."""

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` up to `end`; raises KeyError when there is no such object."""

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens when there is none."""

    def list(self, prefix: str) -> Iterable[ObjectInfo]:
        """Every object whose key begins with `prefix`, in order of key."""


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """The present, aware, in UTC."""
