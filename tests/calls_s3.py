"""One valid request of every operation of S3, for a bucket that `Shelf` has filled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.storage import new_bucket

Make = Callable[["Shelf"], Mapping[str, Any]]


class Shelf:
    """A bucket with an object `k`, its documents and an upload of one part; made anew for each request."""

    def __init__(self, s3: Any) -> None:
        self.s3 = s3
        self.bucket = new_bucket(s3)
        s3.delete_public_access_block(Bucket=self.bucket)
        s3.put_object(Bucket=self.bucket, Key="k", Body=b"hello")
        s3.put_bucket_policy(Bucket=self.bucket, Policy=self.policy)
        s3.put_bucket_tagging(Bucket=self.bucket, **TAGS)
        s3.put_bucket_cors(Bucket=self.bucket, **CORS)
        s3.put_bucket_lifecycle_configuration(Bucket=self.bucket, **LIFECYCLE)
        s3.put_public_access_block(Bucket=self.bucket, **BLOCK)
        self.upload = s3.create_multipart_upload(Bucket=self.bucket, Key="m")["UploadId"]
        self.etag = s3.upload_part(Bucket=self.bucket, Key="m", UploadId=self.upload, PartNumber=1, Body=b"x")["ETag"]

    @property
    def policy(self) -> str:
        """A policy of the bucket."""
        statement = {
            "Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{self.bucket}/*",
        }  # fmt: skip
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    @property
    def part(self) -> dict[str, Any]:
        """The upload as requests name it."""
        return {"Bucket": self.bucket, "Key": "m", "UploadId": self.upload}


TAGS = {"Tagging": {"TagSet": [{"Key": "a", "Value": "1"}]}}
CORS = {"CORSConfiguration": {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}}
LIFECYCLE = {
    "LifecycleConfiguration": {"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 9}}]}
}
BLOCK = {"PublicAccessBlockConfiguration": {"BlockPublicPolicy": True}}
ENCRYPTION = {
    "ServerSideEncryptionConfiguration": {
        "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}],
    }
}


def _bucket(**more: Any) -> Make:
    return lambda shelf: {"Bucket": shelf.bucket, **more}


def _object(**more: Any) -> Make:
    return lambda shelf: {"Bucket": shelf.bucket, "Key": "k", **more}


S3_CALLS: Mapping[str, Make] = {
    "AbortMultipartUpload": lambda shelf: shelf.part,
    "CompleteMultipartUpload": lambda shelf: {
        **shelf.part,
        "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": shelf.etag}]},
    },
    "CopyObject": lambda shelf: {"Bucket": shelf.bucket, "Key": "c", "CopySource": f"{shelf.bucket}/k"},
    "CreateBucket": lambda shelf: {"Bucket": f"{shelf.bucket}-new"},
    "CreateMultipartUpload": _object(),
    "DeleteBucket": lambda shelf: {"Bucket": new_bucket(shelf.s3)},
    "DeleteBucketCors": _bucket(),
    "DeleteBucketEncryption": _bucket(),
    "DeleteBucketLifecycle": _bucket(),
    "DeleteBucketOwnershipControls": _bucket(),
    "DeleteBucketPolicy": _bucket(),
    "DeleteBucketTagging": _bucket(),
    "DeleteObject": _object(),
    "DeleteObjectTagging": _object(),
    "DeleteObjects": _bucket(Delete={"Objects": [{"Key": "k"}]}),
    "DeletePublicAccessBlock": _bucket(),
    "GetBucketAcl": _bucket(),
    "GetBucketCors": _bucket(),
    "GetBucketEncryption": _bucket(),
    "GetBucketLifecycleConfiguration": _bucket(),
    "GetBucketLocation": _bucket(),
    "GetBucketNotificationConfiguration": _bucket(),
    "GetBucketOwnershipControls": _bucket(),
    "GetBucketPolicy": _bucket(),
    "GetBucketPolicyStatus": _bucket(),
    "GetBucketTagging": _bucket(),
    "GetBucketVersioning": _bucket(),
    "GetObject": _object(),
    "GetObjectAcl": _object(),
    "GetObjectAttributes": _object(ObjectAttributes=["ETag"]),
    "GetObjectTagging": _object(),
    "GetPublicAccessBlock": _bucket(),
    "HeadBucket": _bucket(),
    "HeadObject": _object(),
    "ListBuckets": lambda shelf: {},
    "ListMultipartUploads": _bucket(),
    "ListObjectVersions": _bucket(),
    "ListObjects": _bucket(),
    "ListObjectsV2": _bucket(),
    "ListParts": lambda shelf: shelf.part,
    "PutBucketAcl": _bucket(ACL="private"),
    "PutBucketCors": _bucket(**CORS),
    "PutBucketEncryption": _bucket(**ENCRYPTION),
    "PutBucketLifecycleConfiguration": _bucket(**LIFECYCLE),
    "PutBucketNotificationConfiguration": _bucket(NotificationConfiguration={}),
    "PutBucketOwnershipControls": _bucket(OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}),
    "PutBucketPolicy": lambda shelf: {"Bucket": shelf.bucket, "Policy": shelf.policy},
    "PutBucketTagging": _bucket(**TAGS),
    "PutBucketVersioning": _bucket(VersioningConfiguration={"Status": "Enabled"}),
    "PutObject": _object(Body=b"hello"),
    "PutObjectAcl": _object(ACL="private"),
    "PutObjectTagging": _object(**TAGS),
    "PutPublicAccessBlock": _bucket(**BLOCK),
    "UploadPart": lambda shelf: {**shelf.part, "PartNumber": 2, "Body": b"x"},
    "UploadPartCopy": lambda shelf: {**shelf.part, "PartNumber": 2, "CopySource": f"{shelf.bucket}/k"},
}
