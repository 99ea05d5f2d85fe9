"""Outflow: slices of blobs come out decrypted, in order and in pieces."""

from __future__ import annotations

import asyncio
import gc
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetward.server.backends.objects_folder import FolderObjects
from fleetward.server.edge.s3.outflow import PIECE, Outflow
from fleetward.server.s3 import content
from fleetward.server.s3.content import Slice

KEYS = {("1", "r", 1): b"k" * 32}


def blob_of(objects: FolderObjects, body: bytes) -> str:
    blob = content.new_blob("1", "r")
    objects.put(content.storage_key(blob), [content.cipher(KEYS["1", "r", 1], blob).update(body)])
    return blob


def flow(objects: FolderObjects, slices: list[Slice]) -> list[bytes]:
    async def gather() -> list[bytes]:
        with ThreadPoolExecutor(2) as threads:
            return [piece async for piece in Outflow(objects, slices, KEYS, threads)]

    return asyncio.run(gather())


def test_slices_of_several_blobs_are_one_stream(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    bodies = [os.urandom(PIECE * 2 + 5), b"", os.urandom(100)]
    blobs = [blob_of(objects, body) for body in bodies]
    slices = [Slice(blobs[0], 3, PIECE + 7), Slice(blobs[1], 0, 0), Slice(blobs[2], 50, 50), Slice(blobs[0], 0, 10)]
    pieces = flow(objects, slices)
    assert b"".join(pieces) == bodies[0][3 : PIECE + 10] + bodies[2][50:] + bodies[0][:10]
    assert max(map(len, pieces)) <= PIECE
    with ThreadPoolExecutor(1) as threads:
        assert Outflow(objects, slices, KEYS, threads).whole() == b"".join(pieces)


def test_nothing_is_a_stream_too(tmp_path: Path) -> None:
    assert flow(FolderObjects(tmp_path), []) == []


def test_a_blob_that_is_shorter_than_said_ends_the_stream_with_an_error(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    with pytest.raises(OSError, match="shorter"):
        flow(objects, [Slice(blob_of(objects, b"abc"), 0, 4)])


def test_a_reader_that_stops_early_lets_go(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    blob = blob_of(objects, os.urandom(PIECE * 3))

    async def first() -> bytes:
        with ThreadPoolExecutor(2) as threads:
            pieces = aiter(Outflow(objects, [Slice(blob, 0, PIECE * 3)], KEYS, threads))
            piece = await anext(pieces)
            await pieces.aclose()  # type: ignore[attr-defined]
            return piece

    before = len(os.listdir("/proc/self/fd"))
    assert len(asyncio.run(first())) == PIECE
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_piece_that_nobody_waits_for_any_more_may_fail_in_silence(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    good, short = blob_of(objects, os.urandom(PIECE)), blob_of(objects, b"abc")
    complaints: list[object] = []

    async def first() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        with ThreadPoolExecutor(2) as threads:
            pieces = aiter(Outflow(objects, [Slice(good, 0, PIECE), Slice(short, 0, 4)], KEYS, threads))
            await anext(pieces)
            await pieces.aclose()  # type: ignore[attr-defined]
        del pieces
        gc.collect()

    asyncio.run(first())
    assert complaints == []
