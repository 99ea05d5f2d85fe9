"""Logs: what is put is read, found, kept as long as it is to be and no longer."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import audit, logs
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.logs import reading, removal
from fleetward.server.logs.errors import (
    InvalidParameterException,
    ResourceAlreadyExistsException,
    ResourceNotFoundException,
    TooManyTagsException,
)

pytest_plugins = ["tests.services"]

EVERYWHERE = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
HOUR = 60 * 60 * 1000
DAY = 24 * HOUR
ARN = "arn:aws:logs:us-east-1:123456789012:log-group:"


class Logs:
    """Short ways to call the service as root, or as `caller`."""

    def __init__(self, world: Any) -> None:
        self.world = world
        world.services["logs"] = logs.logs

    def __call__(self, operation: str, caller: Any = "root", **request: Any) -> Any:
        return self.world.call(f"logs:{operation}", request, caller)

    @property
    def now(self) -> int:
        """The present, milliseconds."""
        return int(self.world.clock.now().timestamp() * 1000)

    def make(self, group: str = "g", *streams: str) -> None:
        """A group with streams, by default one called `s`."""
        self("CreateLogGroup", logGroupName=group)
        for stream in streams or ("s",):
            self("CreateLogStream", logGroupName=group, logStreamName=stream)

    def put(self, *events: tuple[int, str], group: str = "g", stream: str = "s") -> Any:
        """Put events whose times count from now."""
        listed = [{"timestamp": self.now + at, "message": message} for at, message in events]
        return self("PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=listed)

    def get(self, **request: Any) -> Any:
        """A page of the stream `s`."""
        return self("GetLogEvents", logGroupName="g", logStreamName="s", **request)

    def filtered(self, **request: Any) -> list[str]:
        """The messages of all pages of FilterLogEvents."""
        found: list[str] = []
        while True:
            page = self("FilterLogEvents", **{"logGroupName": "g", **request})
            found += [event["message"] for event in page["events"]]
            if "nextToken" not in page:
                return found
            request["nextToken"] = page["nextToken"]


def messages(page: Any) -> list[str]:
    """The messages of a page."""
    return [event["message"] for event in page["events"]]


@pytest.fixture
def on(world: Any) -> Logs:
    """The service of `world`."""
    return Logs(world)


@EVERYWHERE
def test_events_are_read_as_they_were_put_in_order_of_time(on: Logs) -> None:
    on.make()
    on.put((-3000, "one"), (-1000, "three"))
    on.put((-2000, "two"), (-1000, "four"))
    page = on.get()
    assert messages(page) == ["one", "two", "three", "four"]
    assert page["events"][0] == {"timestamp": on.now - 3000, "message": "one", "ingestionTime": on.now}
    assert messages(on.get(startTime=on.now - 2000, endTime=on.now - 1000)) == ["two"]
    assert messages(on.get(limit=2)) == ["three", "four"]
    assert messages(on.get(limit=2, startFromHead=True)) == ["one", "two"]


@EVERYWHERE
def test_pages_go_both_ways_and_tokens_stay_at_the_ends(on: Logs) -> None:
    on.make()
    for number in range(25):
        on.put((number * 7 % 25 - 100, f"{number * 7 % 25:02d}"))
    wanted = [f"{number:02d}" for number in range(25)]
    page, found = on.get(limit=4, startFromHead=True), []
    while page["events"]:
        assert len(page["events"]) <= 4
        found += messages(page)
        page = on.get(limit=4, nextToken=page["nextForwardToken"])
    assert found == wanted
    end = page["nextForwardToken"]
    assert on.get(nextToken=end)["nextForwardToken"] == end
    assert messages(on.get(limit=3, nextToken=page["nextBackwardToken"])) == wanted[-3:]
    page, found = on.get(limit=4), []
    while page["events"]:
        found = messages(page) + found
        page = on.get(limit=4, nextToken=page["nextBackwardToken"])
    assert found == wanted
    start = page["nextBackwardToken"]
    assert on.get(nextToken=start)["nextBackwardToken"] == start
    assert messages(on.get(limit=3, nextToken=page["nextForwardToken"])) == wanted[:3]
    on.put((0, "late"))
    assert messages(on.get(nextToken=end)) == ["late"]


def test_a_reader_of_an_empty_stream_sees_what_comes(on: Logs) -> None:
    on.make("g", "True", "False")
    for head in (True, False):
        stream = {"logGroupName": "g", "logStreamName": f"{head}"}
        page = on("GetLogEvents", **stream, startFromHead=head)
        token = page["nextForwardToken"]
        assert page["events"] == []
        assert on("GetLogEvents", **stream, nextToken=token)["nextForwardToken"] == token
        on.put((0, "new"), stream=f"{head}")
        assert messages(on("GetLogEvents", **stream, nextToken=token)) == ["new"]
    for bad in ("nonsense", "f/" + "1" * 46, page["nextForwardToken"][:-1]):
        with pytest.raises(InvalidParameterException, match="nextToken"):
            on("GetLogEvents", **stream, nextToken=bad)


def test_a_page_holds_a_mebibyte_at_most(on: Logs) -> None:
    on.make()
    large = "x" * 400_000
    on.put((-3, large + "1"), (-2, large + "2"))
    on.put((-1, large + "3"))
    first = on.get(startFromHead=True)
    assert [message[-1] for message in messages(first)] == ["1", "2"]
    assert [message[-1] for message in messages(on.get(nextToken=first["nextForwardToken"]))] == ["3"]
    assert [message[-1] for message in on.filtered()] == ["1", "2", "3"]
    assert len(on("FilterLogEvents", logGroupName="g")["events"]) == 2


@EVERYWHERE
def test_a_group_is_searched_over_its_streams_in_order(on: Logs) -> None:
    on.make("g", "a", "b", "web/1", "web/2")
    for stream, offset in (("a", 0), ("b", 1), ("web/1", 2), ("web/2", 3)):
        on.put(*((number * 10 + offset - 1000, f"{stream} {number}") for number in range(5)), stream=stream)
    everything = [f"{stream} {number}" for number in range(5) for stream in ("a", "b", "web/1", "web/2")]
    assert on.filtered() == everything
    assert on.filtered(limit=3) == everything
    assert on.filtered(limit=3, startFromHead=False) == everything[::-1]
    assert on.filtered(logStreamNames=["a", "b", "none"]) == [each for each in everything if each[0] in "ab"]
    assert on.filtered(logStreamNames=["none"]) == []
    assert on.filtered(logStreamNamePrefix="web/", limit=2) == [each for each in everything if each[:4] == "web/"]
    assert on.filtered(filterPattern="3 -a") == ["b 3", "web/1 3", "web/2 3"]
    assert on.filtered(startTime=on.now - 980, endTime=on.now - 979) == ["a 2", "b 2"]
    assert on.filtered(logGroupName="g", interleaved=True, limit=1, filterPattern='"web/1" -4') == [
        f"web/1 {number}" for number in range(4)
    ]
    page = on("FilterLogEvents", logGroupIdentifier=ARN + "g")
    assert len({event["eventId"] for event in page["events"]}) == 20
    assert page["events"][0]["logStreamName"] == "a"
    with pytest.raises(InvalidParameterException):
        on.filtered(logStreamNames=["a"], logStreamNamePrefix="a")
    with pytest.raises(InvalidParameterException, match="filter pattern"):
        on.filtered(filterPattern="foo-bar")
    with pytest.raises(InvalidParameterException, match="nextToken"):
        on("FilterLogEvents", logGroupName="g", nextToken="nonsense")


def test_a_search_looks_at_so_much_at_once_and_goes_on(on: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST_SEARCH_BYTES", 300)
    on.make()
    for number in range(30):
        on.put((number - 100, f"{number:02d}"), (number - 100, "other"))
    page = on("FilterLogEvents", logGroupName="g", filterPattern="29")
    assert (page["events"], "nextToken" in page) == ([], True)
    assert on.filtered(filterPattern="29") == ["29"]
    assert len(on.filtered(filterPattern="-other")) == 30


def test_a_slow_search_goes_on_with_the_next_page(on: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_SEARCH", -1.0)
    on.make()
    on.put(*((number - 100, f"{number:02d}") for number in range(20)))
    assert len(on("FilterLogEvents", logGroupName="g")["events"]) == 1
    assert on.filtered() == [f"{number:02d}" for number in range(20)]
    assert on.filtered(startFromHead=False) == [f"{number:02d}" for number in range(20)][::-1]


def test_what_one_follows_appears_with_the_next_look(on: Logs) -> None:
    """As `aws logs tail --follow` does: again and again from the time of the last event seen."""
    on.make()
    seen: list[str] = []
    since = on.now - 1000
    for number in range(3):
        on.put((0, f"{number}"))
        page = on("FilterLogEvents", logGroupName="g", startTime=since, interleaved=True)
        seen += [message for message in messages(page) if message not in seen]
        since = max(event["timestamp"] for event in page["events"])
        on.world.clock.advance(timedelta(seconds=5))
    assert seen == ["0", "1", "2"]


@EVERYWHERE
def test_events_too_old_or_ahead_are_left_out_and_told(on: Logs) -> None:
    on.make()
    answer = on.put((-15 * DAY, "old"), (-14 * DAY - 1, "old too"), (0, "now"), (2 * HOUR, "ahead"))
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 2}
    assert messages(on.get()) == ["now", "ahead"]
    answer = on.put((0, "again"), (2 * HOUR + 1, "too far"), (9 * HOUR, "far"))
    assert answer["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
    assert on.put((-15 * DAY, "old"))["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    on("PutRetentionPolicy", logGroupName="g", retentionInDays=1)
    answer = on.put((-2 * DAY, "expired"), (0, "last"))
    assert answer["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}
    assert messages(on.get())[:3] == ["now", "again", "last"]


def test_batches_that_cannot_be_taken_are_refused_whole(on: Logs) -> None:
    on.make()
    with pytest.raises(InvalidParameterException, match="chronological"):
        on.put((-1, "b"), (-2, "a"))
    with pytest.raises(InvalidParameterException, match="24 hours"):
        on.put((-25 * HOUR, "a"), (0, "b"))
    with pytest.raises(InvalidParameterException, match="Upload too large: 1048577"):
        on.put((0, "x" * (1_048_576 - 25)))
    assert on.put((0, "x" * (1_048_576 - 26)))["nextSequenceToken"]
    with pytest.raises(InvalidParameterException):
        on.put(*(((0, "x"),) * 10_001))
    for missing in ({"group": "none"}, {"stream": "none"}):
        with pytest.raises(ResourceNotFoundException):
            on.put((0, "x"), **missing)
    assert len(on.get()["events"]) == 1


def test_ten_thousand_events_over_a_day_are_one_batch(on: Logs) -> None:
    on.make()
    on.put(*((number * 8640 - DAY, str(number)) for number in range(10_000)))
    assert len(on.filtered(limit=3000)) == 10_000


@EVERYWHERE
def test_streams_are_listed_by_name_and_by_last_event(on: Logs) -> None:
    on.make("g", "b", "a", "c", "never")
    on.put((-30, "x"), (-20, "x"), stream="a")
    on.put((-10, "xyz"), stream="b")
    on.put((-40, "x"), stream="c")

    def listed(**request: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = on("DescribeLogStreams", logGroupName="g", limit=2, **request)
            found += [each["logStreamName"] for each in page["logStreams"]]
            if "nextToken" not in page:
                return found
            request["nextToken"] = page["nextToken"]

    assert listed() == ["a", "b", "c", "never"]
    assert listed(descending=True) == ["never", "c", "b", "a"]
    assert listed(orderBy="LastEventTime") == ["never", "c", "a", "b"]
    assert listed(orderBy="LastEventTime", descending=True) == ["b", "a", "c", "never"]
    assert listed(logStreamNamePrefix="ne") == ["never"]
    assert listed(logStreamNamePrefix="N") == []
    shown = on("DescribeLogStreams", logGroupName="g", logStreamNamePrefix="a")["logStreams"][0]
    assert (shown["firstEventTimestamp"], shown["lastEventTimestamp"]) == (on.now - 30, on.now - 20)
    assert (shown["storedBytes"], shown["arn"]) == (54, ARN + "g:log-stream:a")
    assert (
        "lastEventTimestamp" not in on("DescribeLogStreams", logGroupName="g", logStreamNamePrefix="n")["logStreams"][0]
    )
    with pytest.raises(InvalidParameterException):
        on("DescribeLogStreams", logGroupName="g", orderBy="LastEventTime", logStreamNamePrefix="a")
    with pytest.raises(ResourceAlreadyExistsException):
        on("CreateLogStream", logGroupName="g", logStreamName="a")


@EVERYWHERE
def test_groups_are_listed_by_prefix_part_and_page(on: Logs) -> None:
    names = ["/aws/ssm/A", "/aws/ssm/B", "/aws/x", "Own", "own"]
    for name in names:
        on("CreateLogGroup", logGroupName=name, tags={"name": "x"})

    def listed(operation: str = "DescribeLogGroups", **request: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = on(operation, limit=2, **request)
            found += [each["logGroupName"] for each in page["logGroups"]]
            if "nextToken" not in page:
                return found
            request["nextToken"] = page["nextToken"]

    assert sorted(listed()) == sorted(names)
    assert listed(logGroupNamePrefix="/aws/ssm/") == names[:2]
    assert listed(logGroupNamePrefix="/AWS") == []
    assert listed(logGroupNamePattern="ssm") == names[:2]
    assert listed(logGroupNamePattern="own") == ["own"]
    assert sorted(listed("ListLogGroups", logGroupNamePattern="^/aws|own")) == [
        "/aws/ssm/A",
        "/aws/ssm/B",
        "/aws/x",
        "own",
    ]
    named = on("DescribeLogGroups", logGroupIdentifiers=["own", ARN + "Own", "none"])["logGroups"]
    assert {each["logGroupName"] for each in named} == {"own", "Own"}
    shown = on("DescribeLogGroups", logGroupNamePrefix="own")["logGroups"][0]
    assert (shown["arn"], shown["logGroupArn"], shown["storedBytes"]) == (ARN + "own:*", ARN + "own", 0)
    for request in ({"logGroupNamePrefix": "a", "logGroupNamePattern": "b"}, {"nextToken": "nonsense"}):
        with pytest.raises(InvalidParameterException):
            on("DescribeLogGroups", **request)
    with pytest.raises(ResourceAlreadyExistsException):
        on("CreateLogGroup", logGroupName="own")
    for request in ({"kmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/x"}, {"logGroupClass": "DELIVERY"}):
        with pytest.raises(InvalidParameterException, match="not offered"):
            on("CreateLogGroup", logGroupName="other", **request)


def rows(world: Any) -> int:
    """How many rows the service has."""
    from fleetward.server.schema import metadata

    tables = [table for name, table in metadata.tables.items() if name.startswith("logs_")]
    return int(world.do(lambda call: sum(len(call.db.all(table.select())) for table in tables)))


@EVERYWHERE
def test_a_deleted_group_is_gone_at_once_and_its_rows_soon(on: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "CHUNK", 500)
    on.make()
    for number in range(3):
        on.put((number, "old"))
    on("DeleteLogGroup", logGroupName="g")
    with pytest.raises(ResourceNotFoundException):
        on.get()
    on.make()
    assert on.filtered() == []
    on.put((0, "new"))
    for _ in range(20):
        if on.world.do(removal.remove) is not True:
            break
    assert on.filtered() == ["new"]
    assert rows(on.world) == 3
    with pytest.raises(ResourceNotFoundException):
        on("DeleteLogGroup", logGroupName="none")


@EVERYWHERE
def test_a_deleted_stream_takes_its_events_along(on: Logs) -> None:
    on.make("g", "a", "b")
    on.put((0, "of a"), stream="a")
    on.put((0, "of b"), stream="b")
    on("DeleteLogStream", logGroupName="g", logStreamName="a")
    assert on.filtered() == ["of b"]
    on("CreateLogStream", logGroupName="g", logStreamName="a")
    assert on.filtered() == ["of b"]
    while on.world.do(removal.remove):
        pass
    assert on.filtered() == ["of b"]
    assert rows(on.world) == 4
    assert on("DescribeLogGroups")["logGroups"][0]["storedBytes"] == 30


@EVERYWHERE
def test_retention_hides_at_once_and_removes_soon(on: Logs) -> None:
    on.make()
    on.put((0, "first"))
    on.world.clock.advance(timedelta(days=2))
    on.put((0, "second"))
    on.world.do(removal.expire)
    assert on.filtered() == ["first", "second"]
    on("PutRetentionPolicy", logGroupName="g", retentionInDays=1)
    assert on("DescribeLogGroups")["logGroups"][0]["retentionInDays"] == 1
    assert (on.filtered(), messages(on.get())) == (["second"], ["second"])
    assert rows(on.world) == 4
    on.world.do(removal.expire)
    assert rows(on.world) == 3
    assert on("DescribeLogGroups")["logGroups"][0]["storedBytes"] == 32
    on("DeleteRetentionPolicy", logGroupName="g")
    on.world.clock.advance(timedelta(days=900))
    on.world.do(removal.expire)
    assert on.filtered() == ["second"]
    with pytest.raises(InvalidParameterException, match="one of"):
        on("PutRetentionPolicy", logGroupName="g", retentionInDays=2)


def test_retention_goes_on_by_itself_every_hour(on: Logs) -> None:
    on.make()
    on("PutRetentionPolicy", logGroupName="g", retentionInDays=1)
    on.put((0, "x"))
    on.world.do(removal.expire)
    for _ in range(26):
        on.world.clock.advance(timedelta(hours=1))
        on.world.do(removal.expire)
    assert rows(on.world) == 2


def test_a_protected_group_stays(on: Logs) -> None:
    on("CreateLogGroup", logGroupName="g", deletionProtectionEnabled=True)
    with pytest.raises(ValidationException, match="protected"):
        on("DeleteLogGroup", logGroupName="g")
    on("PutLogGroupDeletionProtection", logGroupIdentifier=ARN + "g", deletionProtectionEnabled=False)
    on("DeleteLogGroup", logGroupName="g")
    assert on("DescribeLogGroups")["logGroups"] == []


def test_tags_by_the_operations_of_today_and_of_old(on: Logs) -> None:
    on("CreateLogGroup", logGroupName="g", tags={"a": "1"})
    on("TagResource", resourceArn=ARN + "g", tags={"b": "2", "a": "3"})
    on("TagLogGroup", logGroupName="g", tags={"c": "4"})
    assert on("ListTagsForResource", resourceArn=ARN + "g")["tags"] == {"a": "3", "b": "2", "c": "4"}
    on("UntagResource", resourceArn=ARN + "g", tagKeys=["a"])
    on("UntagLogGroup", logGroupName="g", tags=["b", "none"])
    assert on("ListTagsLogGroup", logGroupName="g")["tags"] == {"c": "4"}
    many = {f"key{number}": "" for number in range(50)}
    with pytest.raises(TooManyTagsException):
        on("TagResource", resourceArn=ARN + "g", tags=many)
    with pytest.raises(InvalidParameterException):
        on("TagLogGroup", logGroupName="g", tags=many)
    with pytest.raises(InvalidParameterException, match="reserved"):
        on("TagLogGroup", logGroupName="g", tags={"aws:x": "y"})
    for arn, error in (
        (ARN + "none", ResourceNotFoundException),
        (ARN.replace("us-east-1", "eu-west-1") + "g", ResourceNotFoundException),
        ("arn:aws:s3:::bucket", InvalidParameterException),
        ("g", InvalidParameterException),
    ):
        with pytest.raises(error):
            on("ListTagsForResource", resourceArn=arn)


@EVERYWHERE
def test_capabilities_append_without_making_anything_first(on: Logs) -> None:
    events = [(on.now - 5, "second"), (on.now - 10, "first")]
    on.world.do(lambda call: logs.append(call, "g", "s", events))
    on.world.do(lambda call: logs.append(call, "g", "s", [(on.now, "third"), (on.now, "")]))
    assert messages(on.get()) == ["first", "second", "third"]
    with pytest.raises(InvalidParameterException):
        on.world.do(lambda call: logs.append(call, "g", "s", [(on.now, "x" * 1_048_576)]))


# -- who may -----------------------------------------------------------------------------------------------------------


def test_policies_name_groups_and_streams_as_with_aws(on: Logs) -> None:
    on.make("g", "s", "t")
    on("TagLogGroup", logGroupName="g", tags={"team": "blue"})

    def may(resource: str, operation: str, condition: dict[str, Any] | None = None, **request: Any) -> bool:
        statement = {"Effect": "Allow", "Action": "logs:*", "Resource": resource, "Condition": condition or {}}
        try:
            on(operation, on.world.as_role(statement), **request)
        except AccessDeniedException:
            return False
        return True

    stream = {"logGroupName": "g", "logStreamName": "s"}
    whole, one = ARN + "g:*", ARN + "g:log-stream:s"
    assert [may(each, "GetLogEvents", **stream) for each in (whole, one, ARN + "g", ARN + "other:*")] == [
        True,
        True,
        False,
        False,
    ]
    assert not may(one, "GetLogEvents", logGroupName="g", logStreamName="t")
    assert [may(each, "FilterLogEvents", logGroupName="g") for each in (whole, one)] == [True, False]
    assert [may(each, "ListTagsForResource", resourceArn=ARN + "g") for each in (ARN + "g", ARN + "other")] == [
        True,
        False,
    ]
    assert [may(each, "DescribeLogGroups") for each in ("*", whole)] == [True, False]
    blue = {"StringEquals": {"aws:ResourceTag/team": "blue"}}
    assert may("*", "GetLogEvents", blue, **stream)
    on("UntagLogGroup", logGroupName="g", tags=["team"])
    assert not may("*", "GetLogEvents", blue, **stream)
    create = {"Effect": "Allow", "Action": "logs:CreateLogGroup", "Resource": "*"}
    on("CreateLogGroup", on.world.as_role(create), logGroupName="plain")
    with pytest.raises(AccessDeniedException, match="logs:TagResource"):
        on("CreateLogGroup", on.world.as_role(create), logGroupName="tagged", tags={"a": "b"})


def test_a_node_writes_only_where_its_role_lets_it(on: Logs) -> None:
    on.make()
    with pytest.raises(AccessDeniedException):
        on("GetLogEvents", "mi-00000000000000001", logGroupName="g", logStreamName="s")
    with pytest.raises(AccessDeniedException):
        on("DeleteLogGroup", "mi-00000000000000001", logGroupName="g")


def test_the_audit_trail_never_shows_events() -> None:
    from fleetward.protocol.api.model import load_service

    request = {"logGroupName": "g", "logEvents": [{"timestamp": 1, "message": "S3CRET"}]}
    shown = json.dumps(audit.redact(load_service("logs").operations["PutLogEvents"].input, request))
    assert "S3CRET" not in shown
    assert '"g"' in shown
