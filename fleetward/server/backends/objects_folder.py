"""A folder as Objects.

A key's segments are folders and a file. The file's name ends in `@`, which no folder's name contains, so the keys
`a` and `a/b` can live side by side. Uploads grow in a folder of their own, `#unfinished`, and are moved to their place
once they are whole. Bytes are on the disk before `put` returns: a row may refer to them.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from fleetward.server.backends.objects_keys import check_key, check_prefix, read, spell
from fleetward.server.ports import ObjectInfo, fill

FILE = "@"
UNFINISHED = "#unfinished"


class FolderObjects:
    """Objects in one folder, which is made if it is missing. The folder is for this store alone."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder.resolve()
        self._unfinished = self._folder / UNFINISHED
        self._unfinished.mkdir(exist_ok=True, mode=0o700)
        self._durable: set[Path] = set()
        self._lock = threading.Lock()

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        """Store the bytes atomically, replacing; returns their number."""
        return fill(self.upload(key), chunks)

    def upload(self, key: str) -> FolderUpload:
        """A file among the unfinished until it is whole."""
        return FolderUpload(self, self._file(key), self._unfinished / secrets.token_hex(16))

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` up to `end`; KeyError when there is no such object."""
        reader = self.open(key)
        try:
            return reader.read(start, reader.size_bytes if end is None else end)
        finally:
            reader.close()

    def open(self, key: str) -> FolderReader:
        """The open file: it can be read to its end whatever becomes of its name."""
        try:
            return FolderReader(os.open(self._file(key), os.O_RDONLY | os.O_NOFOLLOW))
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(key) from None

    def delete(self, key: str) -> None:
        """Remove the object; folders that become empty stay."""
        try:
            self._file(key).unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`, in order of key; holds one folder's names per level."""
        parent, slash, _ = check_prefix(prefix).rpartition("/")
        folder = self._folder.joinpath(*map(spell, parent.split("/"))) if slash else self._folder
        return _walk(folder, parent + slash, prefix)

    def forget_unfinished(self, before: datetime) -> int:
        """Remove unfinished files that nothing was written to since."""
        removed = 0
        with os.scandir(self._unfinished) as entries:
            for entry in entries:
                try:
                    if entry.stat().st_mtime < before.timestamp():
                        Path(entry.path).unlink()
                        removed += 1
                except FileNotFoundError:  # finished or abandoned meanwhile
                    continue
        return removed

    def _file(self, key: str) -> Path:
        segments = [spell(segment) for segment in check_key(key).split("/")]
        return self._folder.joinpath(*segments[:-1], segments[-1] + FILE)

    def place(self, unfinished: Path, file: Path) -> None:
        """Move a whole file to its place and have its name, and the folders that lead to it, on the disk."""
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.replace(file)
        _sync(file.parent)
        with self._lock:
            unsure = [each for each in file.parents if each not in self._durable and each.is_relative_to(self._folder)]
        for folder in unsure[1:]:
            _sync(folder)
        with self._lock:
            self._durable.update(unsure)


class FolderUpload:
    """One file that grows."""

    def __init__(self, objects: FolderObjects, file: Path, unfinished: Path) -> None:
        self._objects = objects
        self._file = file
        self._unfinished = unfinished
        self._descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._size = 0

    def write(self, chunk: bytes | memoryview) -> None:
        """Append."""
        left = memoryview(chunk)
        while left:
            written = os.write(self._descriptor, left)
            self._size += written
            left = left[written:]

    def finish(self) -> int:
        """Bytes to the disk first, then the name."""
        try:
            os.fsync(self._descriptor)
        except BaseException:
            self.abandon()
            raise
        os.close(self._descriptor)
        self._objects.place(self._unfinished, self._file)
        return self._size

    def abandon(self) -> None:
        """Remove the unfinished file."""
        os.close(self._descriptor)
        self._unfinished.unlink(missing_ok=True)


class FolderReader:
    """One open file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size_bytes = os.fstat(descriptor).st_size

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, fewer at the file's end."""
        end = min(end, self.size_bytes)
        if start >= end:
            return b""
        first = os.pread(self._descriptor, end - start, start)
        if len(first) == end - start:
            return first
        pieces = [first]
        while pieces[-1] and (done := sum(map(len, pieces))) < end - start:
            pieces.append(os.pread(self._descriptor, end - start - done, start + done))
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: Path, above: str, prefix: str) -> Iterator[ObjectInfo]:
    for key, entry in sorted(_entries(folder, above), key=lambda pair: pair[0]):
        if key.endswith("/"):
            if key.startswith(prefix) or prefix.startswith(key):
                yield from _walk(Path(entry.path), key, prefix)
        elif key.startswith(prefix):
            try:
                status = entry.stat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            yield ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _entries(folder: Path, above: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Keys of a folder's objects, and of its folders with a slash at the end; unfinished uploads are left out."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    keys = []
    for entry in found:
        if entry.name.endswith(FILE):
            keys.append((above + read(entry.name.removesuffix(FILE)), entry))
        elif "#" not in entry.name:
            keys.append((above + read(entry.name) + "/", entry))
    return keys
