"""Associations: asks which ones the control plane has released for this node, and runs each of those once (AP 16.1).

The control plane is the only scheduler: what it lists as Pending is to run now. An association of which a run is open
here, or whose end the control plane did not know when it answered, is not run again, whatever the list says.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetward.agent import chance
from fleetward.agent.association_reports import PENDING, TOPIC, AssociationReports
from fleetward.agent.client import ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.journal import is_command_id
from fleetward.agent.node import Node
from fleetward.agent.report import Reply, iso
from fleetward.agent.worker import Worker

log = logging.getLogger("fleetward.associations")

READ_SECONDS = 600.0
READ_JITTER_SECONDS = 30.0
READ_AGAIN_SECONDS = 30.0
PAGE = 20
MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class Association:
    """What the control plane lists of one association."""

    association_id: str
    name: str
    document_version: str
    parameters: Mapping[str, Any]
    bucket: str
    key_prefix: str


class Associations:
    """All associations of this node."""

    def __init__(self, node: Node, worker: Worker, reports: AssociationReports) -> None:
        self._node = node
        self._worker = worker
        self._reports = reports

    async def run(self) -> None:
        """Read them at once, whenever somebody asks, and every ten minutes; tell how they go."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reports.run())
            group.create_task(self._keep_reading())

    async def _keep_reading(self) -> None:
        while True:
            wishes = self._node.refresh.take()
            fault = ""
            try:
                await self.read()
            except (ServiceFault, HttpFault) as error:
                fault = str(error)
                log.warning("the associations cannot be read: %s", error)
            for wish in wishes:
                if not wish.done():
                    wish.set_result(fault)
            pause = READ_AGAIN_SECONDS if fault else READ_SECONDS
            await self._node.refresh.wait(pause + chance.between(0.0, READ_JITTER_SECONDS))

    async def read(self) -> None:
        """Ask what is released and begin it; ServiceFault or HttpFault when that cannot be had."""
        asked_at = asyncio.get_running_loop().time()
        for summary in await self._listed():
            if summary.get("DetailedStatus") != PENDING:
                continue
            association = read_summary(summary)
            if association is None:
                log.warning("an association cannot be read: %s", str(summary)[:300])
            elif self._is_free(association.association_id, asked_at):
                await self._begin(association)

    def _is_free(self, association_id: str, asked_at: float) -> bool:
        return not self._worker.applies(association_id) and self._reports.is_free(association_id, asked_at)

    async def _listed(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        members: dict[str, Any] = {"InstanceId": self._node.node_id, "MaxResults": PAGE}
        for _ in range(MOST_PAGES):
            answer = await self._node.client.ssm("ListInstanceAssociations", members)
            found += answer.get("Associations") or []
            if not answer.get("NextToken"):
                break
            members["NextToken"] = answer["NextToken"]
        return found

    async def _begin(self, association: Association) -> None:
        from fleetward.agent.execution import CommandFault  # documents cost memory, which a node without work saves

        try:
            content = await self._content(association)
        except CommandFault as fault:
            self._tell(association, "Failed", str(fault), "InvalidAssoc")
            return
        except ServiceFault as fault:
            if fault.may_pass:
                raise
            reason = f"document {association.name} cannot be read: {fault}"
            self._tell(association, "Failed", reason, "ListAssocError")
            return
        run_id = f"{association.association_id}-{time.time_ns() // 1_000_000}"
        if not is_command_id(run_id):
            log.warning("%r is no association id", association.association_id[:80])
        elif self._worker.apply(run_id, association.association_id, content) == PENDING:
            self._tell(association, PENDING)

    async def _content(self, association: Association) -> str:
        """The association as a message that sends a command; its document is not kept, for it may change meanwhile."""
        from fleetward.agent.execution import message_of

        members = {"Name": association.name, "DocumentVersion": association.document_version, "DocumentFormat": "JSON"}
        answer = await self._node.client.ssm("GetDocument", members)
        message = message_of(str(answer.get("Content")), association.parameters)
        message |= {
            "AssociationId": association.association_id,
            "DocumentName": association.name,
            "OutputS3BucketName": association.bucket,
            "OutputS3KeyPrefix": association.key_prefix,
        }
        return json.dumps(message)

    def _tell(self, association: Association, status: str, reason: str = "", error_code: str = "") -> None:
        content = {
            "additionalInfo": {"dateTime": iso(time.time())},
            "documentStatus": status,
            "documentTraceOutput": reason,
            "errorCode": error_code,
        }
        self._reports.add(Reply(association.association_id, TOPIC, json.dumps(content), uuid.uuid4()))


def read_summary(summary: Mapping[str, Any]) -> Association | None:
    """An entry of the list; None when it lacks what a run needs."""
    name, association_id = summary.get("Name"), summary.get("AssociationId")
    parameters = summary.get("Parameters") or {}
    if not (isinstance(name, str) and isinstance(association_id, str) and isinstance(parameters, dict)):
        return None
    place = (summary.get("OutputLocation") or {}).get("S3Location") or {}
    return Association(
        association_id=association_id,
        name=name,
        document_version=str(summary.get("DocumentVersion") or "$DEFAULT"),
        parameters=parameters,
        bucket=str(place.get("OutputS3BucketName") or ""),
        key_prefix=str(place.get("OutputS3KeyPrefix") or ""),
    )
