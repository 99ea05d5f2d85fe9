"""The transcript of a session: what it printed, handed in where the document asks, to S3 or CloudWatch Logs (AP 15.2).

What cannot be recorded or handed in is logged and changes nothing for the session; but a document that asks for
encryption where there is none gets no session.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from fleetward.agent import cloudwatch_logs
from fleetward.agent.client import Client, ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.output import Stream
from fleetward.agent.report import iso
from fleetward.agent.s3 import Location
from fleetward.agent.sessions.request import SessionFault, SessionRequest

log = logging.getLogger("fleetward.transcript")

STREAM_SECONDS = 5.0
LARGEST_PART_BYTES = 100_000


class Transcript:
    """What one session printed, in a file that nobody but the agent reads."""

    def __init__(self, folder: Path, request: SessionRequest, client: Client, run_as_user: str) -> None:
        self._request = request
        self._client = client
        self._run_as_user = run_as_user
        self._path = folder / f"{request.session_id}.log"
        self._file = Stream(self._path) if request.logging.is_wanted else None
        self._sent = 0

    async def check(self) -> None:
        """SessionFault when encryption is asked for and not there."""
        wanted = self._request.logging
        try:
            if wanted.bucket and wanted.bucket_must_encrypt and not await self._bucket_is_encrypted(wanted.bucket):
                raise SessionFault(_unencrypted(f"The bucket {wanted.bucket}"))
            if wanted.group and wanted.group_must_encrypt and not await self._group_is_encrypted(wanted.group):
                raise SessionFault(_unencrypted(f"The log group {wanted.group}"))
        except (ServiceFault, HttpFault) as error:
            raise SessionFault(f"Whether the session's log would be encrypted cannot be found out: {error}") from error

    def write(self, data: bytes) -> None:
        """Record what was printed."""
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as error:
                log.error("session %s is recorded no further: %s", self._request.session_id, error)
                self._file.close()
                self._file = None

    async def stream(self) -> None:
        """Send to CloudWatch Logs every few seconds, until cancelled, if that is asked for."""
        while self._request.logging.group and self._request.logging.streams:
            await asyncio.sleep(STREAM_SECONDS)
            await self._try("CloudWatch Logs", self._stream_on())

    async def hand_in(self) -> dict[str, str]:
        """Send what is left to send; the members of the result that say where it is. The file is gone afterwards."""
        if not self._path.exists():
            return {}
        wanted = self._request.logging
        told: dict[str, str] = {}
        if wanted.bucket:
            key = f"{wanted.prefix}/{self._path.name}" if wanted.prefix else self._path.name
            upload = self._client.put_object(Location(wanted.bucket, key).path, self._path)
            if await self._try("S3", upload):
                told |= {"bucket": wanted.bucket, "key": key}
        if wanted.group:
            sending = self._stream_on(to_end=True) if wanted.streams else self._send_all()
            if await self._try("CloudWatch Logs", sending):
                told |= {"group": wanted.group, "stream": self._log_stream}
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)
        return told

    @property
    def _log_stream(self) -> str:
        return self._request.session_id.replace(":", "-").replace("*", "-")

    async def _try(self, where: str, sending: Any) -> bool:
        try:
            await sending
        except (ServiceFault, HttpFault, OSError) as error:
            log.warning("the transcript of %s did not get to %s: %s", self._request.session_id, where, error)
            return False
        return True

    async def _bucket_is_encrypted(self, bucket: str) -> bool:
        return await self._client.bucket_is_encrypted(quote(bucket, safe=""))

    async def _group_is_encrypted(self, group: str) -> bool:
        found = await self._client.logs("DescribeLogGroups", {"logGroupNamePrefix": group})
        return any(each.get("logGroupName") == group and each.get("kmsKeyId") for each in found.get("logGroups") or [])

    async def _send_all(self) -> None:
        group, stream = self._request.logging.group, self._log_stream
        await cloudwatch_logs.send(self._client, group, stream, self._path, self._sent, self._note_sent)

    def _note_sent(self, end: int) -> None:
        self._sent = end

    async def _stream_on(self, *, to_end: bool = False) -> None:
        """Whole lines that were not sent yet, each part of them as one JSON event, as the official agent does."""
        names = {"logGroupName": self._request.logging.group, "logStreamName": self._log_stream}
        with self._path.open("rb") as file:
            while part := _part(file, self._sent, to_end):
                if not self._sent:
                    await cloudwatch_logs.make(self._client, names)
                at = self._client.endpoint.now().timestamp()
                event = {"timestamp": int(at * 1000), "message": self._event(part)}
                await self._client.logs("PutLogEvents", {**names, "logEvents": [event]})
                self._sent += len(part)

    def _event(self, part: bytes) -> str:
        event: Mapping[str, Any] = {
            "eventVersion": "1.0",
            "eventTime": iso(time.time()),
            "awsRegion": self._client.endpoint.region,
            "target": {"id": self._client.node_id},
            "userIdentity": {"arn": self._request.owner},
            "runAsUser": self._run_as_user,
            "sessionId": self._request.session_id,
            "sessionData": part.decode("utf-8", "replace").splitlines(),
        }
        return json.dumps(event, ensure_ascii=False)


def _part(file: BinaryIO, start: int, to_end: bool) -> bytes:
    """What to send next: as many whole lines as fit; a rest without an end of line only `to_end`."""
    file.seek(start)
    part = file.read(LARGEST_PART_BYTES)
    end = part.rfind(b"\n") + 1
    if end == 0 and (to_end or len(part) == LARGEST_PART_BYTES):
        return part
    return part if to_end and len(part) < LARGEST_PART_BYTES else part[:end]


def _unencrypted(what: str) -> str:
    return f"{what} is not encrypted, and the session's preferences allow no log without encryption."
