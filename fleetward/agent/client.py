"""Signed calls to the control plane: JSON operations, the control channel's token, uploads; errors and repeats."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from fleetward import __version__
from fleetward.agent import chance
from fleetward.agent.http import Answer, HttpFault, Url, request
from fleetward.protocol.sigv4 import Credentials, presign_query, sign_headers

USER_AGENT = f"fleetward-agent/{__version__}"
JSON_TYPE = "application/x-amz-json-1.1"
ATTEMPTS = 4
LARGEST_SKEW_IGNORED = timedelta(seconds=60)

THROTTLES = frozenset({"ThrottlingException", "Throttling", "TooManyUpdates", "RequestLimitExceeded", "SlowDown"})
STALE_KEYS = frozenset({"ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"})
BAD_SIGNATURES = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired"})

_CODE = re.compile(r"<(?:Code|__type)>([^<]{1,200})<")
_BARE_CODE = re.compile(r"<([A-Za-z]{3,80}Exception)>")
_MESSAGE = re.compile(r"<[Mm]essage>([^<]{0,1000})<")
_TOKEN = re.compile(r"<TokenValue>([^<]+)</TokenValue>")


class ServiceFault(Exception):
    """The control plane refused a call; `code` is AWS's name for the error."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.status = status

    @property
    def may_pass(self) -> bool:
        """Whether the same call may work a little later."""
        return self.status >= 500 or self.status == 429 or self.code in THROTTLES


@dataclass(slots=True)
class Endpoint:
    """Where the control plane is and what proves it; `clock_offset` is how far its clock is ahead of ours."""

    url: Url
    trust: ssl.SSLContext | None
    region: str
    clock_offset: timedelta = field(default=timedelta())

    def now(self) -> datetime:
        """The control plane's time, as far as we know it."""
        return datetime.now(UTC) + self.clock_offset

    def follow_clock(self, headers: Mapping[str, str]) -> bool:
        """Learn the control plane's clock from an answer; True when ours was far enough off to matter."""
        from email.utils import parsedate_to_datetime

        try:
            theirs = parsedate_to_datetime(headers.get("date", ""))
        except ValueError:
            return False
        offset = theirs - datetime.now(UTC)
        changed = abs(offset - self.clock_offset) > LARGEST_SKEW_IGNORED
        if changed:
            self.clock_offset = offset
        return changed


def trust_only(ca: Path) -> ssl.SSLContext:
    """TLS that believes the certificates of one file and nobody else; OSError when there is no such file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ca)
    return context


class CredentialsSource(Protocol):
    """Who has the node's temporary keys."""

    async def current(self) -> Credentials:
        """Keys that are good now."""

    def reject(self, credentials: Credentials) -> None:
        """These were refused: do not give them out again."""


class Client:
    """Calls in the name of one node."""

    def __init__(self, endpoint: Endpoint, node_id: str, credentials: CredentialsSource) -> None:
        self.endpoint = endpoint
        self.node_id = node_id
        self._credentials = credentials

    async def ssm(self, operation: str, members: Mapping[str, Any], *, attempts: int = ATTEMPTS) -> dict[str, Any]:
        """An operation of Systems Manager; ServiceFault when refused, HttpFault without an answer."""
        return await self._json("ssm", f"AmazonSSM.{operation}", members, 30, attempts)

    async def ssm_file(self, operation: str, file: Path) -> dict[str, Any]:
        """An operation of Systems Manager whose members are the JSON in a file, which is never in memory whole."""
        digest, length = await _measured(file)
        headers = {"Content-Type": JSON_TYPE, "X-Amz-Target": f"AmazonSSM.{operation}"}
        seconds = 60 + length / 250_000
        return read_object(await self._send("ssm", "POST", "/", headers, file, payload_hash=digest, seconds=seconds))

    async def logs(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """An operation of CloudWatch Logs, which the node's role must allow."""
        return await self._json("logs", f"Logs_20140328.{operation}", members, 30, ATTEMPTS)

    async def own(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """One of Fleetward's own operations."""
        return await self._json("ssm", f"Fleetward.{operation}", members, 30, ATTEMPTS)

    async def messages(
        self, operation: str, members: Mapping[str, Any], *, seconds: float = 30, attempts: int = ATTEMPTS
    ) -> dict[str, Any]:
        """An operation of the message delivery service, the road by polling."""
        target = f"EC2WindowsMessageDeliveryService.{operation}"
        return await self._json("ec2messages", target, members, seconds, attempts)

    async def control_channel_token(self, request_id: str) -> str:
        """A new token for the control channel."""
        members = {"MessageSchemaVersion": "1.0", "RequestId": request_id}
        return await self._token(f"/v1/control-channel/{quote(self.node_id)}", members)

    async def data_channel_token(self, session_id: str, request_id: str) -> str:
        """A new token for the data channel of a session; one try, for who asks asks again."""
        members = {"MessageSchemaVersion": "1.0", "RequestId": request_id, "ClientId": ""}
        path = f"/v1/data-channel/{quote(session_id, safe='')}"
        return await self._token(path, members, attempts=1)

    async def kms(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """An operation of the Key Management Service, which the node's role must allow."""
        return await self._json("kms", f"TrentService.{operation}", members, 15, ATTEMPTS)

    async def sign_upgrade(self, path: str, query: str) -> Callable[[], Mapping[str, str]]:
        """The headers of a WebSocket's upgrade, signed when called."""
        credentials = await self._credentials.current()

        def headers() -> Mapping[str, str]:
            sent = {"Host": self.endpoint.url.host_header}
            return {**sent, **self._signed(credentials, "ssmmessages", "GET", path, query, sent, b"", None)}

        return headers

    async def put_output(self, command_id: str, step: str, stream: str, file: Path) -> None:
        """Hand in the whole of a step's output: `stream` is stdout or stderr (Ours)."""
        path = f"/_fleetward/outputs/{quote(command_id, safe='')}/{quote(step, safe='')}/{stream}"
        await self._put("ssm", path, {"Content-Type": "application/octet-stream"}, file)

    async def put_object(self, path: str, file: Path) -> None:
        """Store a file as the object `/BUCKET/KEY` (percent-encoded); the node's role must allow it."""
        headers = {"Content-Type": "text/plain; charset=utf-8", "X-Amz-Acl": "bucket-owner-full-control"}
        await self._put("s3", path, headers, file)

    async def list_objects(self, bucket: str, prefix: str, token: str) -> str:
        """One page of ListObjectsV2 as XML, its keys percent-encoded."""
        asked = {"continuation-token": token} if token else {}
        asked |= {"encoding-type": "url", "list-type": "2", "prefix": prefix}
        query = "&".join(f"{name}={quote(value, safe='~')}" for name, value in asked.items())
        answer = await self._send("s3", "GET", f"/{bucket}", {}, b"", query=query, seconds=30)
        return answer.body.decode()

    async def presigned(self, path: str) -> str:
        """An address that lets whoever has it read the object `/BUCKET/KEY` for an hour."""
        url = self.endpoint.url
        query = presign_query(
            await self._credentials.current(),
            method="GET",
            url_path=path,
            headers={"Host": url.host_header},
            region=self.endpoint.region,
            service="s3",
            now=self.endpoint.now(),
        )
        return f"{url.scheme}://{url.host_header}{path}?{query}"

    async def bucket_is_encrypted(self, bucket: str) -> bool:
        """Whether a bucket encrypts by default; the node's role must allow to ask."""
        try:
            answer = await self._send("s3", "GET", f"/{bucket}", {}, b"", query="encryption=", seconds=15)
        except ServiceFault as fault:
            if fault.code == "ServerSideEncryptionConfigurationNotFoundError":
                return False
            raise
        return b"<SSEAlgorithm>" in answer.body

    async def _token(self, path: str, members: Mapping[str, Any], attempts: int = ATTEMPTS) -> str:
        body = json.dumps(members).encode()
        headers = {"Content-Type": "application/json"}
        answer = await self._send("ssmmessages", "POST", path, headers, body, seconds=15, attempts=attempts)
        token = _TOKEN.search(answer.body.decode(errors="replace"))
        if answer.status != 201 or token is None:
            raise HttpFault(f"the answer of status {answer.status} holds no token for the channel")
        return unescaped(token[1])

    async def _put(self, service: str, path: str, headers: Mapping[str, str], file: Path) -> None:
        digest, length = await _measured(file)
        sent = dict(headers) if service == "s3" else {**headers, "X-Amz-Content-Sha256": digest}
        seconds = 60 + length / 250_000
        await self._send(service, "PUT", path, sent, file, payload_hash=digest, seconds=seconds)

    async def _json(
        self, service: str, target: str, members: Mapping[str, Any], seconds: float, attempts: int
    ) -> dict[str, Any]:
        body = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": JSON_TYPE, "X-Amz-Target": target}
        answer = await self._send(service, "POST", "/", headers, body, seconds=seconds, attempts=attempts)
        return read_object(answer)

    async def _send(
        self,
        service: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | Path,
        *,
        query: str = "",
        payload_hash: str | None = None,
        seconds: float,
        attempts: int = ATTEMPTS,
    ) -> Answer:
        """Sign and send, again after what may pass; keys or clocks that turn out wrong are mended once."""
        mended = False
        for attempt in range(attempts):
            credentials = await self._credentials.current()
            sent = {**headers, "Host": self.endpoint.url.host_header}
            sent |= self._signed(credentials, service, method, path, query, sent, body, payload_hash)
            sent["User-Agent"] = USER_AGENT
            target = f"{path}?{query}" if query else path
            try:
                answer = await request(
                    self.endpoint.url, method, target, sent, body, trust=self.endpoint.trust, seconds=seconds
                )
            except HttpFault:
                if attempt + 1 == attempts:
                    raise
            else:
                if answer.status < 300:
                    return answer
                fault = fault_of(answer)
                if self._mend(fault, answer, credentials) and not mended:
                    mended = True
                    continue
                if not fault.may_pass or attempt + 1 == attempts:
                    raise fault
            await asyncio.sleep(chance.between(1.0, 1.5) * 2**attempt)
        raise HttpFault(f"{attempts} tries were not enough")

    def _mend(self, fault: ServiceFault, answer: Answer, credentials: Credentials) -> bool:
        if fault.code in STALE_KEYS:
            self._credentials.reject(credentials)
            return True
        return fault.code in BAD_SIGNATURES and self.endpoint.follow_clock(answer.headers)

    def _signed(
        self,
        credentials: Credentials,
        service: str,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes | Path,
        payload_hash: str | None,
    ) -> dict[str, str]:
        return sign_headers(
            credentials,
            method=method,
            url_path=path,
            query=query,
            headers=headers,
            body=body if isinstance(body, bytes) else None,
            payload_hash=payload_hash,
            region=self.endpoint.region,
            service=service,
            now=self.endpoint.now(),
        )


async def _measured(file: Path) -> tuple[str, int]:
    """SHA-256 and length of a file."""
    hashed, length = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while piece := opened.read(256 * 1024):
            hashed.update(piece)
            length += len(piece)
            await asyncio.sleep(0)
    return hashed.hexdigest(), length


def read_object(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer; HttpFault when it is none."""
    try:
        members = json.loads(answer.body or b"{}")
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise HttpFault("the answer is not a JSON object")
    return members


def fault_of(answer: Answer) -> ServiceFault:
    """The error that an answer tells, in JSON or XML; without one its status is the code."""
    text = answer.body.decode(errors="replace")
    try:
        members = json.loads(text)
    except ValueError:
        members = None
    if isinstance(members, dict):
        code = str(members.get("__type") or members.get("code") or "")
        message = str(members.get("message") or members.get("Message") or "")
    else:
        found = _CODE.search(text) or _BARE_CODE.search(text)
        code = found[1] if found else ""
        spoken = _MESSAGE.search(text)
        message = unescaped(spoken[1]) if spoken else ""
    code = code or answer.headers.get("x-amzn-errortype", "") or f"HTTP {answer.status}"
    return ServiceFault(code.rpartition("#")[2].partition(":")[0], message[:1000], answer.status)


def unescaped(text: str) -> str:
    """Text of an XML document without its entities."""
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#39;", "'"), ("&apos;", "'")):
        text = text.replace(entity, character)
    return text.replace("&amp;", "&")
