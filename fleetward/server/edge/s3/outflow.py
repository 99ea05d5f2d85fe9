"""Outflow: the bytes of an answer, read and decrypted on worker threads, one piece ahead of what is being sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Executor

from fleetward.server.ports import Objects, Reader
from fleetward.server.s3 import content
from fleetward.server.s3.content import Slice

PIECE = 1024 * 1024


class Outflow:
    """The slices of one answer. At most two pieces of a megabyte are held, however large it is and slow its reader."""

    def __init__(
        self, objects: Objects, slices: Sequence[Slice], keys: Mapping[tuple[str, str, int], bytes], executor: Executor
    ) -> None:
        self._objects = objects
        self._pieces = _pieces(slices)
        self._keys = keys
        self._executor = executor
        self._reader: Reader | None = None
        self._open_blob = ""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        coming: asyncio.Future[bytes | None] = loop.run_in_executor(self._executor, self._next)
        try:
            while (piece := await coming) is not None:
                coming = loop.run_in_executor(self._executor, self._next)
                yield piece
        finally:
            await asyncio.wait([coming])
            coming.exception()  # of a piece that nobody waits for any more: the client went away
            await loop.run_in_executor(self._executor, self._close)

    def whole(self) -> bytes:
        """Everything at once, for answers of a piece or less. On a worker thread."""
        try:
            return b"".join(iter(self._next, None))
        finally:
            self._close()

    def _next(self) -> bytes | None:
        piece = next(self._pieces, None)
        if piece is None:
            return None
        if piece.blob != self._open_blob or self._reader is None:
            self._close()
            self._reader, self._open_blob = self._objects.open(content.storage_key(piece.blob)), piece.blob
        sealed = self._reader.read(piece.offset, piece.offset + piece.size)
        if len(sealed) != piece.size:
            raise OSError(f"the blob {piece.blob} is shorter than its row says")
        key = self._keys[(*content.tenant_of(piece.blob), content.key_number(piece.blob))]
        return content.cipher(key, piece.blob, piece.offset).update(sealed)

    def _close(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.close()


def _pieces(slices: Sequence[Slice]) -> Iterator[Slice]:
    for each in slices:
        for start in range(0, each.size, PIECE):
            yield Slice(each.blob, each.offset + start, min(PIECE, each.size - start))
