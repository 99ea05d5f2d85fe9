"""Answers: what virtual nodes tell about themselves and about the commands that they did not run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from fleetward import __version__
from fleetward.testing.virtual_fleet.identity import NodeIdentity

AGENT_NAME = "fleetward-simulator"
AGENT_VERSION = ".".join([*__version__.split("."), "0", "0", "0"][:4])
SIMULATED = "This node is simulated: nothing was run.\n"


class Answers:
    """The replies to one command, rendered but for the job's id: in progress, then the result."""

    def __init__(self, content: str, output: str) -> None:
        document = orjson.loads(content).get("DocumentContent") or {}
        steps = [(step["name"], step["action"]) for step in document.get("mainSteps", [])]
        steps = steps or [(name, name) for name in document.get("runtimeConfig", {})]
        self.begun = reply_parts("InProgress", None)
        self.ended = reply_parts("Success", {name: _step(action, "Success", 0, output) for name, action in steps})
        self.cancelled = reply_parts("Cancelled", {name: _step(action, "Cancelled", 137, "") for name, action in steps})


def heartbeat_request(identity: NodeIdentity, channel: str, address: str) -> dict[str, Any]:
    """What a virtual node tells about itself."""
    return {
        "AgentName": AGENT_NAME,
        "AgentStatus": "Active",
        "AgentVersion": AGENT_VERSION,
        "AvailabilityZone": "",
        "AvailabilityZoneId": "",
        "ComputerName": identity.computer_name,
        "IPAddress": address,
        "InstanceId": identity.node_id,
        "PlatformName": "Simulated",
        "PlatformType": "Linux",
        "PlatformVersion": "1",
        "SSMConnectionChannel": channel,
    }


def _step(action: str, status: str, code: int, output: str) -> dict[str, Any]:
    moment = _iso_now()
    return {
        "status": status,
        "code": code,
        "name": action,
        "output": output,
        "startDateTime": moment,
        "endDateTime": moment,
        "outputS3BucketName": "",
        "outputS3KeyPrefix": "",
        "stepName": "",
        "standardOutput": output,
        "standardError": "",
    }


def reply_parts(status: str, steps: dict[str, Any] | None) -> tuple[bytes, bytes]:
    """The payload of a reply, cut at the place where the job's id goes."""
    content = orjson.dumps(
        {
            "additionalInfo": {
                "agent": {"lang": "en-US", "name": AGENT_NAME, "os": "linux", "osver": "1", "ver": AGENT_VERSION},
                "dateTime": _iso_now(),
                "runId": "",
                "runtimeStatusCounts": {status: len(steps)} if steps else {},
            },
            "documentStatus": status,
            "documentTraceOutput": "",
            "runtimeStatus": steps,
        }
    ).decode()
    rest = orjson.dumps({"content": content, "topic": "aws.ssm.sendCommand"})
    return b'{"schemaVersion":1,"jobId":"', b'",' + rest[1:]


def _iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")[:23] + "Z"


BEGUN_CANCEL = reply_parts("InProgress", None)
