"""What a step prints: kept in full (to 100 MiB) in files, cut to the protocol's sizes for replies."""

from __future__ import annotations

import os
from pathlib import Path

LARGEST_STREAM_BYTES = 100 * 1024 * 1024
STREAM_BYTES = 24_000
COMBINED_BYTES = 2_500
STREAM_MARK = b"--output truncated--"
OUTPUT_MARK = b"---Output truncated---"
ERROR_MARK = b"---Error truncated----"
ERROR_HEADING = b"\n----------ERROR-------\n"


class Stream:
    """One stream of one step, in a file."""

    def __init__(self, path: Path, largest: int = LARGEST_STREAM_BYTES) -> None:
        self.path = path
        self._largest = largest
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
        self.size = os.fstat(self._descriptor).st_size
        self._is_cut = self.size > largest

    def write(self, data: bytes) -> None:
        """Add what was printed; beyond the limit a note is added once and the rest dropped."""
        if self._is_cut or not data:
            return
        if self.size + len(data) > self._largest:
            note = f"\n--output cut after {self._largest} bytes--\n".encode()
            data = data[: self._largest - self.size] + note
            self._is_cut = True
        while data:
            written = os.write(self._descriptor, data)
            self.size += written
            data = data[written:]

    def head(self, size: int) -> bytes:
        """The first bytes."""
        with self.path.open("rb") as file:
            return file.read(size)

    def close(self) -> None:
        """Write no more."""
        os.close(self._descriptor)


class StepOutput:
    """Both streams of a step: `stdout` and `stderr` in its folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.stdout = Stream(folder / "stdout")
        self.stderr = Stream(folder / "stderr")

    def add_error(self, text: str) -> None:
        """Add a line of our own to what the step said went wrong."""
        separator = b"\n" if self.stderr.size and self.stderr_tail() != b"\n" else b""
        self.stderr.write(separator + text.encode(errors="replace"))

    def stderr_tail(self) -> bytes:
        """The last byte of stderr."""
        with self.stderr.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1)

    def close(self) -> None:
        """Write no more."""
        self.stdout.close()
        self.stderr.close()


def cut_stream(data: bytes, limit: int = STREAM_BYTES) -> str:
    """A stream as a reply carries it: at most `limit` bytes, ending in a mark when there was more (AP 10.3)."""
    if len(data) > limit:
        data = data[: limit - len(STREAM_MARK)] + STREAM_MARK
    return _text(data, limit)


def combine_streams(stdout: bytes, stderr: bytes, limit: int = COMBINED_BYTES) -> str:
    """Both streams as `output`: at most `limit` bytes; what one does not need of its half the other may have."""
    if not stderr:
        return _text(_cut(stdout, limit, OUTPUT_MARK), limit)
    room = limit - len(ERROR_HEADING)
    for_errors = min(len(stderr), max(room // 2, room - len(stdout)))
    shown = _cut(stdout, room - for_errors, OUTPUT_MARK)
    return _text(shown + ERROR_HEADING + _cut(stderr, for_errors, ERROR_MARK), limit)


def _cut(data: bytes, limit: int, mark: bytes) -> bytes:
    return data if len(data) <= limit else data[: max(0, limit - len(mark))] + mark


def _text(data: bytes, limit: int) -> str:
    """Text of at most `limit` bytes: bytes that are no UTF-8 become question marks, not three bytes each."""
    text = data.decode("utf-8", "replace")
    if len(text.encode()) > limit:
        text = text.replace("\ufffd", "?")
    return text
