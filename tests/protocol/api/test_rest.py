"""Which of S3's operations a method, path and query mean."""

from __future__ import annotations

import pytest

from fleetward.protocol.api.model import UnknownOperation, load_service
from fleetward.protocol.api.rest import routes

UPLOAD = [("partNumber", "1"), ("uploadId", "u")]


@pytest.mark.parametrize(
    ("method", "path", "pairs", "headers", "name"),
    [
        ("GET", "/", [], {}, "ListBuckets"),
        ("GET", "/b", [], {}, "ListObjects"),
        ("GET", "/b", [("list-type", "2"), ("prefix", "x")], {}, "ListObjectsV2"),
        ("GET", "/b", [("encryption", "")], {}, "GetBucketEncryption"),
        ("GET", "/b", [("analytics", "")], {}, "ListBucketAnalyticsConfigurations"),
        ("GET", "/b", [("analytics", ""), ("id", "1")], {}, "GetBucketAnalyticsConfiguration"),
        ("GET", "/b/a/deep/key", [], {}, "GetObject"),
        ("GET", "/b/a/deep/key", [("acl", "")], {}, "GetObjectAcl"),
        ("PUT", "/b/key", [], {}, "PutObject"),
        ("PUT", "/b/key", UPLOAD, {}, "UploadPart"),
        ("PUT", "/b/key", [], {"x-amz-copy-source": "/b/k"}, "CopyObject"),
        ("PUT", "/b/key", UPLOAD, {"x-amz-copy-source": "/b/k"}, "UploadPartCopy"),
        ("POST", "/b/key", [("uploads", "")], {}, "CreateMultipartUpload"),
        ("POST", "/b", [("delete", "")], {}, "DeleteObjects"),
        ("HEAD", "/b", [], {}, "HeadBucket"),
    ],
)
def test_the_most_specific_operation_is_meant(
    method: str, path: str, pairs: list[tuple[str, str]], headers: dict[str, str], name: str
) -> None:
    operation, _ = routes(load_service("s3")).match(method, path, pairs, headers)
    assert operation.name == name


def test_labels_are_decoded() -> None:
    _, labels = routes(load_service("s3")).match("GET", "/b/a%20%2F/%E5%90%8D", [], {})
    assert labels == {"Bucket": "b", "Key": "a //名"}


def test_an_unknown_method_is_an_unknown_operation() -> None:
    with pytest.raises(UnknownOperation):
        routes(load_service("s3")).match("BREW", "/", [], {})
