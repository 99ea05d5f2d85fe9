"""The road by polling (ec2messages), taken while the control channel does not open (AP 9)."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from fleetward.agent import chance
from fleetward.agent.client import Client, ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.report import Replies, Reply
from fleetward.agent.worker import Worker
from fleetward.protocol.control_channel import AckCode

log = logging.getLogger("fleetward.polling")

LONG_POLL_SECONDS = 25.0
VISIBILITY_SECONDS = 10
LONGEST_PAUSE_SECONDS = 60.0

_TAKEN = frozenset({AckCode.SUCCESSFUL, AckCode.DUPLICATE_COMMAND})
_LATER = frozenset({AckCode.PROCESSOR_BUFFER_FULL, AckCode.CLOSED_PROCESSOR})


class Polling:
    """Asks for messages and sends replies by plain calls; `start` and `stop` as often as needed."""

    def __init__(self, client: Client, worker: Worker, replies: Replies) -> None:
        self._client = client
        self._worker = worker
        self._replies = replies
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether this road is taken."""
        return self._task is not None

    def start(self) -> None:
        """Take this road."""
        if self._task is None:
            log.info("polling for messages")
            self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Leave it; a message that was just handed out comes again, and is known by its id."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        delivering = asyncio.create_task(self._replies.deliver(self._send_reply))
        try:
            await self._poll()
        finally:
            delivering.cancel()

    async def _poll(self) -> None:
        failures = 0
        request_id = str(uuid.uuid4())
        while True:
            members = {
                "Destination": self._client.node_id,
                "MessagesRequestId": request_id,
                "VisibilityTimeoutInSeconds": VISIBILITY_SECONDS,
            }
            loop = asyncio.get_running_loop()
            begun = loop.time()
            try:
                answer = await self._client.messages("GetMessages", members, seconds=LONG_POLL_SECONDS, attempts=1)
                for message in answer.get("Messages") or []:
                    await self._take(message)
            except (HttpFault, ServiceFault) as error:
                failures += 1
                log.info("polling failed: %s", error)
                pause = min(2.0**failures, LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause * chance.between(0.5, 1.0))
                continue  # the same request id: what was handed out to a dead connection is handed out again
            failures = 0
            request_id = str(uuid.uuid4())
            if loop.time() - begun < 1.0 and not answer.get("Messages"):
                await asyncio.sleep(chance.between(2.0, 2.5))

    async def _take(self, message: dict[str, Any]) -> None:
        message_id, topic, payload = (message.get(name) for name in ("MessageId", "Topic", "Payload"))
        if not (isinstance(message_id, str) and isinstance(topic, str) and isinstance(payload, str)):
            log.warning("a message cannot be read")
            return
        ack = self._worker.receive(message_id, topic, payload)
        if ack.code in _TAKEN or ack.code is AckCode.AGENT_JOB_MESSAGE_PARSE_ERROR:
            await self._client.messages("AcknowledgeMessage", {"MessageId": message_id})
        elif ack.code not in _LATER:  # later: it comes again once its visibility time is over
            failure = {"MessageId": message_id, "FailureType": "InternalHandlerException"}
            await self._client.messages("FailMessage", failure)

    async def _send_reply(self, reply: Reply) -> bool:
        members = {"MessageId": reply.job_id, "Payload": reply.content, "ReplyId": str(reply.message_id)}
        try:
            await self._client.messages("SendReply", members, attempts=1)
        except HttpFault as error:
            log.info("a reply was not sent: %s", error)
            return False
        except ServiceFault as fault:
            log.info("a reply was refused: %s", fault)
            return False
        return True
