"""Signed read: GetParameter over TLS against the same server doing nothing, and against moto's GetParameter."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from bench.admission import admit
from bench.client import Api, rate, signed
from bench.figures import Figure, Size, at_least, median
from bench.processes import Program, folder, free_port, serving
from fleetward.protocol.sigv4 import Credentials

CONNECTIONS = 16
PARAMETER = {"Name": "bench", "Value": "hello", "Type": "String"}


async def measure(size: Size) -> list[Figure]:
    """Calls per second over 16 kept connections: a signed read, a bare path, and moto's read over plain HTTP."""
    calls, moto_calls = size.of(4000, 32), size.of(1000, 16)
    with folder() as scratch:
        admit(scratch / "data", 1)
        async with serving(scratch / "data") as server, _moto(scratch) as moto:
            api = server.api()
            reading = [await api.connect() for _ in range(CONNECTIONS)]
            bare = f"GET /healthz HTTP/1.1\r\nHost: {api.url.netloc}\r\n\r\n".encode()
            reads, nothings, motos = [], [], []
            await api.call("PutParameter", PARAMETER)
            await rate(reading, [api.message("GetParameter", {"Name": "bench"})] * 100)
            for _ in range(size.rounds):
                message = api.message("GetParameter", {"Name": "bench"})
                reads.append(await rate(reading, [message] * calls))
                nothings.append(await rate(reading, [bare] * calls))
                if moto is not None:
                    motos.append(await moto(moto_calls))
    figures = [
        at_least(
            "GetParameter, by the same server doing nothing",
            100 * median([read / nothing for read, nothing in zip(reads, nothings, strict=True)]),
            25.0,
            " %",
            f"{median(reads):,.0f}/s, nothing {median(nothings):,.0f}/s",
        )
    ]
    if motos:
        times = median([read / other for read, other in zip(reads, motos, strict=True)])
        note = f"{median(motos):,.0f}/s there, over plain HTTP"
        return [*figures, at_least("GetParameter, by moto's server", times, 15.0, " x", note)]
    return [*figures, Figure("GetParameter, by moto's server", "moto[server] is not installed", ">= 15 x")]


@contextlib.asynccontextmanager
async def _moto(scratch: Path) -> AsyncIterator[Callable[[int], Awaitable[float]] | None]:
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        yield None
        return
    port = free_port()
    program = Program(sys.executable, "-m", "moto.server", "-p", str(port), log=scratch / "moto.log")
    await program.start()
    try:
        api = Api(f"http://127.0.0.1:{port}", Credentials("AKIAIOSFODNN7EXAMPLE", "secret"), None)
        for _ in range(100):
            with contextlib.suppress(OSError):
                (await api.connect()).close()
                break
            await asyncio.sleep(0.2)
        await api.call("PutParameter", PARAMETER)
        yield lambda calls: _moto_rate(api, calls)
    finally:
        await program.end()


async def _moto_rate(api: Api, calls: int) -> float:
    """GetParameter per second by 16 callers, each call on a new connection: moto's server keeps none."""
    message = signed(api.url.netloc, api.credentials, "GetParameter", b'{"Name":"bench"}')

    async def caller(number: int) -> None:
        for _ in range(calls // CONNECTIONS):
            connection = await api.connect()
            status, _ = await asyncio.wait_for(connection.request(message), 30)
            connection.close()
            if status != 200:
                raise RuntimeError(f"moto answered caller {number} with {status}")

    started = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(CONNECTIONS)))
    return calls // CONNECTIONS * CONNECTIONS / (time.perf_counter() - started)
