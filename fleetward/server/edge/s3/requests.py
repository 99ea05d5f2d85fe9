"""Requests of S3: route, authenticate, read the document or stream the bytes, run the entry, answer.

    route -> identify -> authenticate -> throttle -> parse -> admit -> validate -> (bytes up) -> run -> (bytes down)

Bytes go to Objects under a name of our own before the entry records them; a crash between the two leaves bytes that
nothing refers to, which are collected. Whether the caller may, and the conditions hold, is asked before the bytes come
and once more when they are recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

from fleetward.protocol import sigv2, sigv4
from fleetward.protocol.api import rest, rest_xml, validate
from fleetward.protocol.api.model import SerializationFault, ServiceModel, UnknownOperation
from fleetward.protocol.sigv4_chunks import ChunkedBodyVerifier
from fleetward.server.call import service_context
from fleetward.server.edge.pipeline import Exchange, Pipeline, Response
from fleetward.server.edge.s3 import answers, forms, intake
from fleetward.server.edge.s3.addressing import FORM
from fleetward.server.edge.s3.intake import Expected, Intake
from fleetward.server.edge.s3.outflow import PIECE, Outflow
from fleetward.server.errors import AwsError
from fleetward.server.ports import Clock, Objects
from fleetward.server.s3 import content, deleting, multipart, post_policy, writing
from fleetward.server.s3.access import Bucket
from fleetward.server.s3.content import Stored
from fleetward.server.s3.errors import (
    AccessDenied,
    AuthorizationHeaderMalformed,
    InternalError,
    InvalidArgument,
    InvalidRequest,
    MalformedXML,
    MaxMessageLengthExceeded,
    MethodNotAllowed,
    MissingContentLength,
    MissingRequestBodyError,
    NotOffered,
    ServiceUnavailable,
)
from fleetward.server.s3.reading import Content
from fleetward.server.service import Entry, Service

T = TypeVar("T")

DOCUMENT_LIMIT = 8 * 1024 * 1024
"""10,000 parts with their checksums, or 1,000 of the longest keys."""

STRANGERS_LIMIT = 256 * 1024
"""Documents of requests that nobody signed."""

PARSED_AT_ONCE = 64 * 1024
"""Longer documents are read on a worker thread."""

MOST_QUERY_FIELDS = 1000
DELETED_AT_ONCE = 100
"""Objects of one request that one entry deletes."""
WRAPPING = 64 * 1024 * 1024
"""What chunks may add to the largest part."""

THREADS = 8

ADMIT_UPLOAD = Entry("s3.admit-upload", writing.admit_upload, reads=True)
ADMIT_PART = Entry("s3.admit-part", multipart.admit_part, reads=True)
PLAN = Entry("s3.plan-completion", multipart.plan, reads=True)
TENANT_KEY = Entry("s3.tenant-key", content.tenant_key, reads=True)
MAKE_TENANT_KEY = Entry("s3.make-tenant-key", content.make_tenant_key, audit=False)


class Storage:
    """Answers the requests that `Addressing` finds to be S3's."""

    def __init__(
        self, *, pipeline: Pipeline, model: ServiceModel, service: Service, objects: Objects, clock: Clock
    ) -> None:
        self._pipeline = pipeline
        self._model = model
        self._service = service
        self._objects = objects
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, "s3-bytes")
        self._hashing = ThreadPoolExecutor(THREADS, "s3-hashes")
        self._keys: dict[tuple[str, str, int], bytes] = {}

    async def answer(self, exchange: Exchange, path: str) -> Response:
        """The answer to a request for `path`, `/BUCKET/KEY` whatever the form of its address."""
        exchange.render = answers.render
        exchange.unread = True

        async def work(exchange: Exchange) -> Response | None:
            return await self._serve(exchange, path)

        return await self._pipeline.conclude(exchange, work)

    async def _serve(self, exchange: Exchange, path: str) -> Response | None:
        pairs = _pairs(exchange.query)
        path = path.rstrip("/") or "/" if path.count("/") == 2 else path  # a bucket's address may end in a slash
        if _is_form(exchange):
            return await self._form(exchange, path, pairs)
        self._route(exchange, path, pairs)
        if sigv2.is_presigned(exchange.query):
            await self._authenticate_as_of_old(exchange, path, pairs)
        else:
            await self._authenticate(exchange)
        await self._pipeline.throttle(exchange)
        assert exchange.operation is not None
        name = exchange.operation.name
        body = b"" if name in ("PutObject", "UploadPart") else await self._document(exchange)
        await self._parse(exchange, path, pairs, body)
        await self._pipeline.admit(exchange)
        self._validate(exchange)
        if name in ("PutObject", "UploadPart"):
            await self._upload(exchange)
        elif name == "CompleteMultipartUpload":
            exchange.request["Plan"] = await self._pipeline.call(PLAN, _context(exchange), exchange.request)
        if name == "DeleteObjects":
            await self._delete(exchange)
        else:
            await self._record(exchange)
        if name == "GetObject":
            return await self._download(exchange)
        return None

    def _route(self, exchange: Exchange, path: str, pairs: list[tuple[str, str]]) -> None:
        exchange.service = self._model
        try:
            headers = _headers(exchange, pairs)
            exchange.operation = rest.routes(self._model).match(exchange.method, path, pairs, headers)[0]
        except UnknownOperation:
            raise MethodNotAllowed(
                "The specified method is not allowed against this resource.", Method=exchange.method
            ) from None
        except SerializationFault as fault:
            raise InvalidArgument(fault.message) from fault
        entry = self._service.operations.get(exchange.operation.name)
        if entry is None:
            raise NotOffered(f"{exchange.operation.name} is not offered by this server.")
        exchange.entry = entry

    async def _authenticate(self, exchange: Exchange) -> None:
        with contextlib.suppress(sigv4.SignatureFault):  # what cannot be read is refused by identify
            claimed = sigv4.parse_claim(exchange.method, exchange.path, exchange.query, exchange.headers)
            if claimed is not None and claimed.service == "s3":
                check_region(claimed.region, self._pipeline.regions)
        await self._pipeline.identify(exchange)
        await self._pipeline.authenticate(exchange)
        claim = exchange.claim
        found: dict[str, str] = {}
        if claim is not None:
            found["s3:authType"] = "REST-QUERY-STRING" if claim.presigned else "REST-HEADER"
            found["s3:signatureversion"] = sigv4.ALGORITHM
            found["s3:signatureAge"] = str(int((self._clock.now() - claim.signed_at).total_seconds() * 1000))
        if hashed := exchange.headers.get("x-amz-content-sha256"):
            found["s3:x-amz-content-sha256"] = hashed
        self._tell_how_signed(exchange, found)

    async def _authenticate_as_of_old(self, exchange: Exchange, path: str, pairs: list[tuple[str, str]]) -> None:
        """By Signature Version 2 in the query."""
        try:
            claim = sigv2.parse_claim(pairs, self._pipeline.regions[0])
        except sigv4.SignatureFault as fault:
            raise AccessDenied(fault.message) from fault

        def check(secret: str, now: datetime) -> None:
            sigv2.verify(
                claim, secret, method=exchange.method, resource=path, pairs=pairs, headers=exchange.headers, now=now
            )

        await self._pipeline.claimed(exchange, claim, check)
        self._tell_how_signed(exchange, {"s3:authType": "REST-QUERY-STRING", "s3:signatureversion": "AWS"})

    def _tell_how_signed(self, exchange: Exchange, found: dict[str, str]) -> None:
        context = _context(exchange)
        caller = replace(context.caller, context={**context.caller.context, **found})
        exchange.context = replace(context, caller=caller)

    async def _record(self, exchange: Exchange) -> None:
        """Run the entry; bytes that it refuses to record are deleted at once."""
        try:
            await self._pipeline.run(exchange)
        except AwsError:
            stored = exchange.request.get("Body")
            if isinstance(stored, Stored):
                await self._in_thread(self._objects.delete, content.storage_key(stored.blob))
            raise
        finally:
            exchange.request.pop("Plan", None)

    async def _delete(self, exchange: Exchange) -> None:
        """Many deletions as several entries: each object is told by itself, and others get their turn in between."""
        request = exchange.request
        told: dict[str, list[Any]] = {"Deleted": [], "Errors": []}
        wanted = (request.get("Delete") or {}).get("Objects", [])
        if not 1 <= len(wanted) <= deleting.MOST_AT_ONCE:
            raise MalformedXML(f"1 to {deleting.MOST_AT_ONCE} objects are deleted at once")
        for first in range(0, len(wanted), DELETED_AT_ONCE):
            some = {**request["Delete"], "Objects": wanted[first : first + DELETED_AT_ONCE]}
            exchange.request = {**request, "Delete": some}
            await self._record(exchange)
            for name, each in told.items():
                each += exchange.result.get(name, [])
        exchange.result = {name: each for name, each in told.items() if each}

    # --- forms -------------------------------------------------------------------------------------------------------

    async def _form(self, exchange: Exchange, path: str, pairs: list[tuple[str, str]]) -> Response:
        """PostObject: fields first, then the file, whose policy says what they may be."""
        bucket = unquote(path[1:])
        if "/" in bucket or not bucket:
            raise MethodNotAllowed("The specified method is not allowed against this resource.", Method="POST")
        exchange.service, exchange.operation = self._model, self._model.operations["PutObject"]
        exchange.entry = self._service.operations["PutObject"]
        form = forms.Form(exchange.headers.get("content-type", ""), exchange.chunks(multipart.LARGEST_PART + WRAPPING))
        fields = await form.fields()
        policy = await self._authenticate_form(exchange, fields)
        await self._pipeline.throttle(exchange)
        exchange.request = post_policy.request_of(bucket, fields, form.file_name)
        await self._pipeline.admit(exchange)
        self._validate(exchange)
        limits = policy.check(bucket, fields, form.file_name, self._clock.now()) if policy is not None else None
        found: Bucket = await self._pipeline.call(ADMIT_UPLOAD, _context(exchange), exchange.request)
        wanted = replace(intake.expected(fields, sigv4.UNSIGNED_PAYLOAD), size_bytes=None)

        async def chunks(_: int) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in form.file():
                size += len(chunk)
                post_policy.check_size(size, limits, ended=False)
                yield chunk
            post_policy.check_size(size, limits, ended=True)

        exchange.request["Body"] = await self.receive(exchange, found.account, found.region, wanted, None, chunks)
        await self._record(exchange)
        return answers.posted(exchange, bucket, exchange.request["Key"], fields)

    async def _authenticate_form(self, exchange: Exchange, fields: dict[str, str]) -> post_policy.Policy | None:
        """By the signature over the form's policy, in either version; without a policy it is a stranger's."""
        text = fields.get("policy", "")
        if not text:
            if any(name in fields for name in ("x-amz-signature", "signature")):
                raise AccessDenied("A signed form carries a policy.")
            await self._pipeline.identify(exchange)
            return None
        claim = post_policy.claim_of(fields, self._pipeline.regions[0])
        if claim.date:
            check_region(claim.region, self._pipeline.regions)
        await self._pipeline.claimed(exchange, claim, lambda secret, _: post_policy.verify(claim, fields, secret))
        self._tell_how_signed(exchange, {"s3:authType": "POST"})
        return post_policy.parse(text)

    async def _document(self, exchange: Exchange) -> bytes:
        """The body of every operation but those that stream it, checked against what its headers say."""
        announced = exchange.headers.get("content-length", "")
        if not exchange.headers.get("transfer-encoding") and announced in ("", "0"):
            return b""
        limit = DOCUMENT_LIMIT if exchange.claim is not None else STRANGERS_LIMIT
        if announced.isdigit() and int(announced) > limit:
            raise MaxMessageLengthExceeded("Your request was too big.", MaxMessageLengthBytes=limit)
        body = await exchange.receive(limit)
        wanted = intake.expected(exchange.headers, _payload_hash(exchange), also="")
        hashes, trailers = intake.Hashes(replace(wanted, size_bytes=None)), {}
        if decoder := _decoder(exchange, wanted):
            body = intake.unwrapped(decoder, body)
            trailers = intake.ended(decoder)
        hashes.update(body)
        hashes.check(trailers)
        return body

    async def _parse(self, exchange: Exchange, path: str, pairs: list[tuple[str, str]], body: bytes) -> None:
        headers = _headers(exchange, pairs)

        def parse() -> dict[str, Any]:
            return rest_xml.parse_request(
                self._model, exchange.method, path, pairs, headers, body, largest=DOCUMENT_LIMIT
            )[1]

        try:
            exchange.request = await self._in_thread(parse) if len(body) > PARSED_AT_ONCE else parse()
        except SerializationFault as fault:
            if body:
                raise MalformedXML(f"The XML you provided was not well-formed or did not validate: {fault}") from fault
            raise InvalidArgument(fault.message) from fault
        exchange.request.pop("Body", None)

    def _validate(self, exchange: Exchange) -> None:
        assert exchange.operation is not None
        shape = exchange.operation.input
        if shape is None:
            return
        found = [each for each in validate.check(shape, exchange.request) if "ocationConstraint" not in each.path]
        if not found:
            return
        first = found[0]
        inside = shape.payload[:1].lower() + shape.payload[1:]
        if shape.payload and first.path == inside and first.value is None:
            raise MissingRequestBodyError("Request Body is empty")
        if inside and first.path.startswith(f"{inside}."):
            raise MalformedXML(f"The XML you provided did not validate against our published schema: {first}")
        raise InvalidArgument(str(first), ArgumentName=first.path)

    # --- bytes up ----------------------------------------------------------------------------------------------------

    async def _upload(self, exchange: Exchange) -> None:
        """Stream the body to Objects; the request's Body is then what was stored."""
        context, algorithm = _context(exchange), ""
        if "PartNumber" in exchange.request:
            admitted = await self._pipeline.call(ADMIT_PART, context, exchange.request)
            bucket, algorithm = admitted.bucket, admitted.algorithm
        else:
            bucket = await self._pipeline.call(ADMIT_UPLOAD, context, exchange.request)
        wanted = intake.expected(exchange.headers, _payload_hash(exchange))
        if algorithm:
            wanted = replace(wanted, algorithms=wanted.algorithms | {algorithm})
        if wanted.size_bytes is None:
            raise MissingContentLength("You must provide the Content-Length HTTP header.")
        multipart.check_announced(wanted.size_bytes)
        exchange.request["Body"] = await self.receive(
            exchange, bucket.account, bucket.region, wanted, _decoder(exchange, wanted), exchange.chunks
        )

    async def receive(
        self, exchange: Exchange, account: str, region: str, wanted: Expected, decoder: ChunkedBodyVerifier | None,
        chunks: Any,
    ) -> Stored:  # fmt: skip
        """Take a body in, a piece on a worker thread while the next one comes; nothing is left of one that fails."""
        self.check_room()
        key = await self._tenant_key(account, region)
        blob = content.new_blob(account, region)
        taken = await self._in_thread(Intake, self._objects, blob, key, wanted, decoder, self._hashing)
        working: asyncio.Future[None] | None = None
        gathered: list[bytes] = []
        size = 0
        try:
            async for chunk in chunks(multipart.LARGEST_PART + WRAPPING):
                gathered.append(chunk)
                size += len(chunk)
                if size < PIECE:
                    continue
                if working is not None:
                    await working
                self.check_room()
                working = asyncio.ensure_future(self._in_thread(taken.take, gathered))
                gathered, size = [], 0
            if working is not None:
                await working
            stored: Stored = await self._in_thread(taken.finish, gathered)
            return stored
        except BaseException:
            if working is not None:
                with contextlib.suppress(Exception):
                    await asyncio.shield(asyncio.wait([working]))
            await asyncio.shield(self._in_thread(taken.abandon))
            raise

    def check_room(self) -> None:
        """ServiceUnavailable while the disk is nearly full."""
        if not self._pipeline.room.enough():
            raise ServiceUnavailable("The server's disk is nearly full: make room, then try again.")

    async def _tenant_key(self, account: str, region: str, number: int = content.FIRST_KEY) -> bytes:
        name = (account, region, number)
        if name not in self._keys:
            home = service_context(account, region)
            key = await self._pipeline.call(TENANT_KEY, home, name)
            if key is None:
                with contextlib.suppress(Exception):  # another server may make it at the same moment
                    await self._pipeline.call(MAKE_TENANT_KEY, home, (account, region))
                key = await self._pipeline.call(TENANT_KEY, home, name)
            if key is None:
                raise InternalError(f"The key that objects of {account} in {region} are encrypted under is missing.")
            self._keys[name] = key
        return self._keys[name]

    # --- bytes down --------------------------------------------------------------------------------------------------

    async def _download(self, exchange: Exchange) -> Response:
        wanted: Content = exchange.result["Body"]
        response = answers.render(exchange, None)
        names = {(*content.tenant_of(each.blob), content.key_number(each.blob)) for each in wanted.slices}
        keys = {name: await self._tenant_key(*name) for name in names}
        flow = Outflow(self._objects, wanted.slices, keys, self._threads)
        if wanted.size_bytes <= PIECE:
            return replace(response, body=await self._in_thread(flow.whole))
        return replace(response, stream=flow)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def forget(self) -> None:
        """Read keys anew."""
        self._keys.clear()

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._hashing.shutdown(wait=False)


def _is_form(exchange: Exchange) -> bool:
    return exchange.method == "POST" and exchange.headers.get("content-type", "").startswith(FORM)


def _context(exchange: Exchange) -> Any:
    assert exchange.context is not None
    return exchange.context


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_QUERY_FIELDS)
    except ValueError as fault:
        raise InvalidArgument(f"The query has more than {MOST_QUERY_FIELDS} fields.") from fault


def _headers(exchange: Exchange, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The headers, and those that a presigned address carries in its query."""
    hoisted = {name.lower(): value for name, value in pairs if name.lower().startswith("x-amz-")}
    return {**hoisted, **exchange.headers}


def _payload_hash(exchange: Exchange) -> str:
    """What the body's hash is, as far as it was signed."""
    claim = exchange.claim
    stated = exchange.headers.get("x-amz-content-sha256") or (claim.payload_hash if claim is not None else None)
    if claim is None and stated is not None and stated in sigv4.STREAMING - {sigv4.STREAMING_UNSIGNED_TRAILER}:
        raise InvalidRequest("Chunks cannot be signed where the request is not.")
    return stated or sigv4.UNSIGNED_PAYLOAD


def _decoder(exchange: Exchange, wanted: Expected) -> ChunkedBodyVerifier | None:
    if not wanted.in_chunks:
        return None
    secret = exchange.identity.secret if exchange.identity is not None else ""
    return ChunkedBodyVerifier(exchange.claim, secret, wanted.payload_hash, decoded_length=wanted.size_bytes)


def check_region(region: str, served: Sequence[str]) -> None:
    """AuthorizationHeaderMalformed for a signature of a region that is not served."""
    if region not in served:
        raise AuthorizationHeaderMalformed(
            f"The authorization header is malformed; the region '{region[:64]}' is wrong; expecting '{served[0]}'",
            Region=served[0],
        )
