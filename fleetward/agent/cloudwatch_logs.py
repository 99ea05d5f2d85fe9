"""CloudWatch Logs: what a step printed, as events of a stream of its own, where its command asks for it.

The stream is `<command>/<node>/<step>/stdout` or `…/stderr`, the group the one named or `/aws/ssm/<document>`. As with
the official agent, lines are put together into events of at most 200,000 bytes; the node's own keys sign, so that its
role must allow the calls (AWS's CloudWatchAgentServerPolicy does).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fleetward.agent.client import Client, ServiceFault

GROUP_PREFIX = "/aws/ssm/"
EVENT_BYTES = 200_000
BATCH_BYTES = 1_048_576
EVENT_OVERHEAD_BYTES = 26

_NOT_IN_GROUPS = re.compile(r"[^.\-_/#A-Za-z0-9]")
_NOT_IN_STREAMS = re.compile(r"[:*]")


class Batch(NamedTuple):
    """Messages that go out together, and how far into the file they reach."""

    messages: Sequence[str]
    end: int


def group_of(content: Mapping[str, Any]) -> str | None:
    """The group that a command's message asks for; None when it asks for none."""
    if str(content.get("CloudWatchOutputEnabled", "")).lower() != "true":
        return None
    name = str(content.get("CloudWatchLogGroupName") or "")
    if not name:
        name = GROUP_PREFIX + _NOT_IN_GROUPS.sub(".", str(content.get("DocumentName") or "command"))
    return name[:512]


def stream_of(command_id: str, node_id: str, step: str, stream: str) -> str:
    """The name of the stream for one stream of a step."""
    return _NOT_IN_STREAMS.sub("-", f"{command_id}/{node_id}/{step}/{stream}")[:512]


def batches(file: BinaryIO, start: int) -> Iterator[Batch]:
    """What a file holds from `start` on, as batches that PutLogEvents takes."""
    file.seek(start)
    messages: list[str] = []
    size, end = 0, start
    for event in _events(file):
        message = _text(event)
        length = len(message.encode()) + EVENT_OVERHEAD_BYTES
        if messages and size + length > BATCH_BYTES:
            yield Batch(messages, end)
            messages, size = [], 0
        end += len(event)
        if message:
            messages.append(message)
            size += length
    if messages:
        yield Batch(messages, end)


async def send(client: Client, group: str, stream: str, path: Path, start: int, sent: Callable[[int], None]) -> None:
    """Send a file from `start` on; `sent` hears how far after each batch. ServiceFault, HttpFault or OSError."""
    is_made = False
    names = {"logGroupName": group, "logStreamName": stream}
    with path.open("rb") as file:
        for batch in batches(file, start):
            if not is_made:
                await make(client, names)
                is_made = True
            at = int(client.endpoint.now().timestamp() * 1000)
            events = [{"timestamp": at, "message": message} for message in batch.messages]
            await client.logs("PutLogEvents", {**names, "logEvents": events})
            sent(batch.end)


async def make(client: Client, names: Mapping[str, str]) -> None:
    """Make group and stream; a group that exists need not be ours to make."""
    try:
        await client.logs("CreateLogGroup", {"logGroupName": names["logGroupName"]})
    except ServiceFault as fault:
        if fault.code not in ("ResourceAlreadyExistsException", "AccessDeniedException"):
            raise
    try:
        await client.logs("CreateLogStream", names)
    except ServiceFault as fault:
        if fault.code != "ResourceAlreadyExistsException":
            raise


def _events(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines put together, as many as an event holds; a longer line is split."""
    event = b""
    while line := file.readline(EVENT_BYTES):
        if event and len(event) + len(line) > EVENT_BYTES:
            yield event
            event = b""
        event += line
    if event:
        yield event


def _text(event: bytes) -> str:
    """An event's message: text without its last line's end, and without what no message may hold."""
    text = event.decode("utf-8", "replace").replace("\r\n", "\n").replace("\0", "\ufffd")
    return text.removesuffix("\n")
