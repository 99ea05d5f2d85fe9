"""What a node says of its associations: UpdateInstanceAssociationStatus, told until the control plane took it (AP 16).

Only the last news of an association waits, so a late report can never follow a final one.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fleetward.agent.client import Client, ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.report import Replies, Reply
from fleetward.protocol.status import DocumentStatus, StepStatus

log = logging.getLogger("fleetward.associations")

TOPIC = "association"
PENDING = "Pending"
LONGEST_SUMMARY_CHARS = 510
POINTLESS = frozenset({"AssociationDoesNotExist", "InvalidInstanceId", "InvalidAssociation", "ValidationException"})

_FINAL = frozenset({"Success", "Failed", "TimedOut", "Skipped", "Cancelled"})


class AssociationReports(Replies):
    """The last news of each association that the control plane does not know yet; `job_id` is the association's id."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self._ended_at: dict[str, float] = {}

    def add(self, reply: Reply) -> None:
        """Tell this instead of what was to be told of the same association."""
        for older in [each for each in self._waiting.values() if each.job_id == reply.job_id]:
            self.stored(older.message_id)
        super().add(reply)

    def is_free(self, association_id: str, since: float) -> bool:
        """Whether nothing is to be told of it, and no end was told since this time of the loop's clock."""
        ended_at = self._ended_at.get(association_id)
        waits = any(each.job_id == association_id for each in self._waiting.values())
        return not waits and (ended_at is None or ended_at < since)

    async def run(self) -> None:
        """Tell, for ever."""
        await self.deliver(self._send)

    async def _send(self, reply: Reply) -> bool:
        result = execution_result(json.loads(reply.content))
        members = {"AssociationId": reply.job_id, "InstanceId": self._client.node_id, "ExecutionResult": result}
        try:
            await self._client.ssm("UpdateInstanceAssociationStatus", members, attempts=1)
        except HttpFault as error:
            log.info("the state of association %s was not told: %s", reply.job_id, error)
            return False
        except ServiceFault as fault:
            log.warning("the state of association %s was refused: %s", reply.job_id, fault)
            if fault.code not in POINTLESS:
                return False
        if result["Status"] in _FINAL:
            self._ended_at[reply.job_id] = asyncio.get_running_loop().time()
        return True


def execution_result(reply: Mapping[str, Any]) -> dict[str, Any]:
    """The ExecutionResult that says what the content of a reply says; told again, it is the same."""
    results: Mapping[str, Mapping[str, Any]] = reply.get("runtimeStatus") or {}
    status = _status(reply, results)
    result: dict[str, Any] = {
        "Status": status,
        "ErrorCode": reply.get("errorCode") or ("ExecutionError" if status == "Failed" else ""),
        "ExecutionDate": datetime.fromisoformat(reply["additionalInfo"]["dateTime"]).timestamp(),
        "ExecutionSummary": _summary(status, reply, results)[:LONGEST_SUMMARY_CHARS],
    }
    for step in results.values():
        if step.get("outputS3BucketName"):
            folder = str(step["outputS3KeyPrefix"]).rpartition("/")[0]  # without the plugin's part
            url = f"{step['outputS3BucketName']}/{folder}"
            return {**result, "OutputUrl": {"S3OutputUrl": {"OutputUrl": url}}}
    return result


def _status(reply: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> str:
    status = str(reply["documentStatus"])
    if status == DocumentStatus.SUCCESS_AND_REBOOT:
        return DocumentStatus.IN_PROGRESS.value
    is_skipped = bool(results) and all(step["status"] == StepStatus.SKIPPED for step in results.values())
    return StepStatus.SKIPPED.value if status == DocumentStatus.SUCCESS and is_skipped else status


def _summary(status: str, reply: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> str:
    trace = str(reply.get("documentTraceOutput") or "")
    if status == PENDING:
        return "Association is pending"
    if not results:
        return trace or "Executing association"
    counts = reply["additionalInfo"]["runtimeStatusCounts"]
    done = sum(counts.values())
    succeeded = counts.get("Success", 0) + counts.get("SuccessAndReboot", 0)
    words = (
        f"{done} out of {done} plugin{'s' if done > 1 else ''} processed, {succeeded} success, "
        f"{counts.get('Failed', 0)} failed, {counts.get('TimedOut', 0)} timedout, {counts.get('Skipped', 0)} skipped. "
    )
    bad = (StepStatus.FAILED, StepStatus.TIMED_OUT)
    return (
        words
        + trace
        + "\n".join(f"{name}: {step['standardError']}" for name, step in results.items() if step["status"] in bad)
    )
