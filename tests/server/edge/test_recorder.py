"""Recorder: what sessions show, with its timing, as files that others can play; whatever the disk does."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleetward.protocol.frame import PayloadType
from fleetward.server.backends.objects_folder import FolderObjects
from fleetward.server.edge import recorder
from fleetward.server.edge.recorder import Recorder, Recorders
from fleetward.server.ssm.session_manager import recordings
from fleetward.server.ssm.session_manager.ends import End, Joined
from fleetward.server.ssm.session_manager.table import Key
from tests.sessions import frame, shown

KEY = Key("123456789012", "us-east-1", "alice@example.com-0123456789abcdef0")
JOINED = Joined(
    key=KEY,
    node_id="mi-1",
    epoch=1,
    owner="server",
    recorded=True,
    title="alice on mi-1",
    started_at=datetime.now(UTC),
    node_epoch=1,
    repeats_well=True,
)


class Studio:
    """Recorders on a folder, and what of recordings reaches the store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "recordings"
        self.objects = FolderObjects(folder / "objects")
        self.stored: list[Any] = []
        self.ended_at: datetime | None = None
        self.is_known = True
        self.recorders = Recorders(folder=self.folder, objects=self.objects, run=self.run)

    async def run(self, entry: Any, context: Any, request: Any) -> Any:
        """Entries: recorded, or what the row says."""
        if entry is recorder.STORED:
            self.stored.append(request)
            return request.object_key
        return {KEY.session_id: SimpleNamespace(ended_at=self.ended_at)} if self.is_known else {}

    async def finish(self, each: Recorder) -> list[Any]:
        """The session is over; the recording as it was stored."""
        self.recorders.finish(each)
        await self.recorders.stop()
        return self.events()

    def events(self) -> list[Any]:
        """Header and events of the stored recording."""
        body = self.objects.get(self.stored[-1].object_key, 0, 1 << 30)
        return [json.loads(line) for line in body.decode().splitlines()]


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A studio."""
    return Studio(tmp_path)


def out(payload: bytes, number: int, kind: int = PayloadType.OUTPUT) -> bytes:
    """A frame of the node."""
    return frame("output_stream_data", payload, number, kind)


def size(columns: Any, rows: Any) -> bytes:
    """A frame of the client: the size of its screen."""
    return frame("input_stream_data", json.dumps({"cols": columns, "rows": rows}).encode(), 0, PayloadType.SIZE)


def play(studio: Studio, *frames: tuple[End, bytes]) -> list[Any]:
    """Frames of one session, recorded."""

    async def session() -> list[Any]:
        each = studio.recorders.open(JOINED)
        for source, data in frames:
            each.frame(source, data)
        return await studio.finish(each)

    return asyncio.run(session())


def test_a_recording_is_an_asciicast(studio: Studio) -> None:
    """Version 2: a header, then events [seconds, kind, text], in order of time."""
    header, *events = play(
        studio,
        (End.CLIENT, size(120, 40)),
        (End.NODE, out(b"$ ", 0)),
        (End.CLIENT, frame("input_stream_data", b"secret\n", 0)),
        (End.CLIENT, size(100, 30)),
        (End.NODE, out(b"bye\r\n", 1)),
    )
    assert (header["version"], header["width"], header["height"]) == (2, 120, 40)
    assert header["title"] == "alice on mi-1"
    assert header["timestamp"] == int(JOINED.started_at.timestamp())
    assert [event[1:] for event in events] == [["r", "120x40"], ["o", "$ "], ["r", "100x30"], ["o", "bye\r\n"]]
    times = [event[0] for event in events]
    assert times == sorted(times)
    assert all(seconds >= 0 for seconds in times)
    (part,) = studio.stored
    assert part.object_key.startswith(recordings.object_key(KEY, "")[: -len(".cast")])
    assert part == (KEY.session_id, part.object_key, len(studio.objects.get(part.object_key)), "")
    assert list(studio.folder.iterdir()) == []


def test_characters_that_are_cut_by_frames_stay_whole(studio: Studio) -> None:
    """Also by three; what is no UTF-8 is marked, and the rest goes on."""
    text = "zażółć 漢字 🦀".encode()
    frames = [(End.NODE, out(text[at : at + 1], at)) for at in range(len(text))]
    events = play(studio, *frames, (End.NODE, out(b"\xff!", len(text))))
    assert shown(events) == "zażółć 漢字 🦀\ufffd!"


def test_repeats_are_recorded_once_and_what_was_late_in_its_place(studio: Studio) -> None:
    """Frames that come again after a cut, or out of order."""
    order = [0, 1, 1, 0, 3, 4, 3, 2, 2, 5]
    events = play(studio, *[(End.NODE, out(f"{number}".encode(), number)) for number in order])
    assert shown(events) == "012345"


def test_a_frame_that_never_comes_is_given_up(studio: Studio) -> None:
    """After so many, or so much; the gap is marked."""
    events = play(studio, *[(End.NODE, out(b"%d " % number, number)) for number in range(400) if number != 7])
    assert shown(events) == "".join(f"{number} " for number in range(400) if number != 7)
    assert ["m", recorder.GAP] in [event[1:] for event in events[1:]]


def test_what_waits_for_a_missing_frame_is_bounded_in_bytes(studio: Studio) -> None:
    """Frames may be large."""

    async def session() -> int:
        each = studio.recorders.open(JOINED)
        each.frame(End.NODE, out(b"begin", 0))
        for number in range(2, 42):
            each.frame(End.NODE, out(bytes(256 * 1024), number))
        waiting = each._ahead_bytes
        await studio.finish(each)
        return waiting

    assert asyncio.run(session()) <= recorder.AHEAD_BYTES + 512 * 1024


def test_only_what_is_shown_is_recorded(studio: Studio) -> None:
    """Output and errors; no flags, exit codes, handshakes; nothing that the client types or claims to be output."""
    events = play(
        studio,
        (End.NODE, out(b"{}", 0, PayloadType.HANDSHAKE_REQUEST)),
        (End.NODE, out(b"shown ", 1)),
        (End.NODE, out(b"too", 2, PayloadType.STANDARD_ERROR)),
        (End.NODE, out(b"EXIT_CODE: 1", 3, PayloadType.EXIT_CODE)),
        (End.CLIENT, out(b"forged", 4)),
    )
    assert shown(events) == "shown too"


@pytest.mark.parametrize("told", [(0, 1), (-5, 5), ("x", 1), (10**9, 1), (None, None)])
def test_sizes_that_cannot_be_are_passed_over(studio: Studio, told: tuple[Any, Any]) -> None:
    """The screen stays as it was."""
    events = play(studio, (End.CLIENT, size(*told)), (End.NODE, out(b"x", 0)))
    assert (events[0]["width"], events[0]["height"]) == (80, 24)
    assert [event[1] for event in events[1:]] == ["o"]


def test_what_shows_nothing_leaves_nothing(studio: Studio) -> None:
    """No object, no row."""

    async def session() -> None:
        studio.recorders.finish(studio.recorders.open(JOINED))
        await studio.recorders.stop()

    asyncio.run(session())
    assert studio.stored == []
    assert list(studio.objects.list("")) == []


def test_only_the_server_reads_a_recording(studio: Studio) -> None:
    """File and folder, whatever the mask."""

    async def session() -> tuple[int, int]:
        each = studio.recorders.open(JOINED)
        each.frame(End.NODE, out(b"x", 0))
        each.flush()
        each.close()
        await studio.recorders.stop()
        return stat.S_IMODE(each.file.stat().st_mode), stat.S_IMODE(studio.folder.stat().st_mode)

    mask = os.umask(0)
    try:
        assert asyncio.run(session()) == (0o600, 0o700)
    finally:
        os.umask(mask)


def test_a_recording_goes_on_where_another_server_process_left_it(studio: Studio) -> None:
    """One header; and whoever finds that the session is over stores it."""

    async def first() -> None:
        each = studio.recorders.open(JOINED)
        each.frame(End.NODE, out(b"before ", 0))
        studio.recorders.release(each)
        await studio.recorders.sweep()
        await studio.recorders.stop()

    asyncio.run(first())
    assert studio.stored == []
    studio.recorders = Recorders(folder=studio.folder, objects=studio.objects, run=studio.run)

    async def second() -> None:
        each = studio.recorders.open(JOINED)
        each.frame(End.NODE, out(b"after", 1))
        studio.recorders.release(each)
        studio.ended_at = datetime.now(UTC)
        await studio.recorders.sweep()
        await studio.recorders.stop()

    asyncio.run(second())
    assert shown(studio.events()) == "before after"
    assert [event["version"] for event in studio.events() if isinstance(event, dict)] == [2]
    assert len(studio.stored) == 1


def test_what_is_left_of_a_session_that_nobody_knows_is_removed(studio: Studio) -> None:
    """It was forgotten meanwhile."""
    studio.folder.mkdir()
    file = studio.recorders.file_of(KEY)
    file.write_text("{}\n")
    (studio.folder / "odd.cast").write_text("{}\n")
    studio.is_known = False
    asyncio.run(studio.recorders.sweep())
    assert not file.exists()
    assert (studio.folder / "odd.cast").exists()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def test_a_full_disk_leaves_a_marked_gap_and_one_line_in_the_log(
    studio: Studio, caplog: pytest.LogCaptureFixture, limit_files: Callable[[int | None], None]
) -> None:
    """The session goes on; what could not be written is missing, whole lines remain, and recording resumes."""

    async def session() -> list[Any]:
        each = studio.recorders.open(JOINED)

        async def show(text: bytes, number: int) -> None:
            each.frame(End.NODE, out(text, number))
            each.flush()
            await asyncio.get_running_loop().run_in_executor(studio.recorders._thread, lambda: None)

        await show(b"kept ", 0)
        limit_files(each.file.stat().st_size + 40)
        for number in range(1, 5):
            await show(b"lost " * 100, number)
        limit_files(None)
        await show(b"again", 5)
        return await studio.finish(each)

    events = asyncio.run(session())
    assert [event[1:] for event in events[1:]] == [["o", "kept "], ["m", recorder.GAP], ["o", "again"]]
    assert errors(caplog) == ["a session is not recorded"]


def test_a_disk_that_stays_full_costs_the_recording_alone(
    studio: Studio, caplog: pytest.LogCaptureFixture, limit_files: Callable[[int | None], None]
) -> None:
    """Not even its folder can be made: nothing is raised into the session."""

    async def session() -> None:
        studio.folder.parent.chmod(0o700)
        studio.folder.write_text("in the way")
        each = studio.recorders.open(JOINED)
        for number in range(3):
            each.frame(End.NODE, out(b"x", number))
            each.flush()
        studio.recorders.finish(each)
        await studio.recorders.stop()

    asyncio.run(session())
    assert "a session is not recorded" in errors(caplog)
    assert studio.stored == []


@pytest.fixture
def limit_files() -> Any:
    """Bound how large files may become, as a full disk does; None: no more."""
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_slower_than_a_session_bounds_what_waits(studio: Studio) -> None:
    """The thread is held up; at most 16 MiB wait, the rest is marked as missing."""
    import threading

    async def session() -> tuple[int, list[Any]]:
        gate = threading.Event()
        studio.recorders._thread.submit(gate.wait)
        each = studio.recorders.open(JOINED)
        for number in range(200):
            each.frame(End.NODE, out(b"x" * 256 * 1024, number))
        waiting = each._noted_bytes + each._writing_bytes
        gate.set()
        return waiting, await studio.finish(each)

    waiting, events = asyncio.run(session())
    assert waiting < recorder.KEPT_BYTES + 1024 * 1024
    assert len(shown(events)) < 200 * 256 * 1024
    assert [event[1] for event in events[1:]].count("m") == 1
