"""Pages: the paths of the port that are not API calls: health, our CA, outputs in full."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from fleetward.server.call import service_context
from fleetward.server.edge.http import TEXT
from fleetward.server.edge.identities import nothing
from fleetward.server.edge.pipeline import Exchange, Pipeline, Response
from fleetward.server.errors import InvalidSignatureException, ServiceUnavailableException, ValidationException
from fleetward.server.ports import Objects
from fleetward.server.service import Entry
from fleetward.server.settings import Settings
from fleetward.server.ssm.run_command import outputs

PING = Entry("readyz", nothing, reads=True)
STORED = Entry("outputs.stored", outputs.stored, audit=False)

OUTPUTS = "/_fleetward/outputs/"
SESSIONS = "/_fleetward/sessions/"
PIECE = 256 * 1024
PART_LIMIT = 16 * 1024 * 1024
BYTES = (
    ("content-type", "application/octet-stream"),
    ("content-disposition", "attachment"),
    ("x-content-type-options", "nosniff"),
)


class Pages:
    """Their functions, with what they need."""

    def __init__(self, *, pipeline: Pipeline, objects: Objects, settings: Settings, ca: Path | None) -> None:
        self._pipeline = pipeline
        self._objects = objects
        self._settings = settings
        self._ca = ca
        self.stopping = False

    async def healthz(self, exchange: Exchange) -> Response:
        """The process runs."""
        return Response(200, TEXT, b"ok\n")

    async def readyz(self, exchange: Exchange) -> Response:
        """The store answers and the server is not stopping."""
        home = service_context(self._settings.account, self._settings.default_region)
        try:
            async with asyncio.timeout(2):
                await self._pipeline.call(PING, home, {})
        except Exception:
            return Response(503, TEXT, b"the store does not answer\n")
        if self.stopping:
            return Response(503, TEXT, b"stopping\n")
        return Response(200, TEXT, b"ready\n")

    async def ca(self, exchange: Exchange) -> Response:
        """Our CAs' certificates; whoever fetches one compares its hash before trusting it."""
        if self._ca is None:
            return Response(404, TEXT, b"This server uses a certificate of its operator's.\n")
        return Response(200, (("content-type", "application/x-pem-file"),), self._ca.read_bytes())

    async def succession(self, exchange: Exchange) -> Response:
        """The CA to come, signed by the present one; there is one while both are trusted."""
        file = self._ca.with_name("succession.pem") if self._ca is not None else None
        if file is None or not file.exists():
            return Response(404, TEXT, b"No other CA is to come.\n")
        return Response(200, (("content-type", "application/x-pem-file"),), file.read_bytes())

    async def outputs(self, exchange: Exchange) -> Response:
        """PUT by a node: keep a stream in full. GET by an operator: read it, from `offset` on."""
        if exchange.method == "PUT":
            return await self._store(exchange)
        if exchange.method == "GET":
            return await self._read(exchange)
        return Response(405, TEXT, b"GET or PUT\n")

    async def _store(self, exchange: Exchange) -> Response:
        command_id, step, stream = _parts(exchange, OUTPUTS, 3)
        await self._pipeline.enter(exchange, "fleetward", "PutCommandOutput")
        exchange.request = {"CommandId": command_id, "Step": step, "Stream": stream}
        await self._pipeline.validate(exchange)
        await self._pipeline.run(exchange)
        assert exchange.context is not None
        assert exchange.claim is not None
        context = exchange.context
        if not self._pipeline.room.enough():
            raise ServiceUnavailableException("The server's disk is nearly full: outputs are not kept in full.")
        key = outputs.object_key(context.account, context.region, command_id, context.caller.node_id, step, stream)
        with tempfile.TemporaryFile() as file:
            digest, size = hashlib.sha256(), 0
            async for chunk in exchange.chunks(outputs.OUTPUT_LIMIT):
                digest.update(chunk)
                size += len(chunk)
                await asyncio.to_thread(file.write, chunk)
            if digest.hexdigest() != exchange.claim.payload_hash:
                raise InvalidSignatureException("The body is not the one that was signed.")
            file.seek(0)
            await asyncio.to_thread(self._objects.put, key, _pieces(file))
        await self._pipeline.call(STORED, context, {**exchange.request, "key": key, "size_bytes": size})
        return Response(200, TEXT, b"")

    async def _read(self, exchange: Exchange) -> Response:
        command_id, node_id, step, stream = _parts(exchange, OUTPUTS, 4)
        await self._pipeline.enter(exchange, "fleetward", "LocateCommandOutput")
        exchange.request = {"CommandId": command_id, "InstanceId": node_id, "Step": step, "Stream": stream}
        return await self._part(exchange, BYTES)

    async def sessions(self, exchange: Exchange) -> Response:
        """GET by an operator: the recording of a session, an asciicast, from `offset` on."""
        session_id, what = _parts(exchange, SESSIONS, 2)
        if exchange.method != "GET" or what != "recording":
            return Response(405, TEXT, b"GET /_fleetward/sessions/SESSION/recording\n")
        await self._pipeline.enter(exchange, "fleetward", "LocateSessionRecording")
        exchange.request = {"SessionId": session_id}
        return await self._part(exchange, (("content-type", "application/x-asciicast"), *BYTES[1:]))

    async def _part(self, exchange: Exchange, headers: tuple[tuple[str, str], ...]) -> Response:
        """A part of the object that the operation of `exchange` locates, for those whom it allows."""
        await self._pipeline.validate(exchange)
        await self._pipeline.run(exchange)
        start = _offset(exchange)
        body = await asyncio.to_thread(self._objects.get, exchange.result["Key"], start, start + PART_LIMIT)
        size = ("x-fleetward-size", str(exchange.result["Size"]))
        return Response(200, (*headers, size), body)


def _parts(exchange: Exchange, prefix: str, number: int) -> list[str]:
    parts = [unquote(part) for part in exchange.path.removeprefix(prefix).split("/")]
    if len(parts) != number or any(_is_odd(part) for part in parts):
        raise ValidationException(f"A path behind {prefix} is not of this form.")
    return parts


def _is_odd(part: str) -> bool:
    return part in ("", ".", "..") or "/" in part or len(part) > 128 or not part.isprintable()


def _offset(exchange: Exchange) -> int:
    name, _, value = exchange.query.partition("=")
    return int(value) if name == "offset" and value.isdigit() and len(value) < 12 else 0


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece
