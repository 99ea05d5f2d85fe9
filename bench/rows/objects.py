"""Objects: a gigabyte up and down by openssl s_server, memory over five, reads meanwhile, ten thousand listed."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from bench.client import Api
from bench.figures import Figure, Size, at_least, at_most, median
from bench.processes import Server, folder, free_port, serving
from bench.transfer import Place, openssl_down, openssl_up, s3_down, s3_up

MIB = 1024 * 1024
BUCKET = "/bench-objects"
LANES = 4
SETTING = "/ssm/managed-instance/activation-tier"


async def measure(size: Size) -> list[Figure]:
    """The comparison in rounds, the large object once, then the list."""
    with folder() as scratch:
        async with serving(scratch / "data") as server:
            place = Place(server.url, server.ca, server.root)
            await asyncio.to_thread(_call, place, "PUT", BUCKET)
            figures = await _compare(place, scratch, size)
            figures += await _large(server, place, scratch, size)
            return [*figures, await _list(place, size)]


async def _compare(place: Place, scratch: Path, size: Size) -> list[Figure]:
    file = scratch / "source"
    _fill(file, size.of(1024, 2) * MIB)
    up: list[float] = []
    down: list[float] = []
    speeds: list[tuple[float, float]] = []
    for _ in range(size.rounds):
        other = await asyncio.to_thread(openssl_up, place, free_port(), file, scratch / "target")
        ours = await asyncio.to_thread(s3_up, place, f"{BUCKET}/g", file)
        up.append(100 * ours / other)
        other_down = await asyncio.to_thread(openssl_down, place, free_port(), file)
        ours_down = await asyncio.to_thread(s3_down, place, f"{BUCKET}/g", file.stat().st_size)
        down.append(100 * ours_down / other_down)
        speeds.append((ours, ours_down))
    (scratch / "target").unlink()
    notes = [f"{median([speed[way] for speed in speeds]) / 1e6:.0f} MB/s" for way in (0, 1)]
    return [
        at_least("1 GB up, by openssl s_server", median(up), 50.0, " %", notes[0]),
        at_least("1 GB down, by openssl s_server", median(down), 50.0, " %", notes[1]),
    ]


async def _large(server: Server, place: Place, scratch: Path, size: Size) -> list[Figure]:
    """Resident memory and the slowest hundredth of signed reads while a large object goes up and down."""
    repeat = 1 if size.tiny else 2 if size.rounds == 1 else 5
    file = scratch / "source"
    resident: list[float] = []
    async with server.api() as api:
        watching = asyncio.create_task(_watch(server, api, resident))
        await asyncio.to_thread(s3_up, place, f"{BUCKET}/large", file, repeat)
        await asyncio.to_thread(s3_down, place, f"{BUCKET}/large", file.stat().st_size * repeat)
        watching.cancel()
        waits = (await asyncio.gather(watching, return_exceptions=True))[0]
    assert not isinstance(waits, BaseException)
    early = resident[: max(len(resident) // 5, 1)]
    p99 = sorted(waits)[int(len(waits) * 0.99)] * 1000 if waits else 0.0
    gigabytes = file.stat().st_size * repeat / 1e9
    return [
        at_most(f"memory over {gigabytes:.1f} GB up and down, grown by", max(resident) - max(early), 20.0, " MB"),
        at_most("signed read meanwhile, p99", p99, 50.0, " ms", f"median {median(waits) * 1000 if waits else 0:.1f}"),
    ]


async def _watch(server: Server, api: Api, resident: list[float]) -> list[float]:
    """Read every 50 ms until cancelled; how long each took, seconds."""
    waits: list[float] = []
    try:
        while True:
            started = time.perf_counter()
            await api.call("GetServiceSetting", {"SettingId": SETTING})
            waits.append(time.perf_counter() - started)
            resident.append(server.process.memory_info().rss / 1e6)
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return waits


async def _list(place: Place, size: Size) -> Figure:
    count = size.of(10_000, 20)
    client = _client(place)

    def copy(lane: int) -> None:
        for number in range(lane, count, LANES):
            client.copy_object(Bucket=BUCKET[1:], Key=f"small/{number}", CopySource=f"{BUCKET[1:]}/one")

    await asyncio.to_thread(client.put_object, Bucket=BUCKET[1:], Key="one", Body=b"x")
    await asyncio.gather(*(asyncio.to_thread(copy, lane) for lane in range(LANES)))
    times = [await asyncio.to_thread(_list_all, place, count) for _ in range(size.rounds)]
    return at_most(f"{count:,} small objects listed in pages of 1,000", median(times), 1.0, " s")


def _client(place: Place) -> Any:
    import boto3

    return boto3.client(
        "s3", endpoint_url=place.url, verify=str(place.ca), region_name="us-east-1",
        aws_access_key_id=place.root.access_key_id, aws_secret_access_key=place.root.secret_access_key,
    )  # fmt: skip


def _list_all(place: Place, count: int) -> float:
    """Page after page, without a parser for the answers: botocore's takes longer than the server."""
    started = time.perf_counter()
    found, token = 0, b""
    while True:
        after = f"&continuation-token={token.decode()}" if token else ""
        with place.connect() as connection:
            connection.sendall(place.head("GET", f"{BUCKET}?list-type=2&prefix=small/&encoding-type=url{after}"))
            pieces = []
            while piece := connection.recv(65536):
                pieces.append(piece)
        page = b"".join(pieces)
        found += page.count(b"<Contents>")
        token = page.partition(b"<NextContinuationToken>")[2].partition(b"<")[0].replace(b"=", b"%3D")
        if not token:
            break
    if found != count:
        raise RuntimeError(f"{found} of {count} objects were listed")
    return time.perf_counter() - started


def _call(place: Place, method: str, path: str, body: bytes = b"") -> None:
    with place.connect() as connection:
        connection.sendall(place.head(method, path, len(body)) + body)
        answer = connection.recv(4096)
    if not answer.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(f"{method} {path}: {answer[:500]!r}")


def _fill(file: Path, size: int) -> None:
    block = os.urandom(MIB)
    with file.open("wb") as out:
        for _ in range(size // MIB):
            out.write(block)
