"""A folder as Objects.

A key's segments are folders and a file. The file's name ends in `@`, which no folder's name contains, so the keys
`a` and `a/b` can live side by side. Bytes are on the disk before `put` returns: a row may refer to them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import obstore
from obstore.store import LocalStore

from fleetward.server.backends.objects_keys import check_key, check_prefix, read, spell
from fleetward.server.ports import ObjectInfo

CHUNK_BYTES = 1024 * 1024
FILE = "@"


class FolderObjects:
    """Objects in one folder, which is made if it is missing. The folder is for this store alone."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder.resolve()
        self._store = LocalStore(self._folder)

    def put(self, key: str, chunks: Iterable[bytes]) -> int:
        """Store the bytes atomically, replacing; returns their number."""
        name = _name(check_key(key))
        counted = Counted(chunks)
        obstore.put(self._store, name, counted, chunk_size=CHUNK_BYTES, max_concurrency=1)
        _sync(self._folder, name)
        return counted.size_bytes

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` up to `end`; KeyError when there is no such object."""
        name = _name(check_key(key))
        try:
            size: int = obstore.head(self._store, name)["size"]
            end = size if end is None else min(end, size)
            return b"" if start >= end else bytes(obstore.get_range(self._store, name, start=start, end=end))
        except FileNotFoundError:
            raise KeyError(key) from None

    def delete(self, key: str) -> None:
        """Remove the object; folders that become empty stay."""
        try:
            obstore.delete(self._store, _name(check_key(key)))
        except FileNotFoundError:
            pass

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`, in order of key; holds one folder's names per level."""
        parent, slash, _ = check_prefix(prefix).rpartition("/")
        folder = self._folder.joinpath(*map(spell, parent.split("/"))) if slash else self._folder
        return _walk(folder, parent + slash, prefix)


class Counted:
    """Chunks, counted while they pass."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self.size_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.size_bytes += len(chunk)
        return chunk


def _name(key: str) -> str:
    return "/".join(map(spell, key.split("/"))) + FILE


def _sync(folder: Path, name: str) -> None:
    """Have the file and the folders that lead to it on the disk."""
    file = folder / name
    for path in (file, *file.parents):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == folder:
            return


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
