"""Outputs: hands what a step printed to where it is kept: the control plane in full, a bucket, CloudWatch Logs.

A step stands whether that works or not; what did not work is logged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

from fleetward.agent import cloudwatch_logs, s3
from fleetward.agent.client import ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.journal import Record
from fleetward.agent.node import Node
from fleetward.agent.output import STREAM_BYTES
from fleetward.agent.report import StepResult

log = logging.getLogger("fleetward.outputs")

STREAMS = ("stdout", "stderr")


class Outputs:
    """The outputs of one command's steps."""

    def __init__(self, node: Node, record: Record) -> None:
        self._node = node
        self._record = record

    async def hand_in(self, step_name: str, folder: Path, result: StepResult) -> None:
        """Send a step's streams: in full when they are longer than a reply (Ours), and where the command asks."""
        client, command_id = self._node.client, self._record.command_id
        for stream in STREAMS:
            path = folder / stream
            size = path.stat().st_size if path.exists() else 0
            if size > STREAM_BYTES and "association_id" not in self._record.accepted:
                await self._try(stream, client.put_output(command_id, step_name, stream, path))
            location = s3.output_location(result, stream)
            if size and location is not None:
                await self._try(stream, client.put_object(location.path, path))
        await self.log(step_name, folder)

    async def log(self, step_name: str, folder: Path) -> None:
        """Send what CloudWatch Logs has not got yet of a step's streams."""
        group = cloudwatch_logs.group_of(json.loads(self._record.accepted["content"]))
        if group is None:
            return
        for stream in STREAMS:
            path = folder / stream
            start = self._logged(step_name, stream)
            if not path.exists() or path.stat().st_size <= start:
                continue
            name = cloudwatch_logs.stream_of(self._record.command_id, self._node.node_id, step_name, stream)
            sent = partial(self._add_logged, step_name, stream)
            await self._try(stream, cloudwatch_logs.send(self._node.client, group, name, path, start, sent))

    async def _try(self, stream: str, sending: Awaitable[None]) -> None:
        try:
            await sending
        except (ServiceFault, HttpFault, OSError) as error:
            log.warning("%s of %s was not handed in: %s", stream, self._record.command_id, error)

    def _logged(self, step_name: str, stream: str) -> int:
        """How far a stream has been sent to CloudWatch Logs."""
        events = self._record.of_kind("logged")
        return max(
            (each["bytes"] for each in events if (each["step"], each["stream"]) == (step_name, stream)), default=0
        )

    def _add_logged(self, step_name: str, stream: str, end: int) -> None:
        self._record.add({"event": "logged", "step": step_name, "stream": stream, "bytes": end}, durable=False)
