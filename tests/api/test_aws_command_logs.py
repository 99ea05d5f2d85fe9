"""The `aws` command drives every operation on logs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetward.server import logs
from tests.api.test_aws_command import Aws, aws  # noqa: F401  (a fixture)
from tests.calls_logs import events
from tests.serving import ACCOUNT, REGION


def groups(aws: Aws) -> None:  # noqa: F811
    name = f"/cli/{aws.stage.name()}"
    aws("logs create-log-group", log_group_name=name)
    aws("logs put-retention-policy", log_group_name=name, retention_in_days="7")
    (shown,) = aws("logs describe-log-groups", log_group_name_prefix=name)["logGroups"]
    assert (shown["logGroupName"], shown["retentionInDays"]) == (name, 7)
    aws("logs delete-retention-policy", log_group_name=name)
    assert "retentionInDays" not in aws("logs describe-log-groups", log_group_name_prefix=name)["logGroups"][0]
    listed = aws("logs list-log-groups", log_group_name_pattern="^/cli/")["logGroups"]
    assert name in [each["logGroupName"] for each in listed]
    protection = {"log_group_identifier": shown["logGroupArn"]}
    aws("logs put-log-group-deletion-protection", **protection, deletion_protection_enabled=True)
    assert aws("logs describe-log-groups", log_group_name_prefix=name)["logGroups"][0]["deletionProtectionEnabled"]
    aws("logs put-log-group-deletion-protection --no-deletion-protection-enabled", **protection)
    aws("logs delete-log-group", log_group_name=name)
    assert aws("logs describe-log-groups", log_group_name_prefix=name)["logGroups"] == []


def tags(aws: Aws) -> None:  # noqa: F811
    name = f"/cli/{aws.stage.name()}"
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}"
    aws("logs create-log-group", log_group_name=name, tags={"a": "b"})
    aws("logs tag-resource", resource_arn=arn, tags={"c": "d"})
    aws("logs tag-log-group", log_group_name=name, tags={"e": "f"})
    assert aws("logs list-tags-for-resource", resource_arn=arn)["tags"] == {"a": "b", "c": "d", "e": "f"}
    aws("logs untag-resource", resource_arn=arn, tag_keys=["a"])
    aws("logs untag-log-group", log_group_name=name, tags=["c"])
    assert aws("logs list-tags-log-group", log_group_name=name)["tags"] == {"e": "f"}


def log_events(aws: Aws) -> None:  # noqa: F811
    names = {"log_group_name": f"/cli/{aws.stage.name()}", "log_stream_name": "one"}
    aws("logs create-log-group", log_group_name=names["log_group_name"])
    aws("logs create-log-stream", **names)
    aws("logs put-log-events", **names, log_events=events("first", "second"))
    assert [each["message"] for each in aws("logs get-log-events", **names)["events"]] == ["first", "second"]
    found = aws("logs filter-log-events", log_group_name=names["log_group_name"], filter_pattern="second")["events"]
    assert [(each["logStreamName"], each["message"]) for each in found] == [("one", "second")]
    (shown,) = aws("logs describe-log-streams", log_group_name=names["log_group_name"])["logStreams"]
    assert shown["lastEventTimestamp"] <= time.time() * 1000
    aws("logs delete-log-stream", **names)
    assert aws("logs describe-log-streams", log_group_name=names["log_group_name"])["logStreams"] == []


JOURNEYS: tuple[Callable[[Aws], None], ...] = (groups, tags, log_events)


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.__name__)
def test_the_aws_command_drives(aws: Aws, journey: Callable[[Aws], None]) -> None:  # noqa: F811
    """Each journey calls operations and sees their effect through others."""
    journey(aws)


def test_every_operation_is_driven() -> None:
    """What the journeys call is all that is offered."""
    driven = {name.replace("-", "") for name in re.findall(r'aws\(\s*"logs ([a-z-]+)', Path(__file__).read_text())}
    assert driven == {name.lower() for name in logs.logs.operations}


def test_paginators_find_everything_once(aws: Aws) -> None:  # noqa: F811
    """Groups, streams and events: small pages give what one large page gives."""
    stage = aws.stage
    group = {"logGroupName": f"/paged/{stage.name()}"}
    stage.root_of("logs", "CreateLogGroup", **group)
    for stream in "abc":
        stage.root_of("logs", "CreateLogStream", **group, logStreamName=stream)
        stage.root_of("logs", "PutLogEvents", **group, logStreamName=stream, logEvents=events("x", "y", "z"))
    client = stage.server.client("logs")
    for operation, member, request in (
        ("describe_log_streams", "logStreams", group),
        ("filter_log_events", "events", group),
        ("describe_log_groups", "logGroups", {}),
    ):
        paginator = client.get_paginator(operation)
        small = [page[member] for page in paginator.paginate(**request, PaginationConfig={"PageSize": 2})]
        whole = [
            each for page in paginator.paginate(**request, PaginationConfig={"PageSize": 50}) for each in page[member]
        ]
        assert len(small) > 1
        assert [each for page in small for each in page] == whole
