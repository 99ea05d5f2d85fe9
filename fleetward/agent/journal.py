"""Commands in progress, on disk: what was accepted, which step ran, how it ended, what the control plane knows.

One file for each command, one line of JSON for each event, appended and made durable before anything is done about
it: a torn last line is an event that never happened. A command whose end is reported leaves an empty file of its name
in `finished/`, by which its id is known for 30 days: nothing runs twice. `sequence` counts what was accepted; replies
carry it, so that the control plane knows when a machine was set back to an earlier state.

    accepted -> started(step) -> ended(step) -> ... -> done -> acknowledged ...
                     |  the agent dies here: the step is reported as failed, not run again
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetward.agent.state import sync_folder

REMEMBER_SECONDS = 30 * 24 * 3600

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SUFFIX = ".jsonl"

Event = dict[str, Any]


def is_command_id(text: str) -> bool:
    """Whether it may be a command's id, which is the name of a file here."""
    return _NAME.fullmatch(text) is not None


class Record:
    """The events of one command, the first of which is `accepted`."""

    def __init__(self, path: Path, events: list[Event]) -> None:
        self._path = path
        self.events = events

    @property
    def command_id(self) -> str:
        """The command's id."""
        return self._path.name.removesuffix(_SUFFIX)

    @property
    def accepted(self) -> Event:
        """What was accepted."""
        return self.events[0]

    def add(self, event: Event, *, durable: bool = True) -> None:
        """Append an event; `durable`: it is on disk when this returns, whatever happens to the machine."""
        self.events.append(event)
        with self._path.open("ab") as file:
            file.write(_line(event))
            if durable:
                file.flush()
                _sync_data(file.fileno())

    def of_kind(self, kind: str) -> Iterator[Event]:
        """The events of one kind, in order."""
        return (event for event in self.events if event["event"] == kind)

    def finish(self) -> None:
        """Everything is reported: keep the id and nothing else."""
        finished = self._path.parent / "finished" / self.command_id
        self._path.replace(finished)
        os.truncate(finished, 0)


class Journal:
    """The folder of all records."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._finished = folder / "finished"
        self._finished.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sequence_file = folder / "sequence"
        self.sequence = _number(self._sequence_file)
        """The number of the command accepted last."""

    def knows(self, command_id: str) -> bool:
        """Whether this command was accepted within the last 30 days."""
        return self._path(command_id).exists() or (self._finished / command_id).exists()

    def accept(self, command_id: str, event: Event) -> Record:
        """Begin a record; it is on disk when this returns. `command_id` must be one by `is_command_id`."""
        self.count_on(self.sequence + 1)
        path = self._path(command_id)
        temporary = path.with_suffix(".new")
        accepted = {"event": "accepted", "sequence": self.sequence, **event}
        with temporary.open("wb") as file:
            file.write(_line(accepted))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(self._folder)
        return Record(path, [accepted])

    def count_on(self, number: int) -> None:
        """Have accepted so many; it is on disk when this returns."""
        self.sequence = number
        descriptor = os.open(self._sequence_file, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"%020d" % number)
            file.flush()
            _sync_data(file.fileno())

    def settle(self, command_id: str) -> None:
        """Know a command as over that never came, so that it is not run if it comes after all."""
        (self._finished / command_id).touch(mode=0o600)
        sync_folder(self._finished)

    def open_records(self) -> list[Record]:
        """What was in progress when the agent last ended, in the order of acceptance."""
        for leftover in self._folder.glob("*.new"):
            leftover.unlink(missing_ok=True)
        paths = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_ctime_ns)
        records = [record for path in paths if (record := _read(path)) is not None]
        return sorted(records, key=lambda record: float(record.accepted.get("at", 0)))

    def forget_old(self, now: float) -> None:
        """Forget the ids of commands that ended more than 30 days ago; `now` in seconds since 1970."""
        for path in self._finished.iterdir():
            if path.stat().st_mtime < now - REMEMBER_SECONDS:
                path.unlink(missing_ok=True)

    def _path(self, command_id: str) -> Path:
        return self._folder / f"{command_id}{_SUFFIX}"


def _read(path: Path) -> Record | None:
    """A record up to its first torn line, which is cut off; None, and the file is put aside, without a first one."""
    events: list[Event] = []
    whole = 0
    data = path.read_bytes()
    for line in data.splitlines(keepends=True):
        try:
            event = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            event = None
        if not isinstance(event, dict) or "event" not in event:
            break
        events.append(event)
        whole += len(line)
    if whole < len(data):
        os.truncate(path, whole)
    if not events or events[0]["event"] != "accepted":
        path.replace(path.parent / "finished" / path.name.removesuffix(_SUFFIX))
        return None
    return Record(path, events)


def _number(path: Path) -> int:
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return 0


def _line(event: Event) -> bytes:
    return json.dumps(event, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _sync_data(descriptor: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)
