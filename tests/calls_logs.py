"""One valid call of every operation on logs; `tests/calls.py` reads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.serving import ACCOUNT, REGION


def group(stage: Any) -> dict[str, Any]:
    """A new group."""
    name = f"/calls/{stage.name()}"
    stage.root_of("logs", "CreateLogGroup", logGroupName=name)
    return {"logGroupName": name}


def stream(stage: Any) -> dict[str, Any]:
    """A new stream of a new group."""
    request = {**group(stage), "logStreamName": "stream"}
    stage.root_of("logs", "CreateLogStream", **request)
    return request


def arn(stage: Any) -> str:
    """The ARN of a new group."""
    return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group(stage)['logGroupName']}"


def events(*messages: str) -> list[dict[str, Any]]:
    """Events of now."""
    return [{"timestamp": int(time.time() * 1000), "message": message} for message in messages]


def filled(stage: Any) -> dict[str, Any]:
    """A stream with events."""
    request = stream(stage)
    stage.root_of("logs", "PutLogEvents", **request, logEvents=events("one", "two"))
    return request


LOGS_CALLS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "logs:CreateLogGroup": lambda stage: {"logGroupName": f"/calls/{stage.name()}", "tags": {"a": "b"}},
    "logs:DeleteLogGroup": group,
    "logs:DescribeLogGroups": lambda stage: {"logGroupNamePrefix": "/calls", "limit": 5},
    "logs:ListLogGroups": lambda stage: {"logGroupNamePattern": "^/calls", "limit": 5},
    "logs:PutLogGroupDeletionProtection": lambda stage: {
        "logGroupIdentifier": arn(stage),
        "deletionProtectionEnabled": True,
    },
    "logs:CreateLogStream": lambda stage: {**group(stage), "logStreamName": "stream"},
    "logs:DeleteLogStream": stream,
    "logs:DescribeLogStreams": lambda stage: {**group(stage), "logStreamNamePrefix": "s", "limit": 5},
    "logs:PutLogEvents": lambda stage: {**stream(stage), "logEvents": events("hello")},
    "logs:GetLogEvents": lambda stage: {**filled(stage), "startFromHead": True, "limit": 5},
    "logs:FilterLogEvents": lambda stage: {
        "logGroupName": filled(stage)["logGroupName"],
        "filterPattern": "one",
        "logStreamNames": ["stream"],
        "limit": 5,
    },
    "logs:PutRetentionPolicy": lambda stage: {**group(stage), "retentionInDays": 7},
    "logs:DeleteRetentionPolicy": group,
    "logs:TagLogGroup": lambda stage: {**group(stage), "tags": {"a": "b"}},
    "logs:UntagLogGroup": lambda stage: {**group(stage), "tags": ["a"]},
    "logs:ListTagsLogGroup": group,
    "logs:TagResource": lambda stage: {"resourceArn": arn(stage), "tags": {"a": "b"}},
    "logs:UntagResource": lambda stage: {"resourceArn": arn(stage), "tagKeys": ["a"]},
    "logs:ListTagsForResource": lambda stage: {"resourceArn": arn(stage)},
}
