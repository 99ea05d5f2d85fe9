"""One valid call of every operation on keys; `tests/calls.py` reads them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.serving import ACCOUNT

CONTEXT = {"purpose": "a call"}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ReadOnly"
OPEN_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "kms:*",
            "Resource": "*",
        },
    }
)


def key(stage: Any) -> str:
    """A new key's id."""
    return str(stage.root_of("kms", "CreateKey")["KeyMetadata"]["KeyId"])


def named(stage: Any) -> dict[str, Any]:
    """A request that names a new key."""
    return {"KeyId": key(stage)}


def alias(stage: Any) -> dict[str, Any]:
    """An alias that exists."""
    name = f"alias/{stage.name()}"
    stage.root_of("kms", "CreateAlias", AliasName=name, TargetKeyId=key(stage))
    return {"AliasName": name}


def blob(stage: Any) -> str:
    """A ciphertext for CONTEXT, as base64 text."""
    plaintext = base64.b64encode(b"plain").decode()
    made = stage.root_of("kms", "Encrypt", KeyId=key(stage), Plaintext=plaintext, EncryptionContext=CONTEXT)
    return str(made["CiphertextBlob"])


def grant(stage: Any) -> dict[str, Any]:
    """A grant that exists."""
    key_id = key(stage)
    made = stage.root_of("kms", "CreateGrant", KeyId=key_id, GranteePrincipal=ROLE, Operations=["Decrypt"])
    return {"KeyId": key_id, "GrantId": made["GrantId"]}


def _leaving(stage: Any) -> dict[str, Any]:
    request = named(stage)
    stage.root_of("kms", "ScheduleKeyDeletion", **request)
    return request


def _create_grant(stage: Any) -> dict[str, Any]:
    return {
        **named(stage),
        "GranteePrincipal": ROLE,
        "RetiringPrincipal": ROLE,
        "Operations": ["Encrypt", "Decrypt"],
        "Constraints": {"EncryptionContextSubset": CONTEXT},
        "Name": "a-call",
    }


def _re_encrypt(stage: Any) -> dict[str, Any]:
    return {
        "CiphertextBlob": blob(stage),
        "SourceEncryptionContext": CONTEXT,
        "DestinationKeyId": key(stage),
        "DestinationEncryptionContext": {"purpose": "another"},
    }


def _create_key(stage: Any) -> dict[str, Any]:
    tags = [{"TagKey": "a", "TagValue": "b"}]
    return {"Description": "a call", "KeySpec": "SYMMETRIC_DEFAULT", "Policy": OPEN_POLICY, "Tags": tags}


KMS_CALLS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "kms:CreateKey": _create_key,
    "kms:DescribeKey": named,
    "kms:ListKeys": lambda stage: {"Limit": 5},
    "kms:UpdateKeyDescription": lambda stage: {**named(stage), "Description": "another"},
    "kms:EnableKey": named,
    "kms:DisableKey": named,
    "kms:ScheduleKeyDeletion": lambda stage: {**named(stage), "PendingWindowInDays": 7},
    "kms:CancelKeyDeletion": _leaving,
    "kms:CreateAlias": lambda stage: {"AliasName": f"alias/{stage.name()}", "TargetKeyId": key(stage)},
    "kms:UpdateAlias": lambda stage: {**alias(stage), "TargetKeyId": key(stage)},
    "kms:DeleteAlias": alias,
    "kms:ListAliases": lambda stage: {**named(stage), "Limit": 5},
    "kms:Encrypt": lambda stage: {**named(stage), "Plaintext": "cGxhaW4=", "EncryptionContext": CONTEXT},
    "kms:Decrypt": lambda stage: {"CiphertextBlob": blob(stage), "EncryptionContext": CONTEXT},
    "kms:ReEncrypt": _re_encrypt,
    "kms:GenerateDataKey": lambda stage: {**named(stage), "KeySpec": "AES_256", "EncryptionContext": CONTEXT},
    "kms:GenerateDataKeyWithoutPlaintext": lambda stage: {**named(stage), "NumberOfBytes": 64},
    "kms:GenerateRandom": lambda stage: {"NumberOfBytes": 16},
    "kms:EnableKeyRotation": lambda stage: {**named(stage), "RotationPeriodInDays": 90},
    "kms:DisableKeyRotation": named,
    "kms:GetKeyRotationStatus": named,
    "kms:RotateKeyOnDemand": named,
    "kms:ListKeyRotations": lambda stage: {**named(stage), "IncludeKeyMaterial": "ALL_KEY_MATERIAL", "Limit": 5},
    "kms:PutKeyPolicy": lambda stage: {**named(stage), "PolicyName": "default", "Policy": OPEN_POLICY},
    "kms:GetKeyPolicy": named,
    "kms:ListKeyPolicies": lambda stage: {**named(stage), "Limit": 5},
    "kms:CreateGrant": _create_grant,
    "kms:ListGrants": lambda stage: {**grant(stage), "GranteePrincipal": ROLE, "Limit": 5},
    "kms:RevokeGrant": grant,
    "kms:RetireGrant": grant,
    "kms:ListRetirableGrants": lambda stage: {"RetiringPrincipal": ROLE, "Limit": 5},
    "kms:TagResource": lambda stage: {**named(stage), "Tags": [{"TagKey": "a", "TagValue": "b"}]},
    "kms:UntagResource": lambda stage: {**named(stage), "TagKeys": ["a"]},
    "kms:ListResourceTags": lambda stage: {**named(stage), "Limit": 5},
}
