"""S3 as the agent sees it: what addresses mean, where output goes, what a listing says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.agent.report import NOWHERE
from fleetward.agent.s3 import BadLocation, Location, locate, output_location, output_members, read_listing
from fleetward.protocol.document import parse, plan

OWN = "fleet.example"


@pytest.mark.parametrize(
    ("address", "bucket", "key"),
    [
        ("https://s3.amazonaws.com/bucket/a/b.sh", "bucket", "a/b.sh"),
        ("https://s3.eu-west-1.amazonaws.com/bucket/a", "bucket", "a"),
        ("https://s3-eu-west-1.amazonaws.com/bucket/a", "bucket", "a"),
        ("https://s3.dualstack.eu-west-1.amazonaws.com/bucket/a", "bucket", "a"),
        ("https://my.bucket.s3.eu-west-1.amazonaws.com/a%20b", "my.bucket", "a b"),
        ("https://bucket.s3.amazonaws.com/", "bucket", ""),
        ("https://fleet.example:8443/bucket/folder/", "bucket", "folder/"),
        ("s3://bucket/folder/key", "bucket", "folder/key"),
    ],
)
def test_addresses_name_bucket_and_key(address: str, bucket: str, key: str) -> None:
    found = locate(address, OWN)
    assert (found.bucket, found.key) == (bucket, key)
    assert found.is_folder == (key == "" or key.endswith("/"))


@pytest.mark.parametrize(
    "address",
    [
        None,
        7,
        "",
        "x",
        "ftp://s3.amazonaws.com/bucket/a",
        "https://other.example/bucket/a",
        "https://amazonaws.com/b/a",
        "https://s3.amazonaws.com/",
        "https://s3.amazonaws.com/B/a",
        "s3://../a",
        "https://s3.amazonaws.com.evil.com/bucket/a",
    ],
)
def test_other_addresses_are_refused(address: Any) -> None:
    with pytest.raises(BadLocation):
        locate(address, OWN)


def test_output_lies_where_the_official_agent_puts_it() -> None:
    document = parse(
        {
            "schemaVersion": "2.2",
            "description": "d",
            "mainSteps": [{"action": "aws:runShellScript", "name": "say", "inputs": {"runCommand": ["true"]}}],
        }
    )
    (step,) = plan(document, {}, "Linux", {"aws:runShellScript"})
    content = {"OutputS3BucketName": "bucket", "OutputS3KeyPrefix": "/pre/fix/"}
    members = output_members(content, "mi-1", "c-1", document.schema_version, step)
    assert members == {
        "outputS3BucketName": "bucket",
        "outputS3KeyPrefix": "pre/fix/c-1/mi-1/awsrunShellScript",
        "stepName": "say",
    }
    assert output_location(members, "stdout") == Location("bucket", "pre/fix/c-1/mi-1/awsrunShellScript/say/stdout")
    nowhere = output_members({"OutputS3BucketName": ""}, "mi-1", "c-1", document.schema_version, step)
    assert nowhere == NOWHERE
    assert output_location(nowhere, "stdout") is None


@given(st.lists(st.text(min_size=1)), st.text(alphabet="abc/+=&", max_size=20))
def test_a_listing_gives_back_its_keys(keys: list[str], token: str) -> None:
    from urllib.parse import quote
    from xml.sax.saxutils import escape

    body = "".join(f"<Contents><Key>{quote(key, safe='/')}</Key><Size>1</Size></Contents>" for key in keys)
    further = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
    assert read_listing(f"<ListBucketResult>{body}{further}</ListBucketResult>") == (keys, token)
