"""Tags of objects, over the wire and as rules."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.s3.errors import BadRequest, InvalidArgument, InvalidTag
from fleetward.server.s3.object_tags import read_header, read_set
from tests.storage import refused


def tag_set(**tags: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def test_tags_come_with_the_object_are_replaced_and_taken_away(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1&b=%C3%BC")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tag_set(a="1", b="ü")
    assert s3.head_object(Bucket=bucket, Key="k")["TagCount"] == 2
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tag_set(c="3")})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tag_set(c="3")
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []


def test_a_versions_tags_are_its_own(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging="v=1")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", Tagging="v=2")
    assert s3.get_object_tagging(Bucket=bucket, Key="k", VersionId=first)["TagSet"] == tag_set(v="1")
    s3.put_object_tagging(Bucket=bucket, Key="k", VersionId=first, Tagging={"TagSet": tag_set(v="one")})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tag_set(v="2")


def test_tags_of_what_is_not_there(s3: Any, bucket: str) -> None:
    refused("NoSuchKey", s3.get_object_tagging, 404, Bucket=bucket, Key="none")
    refused("NoSuchKey", s3.put_object_tagging, 404, Bucket=bucket, Key="none", Tagging={"TagSet": tag_set(a="1")})


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([{"Key": "a", "Value": "1"}] * 2, InvalidTag),
        ([{"Key": "", "Value": "1"}], InvalidTag),
        ([{"Key": "k" * 129, "Value": ""}], InvalidTag),
        ([{"Key": "k", "Value": "v" * 257}], InvalidTag),
        ([{"Key": "aws:x", "Value": "1"}], InvalidTag),
        ([{"Key": "a<b>", "Value": "1"}], InvalidTag),
        ([{"Key": f"k{number}", "Value": ""} for number in range(11)], BadRequest),
    ],
)
def test_tags_that_cannot_be(given: list[dict[str, str]], error: type[Exception]) -> None:
    with pytest.raises(error):
        read_set(given)


def test_a_header_of_tags_is_a_query() -> None:
    assert read_header("a=1&b=c%20d&e=") == {"a": "1", "b": "c d", "e": ""}
    assert read_header(None) == {}
    for text in ("a", "=&", "a=1;b"):
        with pytest.raises((InvalidArgument, InvalidTag)):
            read_header(text)
