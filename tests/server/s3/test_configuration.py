"""Documents of buckets: what is put is got back, what is taken away is gone, what is wrong is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serving import ACCOUNT
from tests.storage import refused


def test_tags_are_replaced_and_taken_away(s3: Any, bucket: str) -> None:
    refused("NoSuchTagSet", s3.get_bucket_tagging, 404, Bucket=bucket)
    tags = [{"Key": "stage", "Value": "one"}, {"Key": "größe", "Value": "ü"}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags[:1]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags[:1]
    s3.delete_bucket_tagging(Bucket=bucket)
    refused("NoSuchTagSet", s3.get_bucket_tagging, Bucket=bucket)
    twice = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    refused("InvalidTag", s3.put_bucket_tagging, 400, Bucket=bucket, Tagging={"TagSet": twice})


def policy_of(bucket: str, **changes: Any) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        **changes,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def test_a_policy_is_got_back_as_it_was_put(s3: Any, bucket: str) -> None:
    refused("NoSuchBucketPolicy", s3.get_bucket_policy, 404, Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=policy_of(bucket))
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == policy_of(bucket)
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": False}
    s3.delete_bucket_policy(Bucket=bucket)
    refused("NoSuchBucketPolicy", s3.get_bucket_policy_status, 404, Bucket=bucket)


@pytest.mark.parametrize(
    "policy",
    ["", "{}", "[]", "not json", '{"Version":"2012-10-17","Statement":[]}', policy_of("other-bucket"),
     policy_of("BUCKET", Action="ssm:GetParameter"), policy_of("BUCKET", Effect="Perhaps"),
     policy_of("BUCKET", Principal=None), policy_of("BUCKET", Sid="x" * 21_000)],
)  # fmt: skip
def test_a_policy_that_a_bucket_cannot_have_is_refused(s3: Any, bucket: str, policy: str) -> None:
    refused("MalformedPolicy", s3.put_bucket_policy, 400, Bucket=bucket, Policy=policy.replace("BUCKET", bucket))


def test_public_policies_are_blocked_until_the_block_is_lifted(s3: Any, bucket: str) -> None:
    public = policy_of(bucket, Principal="*")
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]["BlockPublicPolicy"]
    refused("AccessDenied", s3.put_bucket_policy, 403, Bucket=bucket, Policy=public)
    s3.delete_public_access_block(Bucket=bucket)
    refused("NoSuchPublicAccessBlockConfiguration", s3.get_public_access_block, 404, Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=public)
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": True}
    s3.delete_bucket_policy(Bucket=bucket)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"BlockPublicPolicy": True})
    shown = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert shown == {
        "BlockPublicAcls": False, "IgnorePublicAcls": False, "BlockPublicPolicy": True, "RestrictPublicBuckets": False,
    }  # fmt: skip
    refused("AccessDenied", s3.put_bucket_policy, 403, Bucket=bucket, Policy=public)


def test_encryption_is_always_there(s3: Any, bucket: str) -> None:
    def algorithm() -> str:
        rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
        return str(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"])

    assert algorithm() == "AES256"
    aes = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": True}]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=aes)
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"] == aes
    s3.delete_bucket_encryption(Bucket=bucket)
    assert algorithm() == "AES256"
    kms = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]}
    refused("NotImplemented", s3.put_bucket_encryption, 501, Bucket=bucket, ServerSideEncryptionConfiguration=kms)


def test_ownership_is_the_owners_from_the_beginning(s3: Any, bucket: str) -> None:
    rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    preferred = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=preferred)
    assert s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"] == preferred
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    refused("OwnershipControlsNotFoundError", s3.get_bucket_ownership_controls, 404, Bucket=bucket)


def test_the_access_control_list_names_the_owner_alone(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for shown in (s3.get_bucket_acl(Bucket=bucket), s3.get_object_acl(Bucket=bucket, Key="k")):
        assert [grant["Permission"] for grant in shown["Grants"]] == ["FULL_CONTROL"]
        assert shown["Grants"][0]["Grantee"]["ID"] == shown["Owner"]["ID"]
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="bucket-owner-full-control")
    refused("AccessControlListNotSupported", s3.put_bucket_acl, 400, Bucket=bucket, ACL="public-read")
    refused("AccessControlListNotSupported", s3.put_object_acl, 400, Bucket=bucket, Key="k", ACL="public-read-write")
    assert len(s3.get_bucket_acl(Bucket=bucket)["Grants"]) == 1


RULES = [
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}},
    {
        "ID": "old",
        "Status": "Disabled",
        "Filter": {"And": {"Prefix": "x", "Tags": [{"Key": "a", "Value": "b"}]}},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 2},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    },
]


def test_lifecycle_rules_are_kept(s3: Any, bucket: str) -> None:
    refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, 404, Bucket=bucket)
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": RULES})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == RULES
    s3.delete_bucket_lifecycle(Bucket=bucket)
    refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, 404, Bucket=bucket)


CORS = {
    "CORSRules": [{"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["https://example.com"], "MaxAgeSeconds": 9}]
}


def test_cors_rules_are_kept(s3: Any, bucket: str) -> None:
    refused("NoSuchCORSConfiguration", s3.get_bucket_cors, 404, Bucket=bucket)
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=CORS)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == CORS["CORSRules"]
    s3.delete_bucket_cors(Bucket=bucket)
    refused("NoSuchCORSConfiguration", s3.get_bucket_cors, 404, Bucket=bucket)
    odd = {"CORSRules": [{"AllowedMethods": ["PATCH"], "AllowedOrigins": ["*"]}]}
    refused("InvalidRequest", s3.put_bucket_cors, 400, Bucket=bucket, CORSConfiguration=odd)


def test_notifications_are_kept(s3: Any, bucket: str) -> None:
    def shown() -> dict[str, Any]:
        found = s3.get_bucket_notification_configuration(Bucket=bucket)
        return {name: value for name, value in found.items() if name != "ResponseMetadata"}

    assert shown() == {}
    topic = {"Id": "one", "TopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:t", "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"TopicConfigurations": [topic]})
    assert shown() == {"TopicConfigurations": [topic]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert shown() == {}
