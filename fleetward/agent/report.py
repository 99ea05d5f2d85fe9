"""What a node says of a command: the content of replies, and the replies that wait to be acknowledged."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fleetward import __version__
from fleetward.agent.output import COMBINED_BYTES, STREAM_BYTES, combine_streams, cut_stream
from fleetward.protocol.status import DocumentStatus, StepStatus

AGENT_NAME = "fleetward-agent"
AGENT_VERSION = ".".join([*__version__.split("."), "0", "0", "0"][:4])
LARGEST_CONTENT_BYTES = 120_000
AGAIN_AFTER_SECONDS = (1.0, 3.0, 6.0, 12.0, 30.0)

StepResult = dict[str, Any]


NOWHERE = {"outputS3BucketName": "", "outputS3KeyPrefix": "", "stepName": ""}
"""The members of a step's result that say where in S3 its streams are, when they are not."""


def step_result(
    action: str,
    status: StepStatus,
    code: int,
    started_at: float,
    stdout: bytes,
    stderr: bytes,
    place: Mapping[str, str] = NOWHERE,
) -> StepResult:
    """One member of `runtimeStatus` (AP 8.4); time in seconds since 1970, of streams at least 24,001 bytes."""
    return {
        "status": status.value,
        "code": code,
        "name": action,
        "output": combine_streams(stdout, stderr, COMBINED_BYTES),
        "startDateTime": iso(started_at),
        "endDateTime": iso(time.time()),
        **place,
        "standardOutput": cut_stream(stdout),
        "standardError": cut_stream(stderr),
    }


def reply_content(
    platform: str,
    status: DocumentStatus,
    results: Mapping[str, StepResult] | None,
    *,
    counted: Mapping[str, StepResult] | None = None,
    trace: str = "",
    sequence: int = 0,
) -> str:
    """The content of one reply, at most 120,000 bytes; `counted` are the steps that have a result so far.

    `sequence` is the command's number in the journal; 0: it was not accepted.
    """
    limit = STREAM_BYTES
    while True:
        reply = _reply(platform, status, results, counted or results or {}, trace)
        if sequence:
            reply["sequence"] = sequence
        text = json.dumps(reply, ensure_ascii=False)
        # Whoever embeds the text as a JSON string doubles its quotes and backslashes.
        if len(json.dumps(text, ensure_ascii=False).encode(errors="replace")) <= LARGEST_CONTENT_BYTES or limit < 1000:
            return text
        limit = limit * 2 // 3
        results = {name: _shortened(result, limit) for name, result in (results or {}).items()}
        trace = cut_stream(trace.encode(errors="replace"), limit)


def _shortened(result: StepResult, limit: int) -> StepResult:
    streams = {name: cut_stream(result[name].encode(), limit) for name in ("standardOutput", "standardError")}
    return {**result, **streams, "output": cut_stream(result["output"].encode(), min(limit, COMBINED_BYTES))}


def _reply(
    platform: str,
    status: DocumentStatus,
    results: Mapping[str, StepResult] | None,
    counted: Mapping[str, StepResult],
    trace: str,
) -> dict[str, Any]:
    return {
        "additionalInfo": {
            "agent": {"lang": "en-US", "name": AGENT_NAME, "os": platform, "osver": "1", "ver": AGENT_VERSION},
            "dateTime": iso(time.time()),
            "runId": "",
            "runtimeStatusCounts": dict(Counter(result["status"] for result in counted.values())),
        },
        "documentStatus": status.value,
        "documentTraceOutput": trace,
        "runtimeStatus": results,
    }


def iso(seconds: float) -> str:
    """A time as replies write it: 2026-11-22T20:04:42.425Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass(slots=True)
class Reply:
    """One reply; sent again it keeps its message id. `on_stored` is called once the control plane has it."""

    job_id: str
    topic: str
    content: str
    message_id: uuid.UUID
    on_stored: Callable[[], None] | None = None
    attempts: int = 0
    due: float = 0.0


Send = Callable[[Reply], Awaitable[bool]]
"""Sends a reply over whichever road is open; True when that road already knows that it is stored."""


class Replies:
    """Replies that the control plane has not yet said to have; sent again after 1, 3, 6, 12, 30, 30 … seconds."""

    def __init__(self) -> None:
        self._waiting: dict[uuid.UUID, Reply] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, reply: Reply) -> None:
        """Send this reply as soon as a road is open."""
        self._waiting[reply.message_id] = reply
        self._changed.set()

    def stored(self, message_id: uuid.UUID) -> None:
        """The control plane has this reply; unknown ids are old news."""
        reply = self._waiting.pop(message_id, None)
        if reply is not None and reply.on_stored is not None:
            reply.on_stored()
        self._changed.set()

    async def wait_empty(self, seconds: float) -> bool:
        """Wait until all are stored; False when that took too long."""
        try:
            async with asyncio.timeout(seconds):
                while self._waiting:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def deliver(self, send: Send) -> None:
        """Send what waits over one open road until cancelled or the road breaks; all of it is due at once."""
        loop = asyncio.get_running_loop()
        for reply in self._waiting.values():
            reply.due, reply.attempts = 0.0, 0
        while True:
            self._changed.clear()
            for reply in list(self._waiting.values()):
                if reply.due <= loop.time() and reply.message_id in self._waiting:
                    pause = AGAIN_AFTER_SECONDS[min(reply.attempts, len(AGAIN_AFTER_SECONDS) - 1)]
                    reply.attempts += 1
                    reply.due = loop.time() + pause
                    if await send(reply):
                        self.stored(reply.message_id)
            soonest = min((reply.due for reply in self._waiting.values()), default=None)
            try:
                async with asyncio.timeout(None if soonest is None else max(0.01, soonest - loop.time())):
                    await self._changed.wait()
            except TimeoutError:
                pass
