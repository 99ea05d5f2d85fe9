"""Lifecycle: the rules alone, and a job that carries them out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetward.server.s3.errors import InvalidArgument, InvalidRequest, MalformedXML
from fleetward.server.s3.lifecycle import Action, Facts, action_for, check, due
from tests.server.s3.conftest import Core

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


def facts(**changes: Any) -> Facts:
    given: dict[str, Any] = {
        "key": "logs/a", "size_bytes": 100, "tags": {"a": "1"}, "is_marker": False,
        "modified_at": NOW - timedelta(days=20), "superseded_at": None, **changes,
    }  # fmt: skip
    return Facts(**given)


def rule(**changes: Any) -> dict[str, Any]:
    return {"ID": "r", "Status": "Enabled", "Filter": {}, **changes}


EXPIRE, REMOVE = Action.EXPIRE, Action.REMOVE


@pytest.mark.parametrize(
    ("rules", "changes", "expected"),
    [
        ([rule(Expiration={"Days": 10})], {}, EXPIRE),
        ([rule(Expiration={"Days": 20})], {}, None),  # at the midnight that follows
        ([rule(Expiration={"Days": 19})], {}, EXPIRE),
        ([rule(Expiration={"Days": 10}, Status="Disabled")], {}, None),
        ([rule(Expiration={"Date": "2030-01-31T00:00:00+00:00"})], {}, EXPIRE),
        ([rule(Expiration={"Date": "2030-02-01T00:00:00+00:00"})], {}, None),
        ([rule(Expiration={"Days": 1}, Filter={"Prefix": "logs/"})], {}, EXPIRE),
        ([rule(Expiration={"Days": 1}, Filter={"Prefix": "other/"})], {}, None),
        ([rule(Expiration={"Days": 1}, Filter={"Tag": {"Key": "a", "Value": "1"}})], {}, EXPIRE),
        ([rule(Expiration={"Days": 1}, Filter={"Tag": {"Key": "a", "Value": "2"}})], {}, None),
        ([rule(Expiration={"Days": 1}, Filter={"ObjectSizeGreaterThan": 100})], {}, None),
        ([rule(Expiration={"Days": 1}, Filter={"And": {"Prefix": "logs/", "ObjectSizeLessThan": 101}})], {}, EXPIRE),
        ([rule(Expiration={"Days": 1})], {"is_marker": True, "alone": True}, REMOVE),
        ([rule(Expiration={"Days": 1})], {"is_marker": True}, None),
        ([rule(Expiration={"ExpiredObjectDeleteMarker": True})], {"is_marker": True, "alone": True}, REMOVE),
        ([rule(Expiration={"ExpiredObjectDeleteMarker": True})], {}, None),
        ([rule(NoncurrentVersionExpiration={"NoncurrentDays": 5})], {"superseded_at": NOW - timedelta(days=9)}, REMOVE),
        ([rule(NoncurrentVersionExpiration={"NoncurrentDays": 9})], {"superseded_at": NOW - timedelta(days=9)}, None),
        (
            [rule(NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 2})],
            {"superseded_at": NOW - timedelta(days=9), "newer": 1},
            None,
        ),
        ([rule(NoncurrentVersionExpiration={"NoncurrentDays": 1})], {}, None),
        ([rule(Expiration={"Days": 1})], {"superseded_at": NOW - timedelta(days=9)}, None),
    ],
)
def test_what_rules_ask_for(rules: list[dict[str, Any]], changes: dict[str, Any], expected: Action | None) -> None:
    assert action_for(rules, facts(**changes), NOW) is expected


def test_days_end_at_the_next_midnight() -> None:
    assert due(datetime(2030, 1, 1, 10, 30, tzinfo=UTC), 3) == datetime(2030, 1, 5, tzinfo=UTC)
    assert due(datetime(2030, 1, 1, tzinfo=UTC), 3) == datetime(2030, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        ([], MalformedXML),
        ([rule()], InvalidRequest),
        ([rule(Expiration={"Days": 0})], InvalidArgument),
        ([rule(Expiration={"Days": 1, "Date": NOW})], MalformedXML),
        ([rule(Expiration={"Date": NOW})], InvalidArgument),
        ([rule(Expiration={"Days": 1}, Status="Maybe")], MalformedXML),
        ([rule(Expiration={"Days": 1}, Prefix="a")], MalformedXML),
        ([rule(Expiration={"Days": 1}), rule(Expiration={"Days": 2})], InvalidArgument),
        ([rule(ID="x" * 256, Expiration={"Days": 1})], InvalidArgument),
    ],
)
def test_rules_that_a_bucket_cannot_have(rules: list[dict[str, Any]], error: type[Exception]) -> None:
    with pytest.raises(error):
        check(rules, lambda: "id")


def put_rules(core: Core, *rules: dict[str, Any]) -> None:
    core.run("PutBucketLifecycleConfiguration", Bucket="bucket-b", LifecycleConfiguration={"Rules": list(rules)})


def carry_out(core: Core) -> None:
    core.timer("lifecycle.look")
    assert core.jobs("s3-lifecycle") == 1


def test_what_is_old_enough_expires_and_the_rest_stays(core: Core) -> None:
    put_rules(core, rule(Expiration={"Days": 10}, Filter={"Prefix": "logs/"}))
    core.put("logs/old")
    core.put("data/old")
    core.world.clock.advance(timedelta(days=11))
    core.put("logs/new")
    carry_out(core)
    assert core.listed() == ["data/old", "logs/new"]


def test_older_versions_go_and_the_current_one_stays(core: Core) -> None:
    core.run("PutBucketVersioning", Bucket="bucket-b", VersioningConfiguration={"Status": "Enabled"})
    rules = {"NoncurrentDays": 5, "NewerNoncurrentVersions": 1}
    put_rules(core, rule(NoncurrentVersionExpiration=rules))
    for number in range(4):
        core.put("k", b"%d" % number)
        core.world.clock.advance(timedelta(days=1))
    core.world.clock.advance(timedelta(days=30))
    carry_out(core)
    left = core.run("ListObjectVersions", Bucket="bucket-b")["Versions"]
    assert [each["IsLatest"] for each in left] == [True, False]


def test_expiry_marks_where_versions_are_kept_and_the_lone_marker_goes_later(core: Core) -> None:
    core.run("PutBucketVersioning", Bucket="bucket-b", VersioningConfiguration={"Status": "Enabled"})
    put_rules(core, rule(Expiration={"Days": 5}, NoncurrentVersionExpiration={"NoncurrentDays": 5}))
    core.put("k")
    core.world.clock.advance(timedelta(days=7))
    carry_out(core)
    shown = core.run("ListObjectVersions", Bucket="bucket-b")
    assert (len(shown["Versions"]), len(shown["DeleteMarkers"])) == (1, 1)
    for _ in range(2):
        core.world.clock.advance(timedelta(days=7))
        carry_out(core)
    shown = core.run("ListObjectVersions", Bucket="bucket-b")
    assert "Versions" not in shown
    assert "DeleteMarkers" not in shown


def test_unfinished_uploads_are_aborted(core: Core) -> None:
    put_rules(core, rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 3}))
    core.run("CreateMultipartUpload", Bucket="bucket-b", Key="k")
    core.world.clock.advance(timedelta(days=2))
    young = core.run("CreateMultipartUpload", Bucket="bucket-b", Key="k")["UploadId"]
    core.world.clock.advance(timedelta(days=2, hours=1))
    carry_out(core)
    left = core.run("ListMultipartUploads", Bucket="bucket-b")["Uploads"]
    assert [each["UploadId"] for each in left] == [young]


def test_more_objects_than_one_step_takes_all_expire(core: Core) -> None:
    put_rules(core, rule(Expiration={"Days": 1}))
    stored = core.store(b"x")
    for number in range(650):
        core.put(f"k{number:04}", b"") if number == 0 else core.run(
            "CopyObject", Bucket="bucket-b", Key=f"k{number:04}", CopySource="bucket-b/k0000"
        )
    assert stored.size_bytes == 1
    core.world.clock.advance(timedelta(days=3))
    carry_out(core)
    assert core.listed() == []
