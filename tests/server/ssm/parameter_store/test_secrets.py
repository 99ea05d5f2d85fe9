"""SecureStrings: encrypted, bound to their parameter, and shown to whom the key lets."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from fleetward.server.errors import AccessDeniedException
from fleetward.server.kms import kms
from fleetward.server.ssm import errors
from fleetward.server.ssm.parameter_store import table

SECRET = "correct horse battery"
READ = {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"}


@pytest.fixture(autouse=True)
def keys(world: Any) -> None:
    """The world offers KMS besides Systems Manager."""
    world.services["kms"] = kms


@pytest.mark.parametrize("tier", ["Standard", "Advanced"])
def test_a_secret_comes_back_and_is_nowhere_in_clear(world: Any, store: Any, tier: str) -> None:
    value = SECRET * (300 if tier == "Advanced" else 1)
    store.put("/a/secret", value, Type="SecureString", Tier=tier)
    assert store.value("/a/secret") == value
    hidden = store.get("/a/secret", WithDecryption=False)["Value"]
    assert SECRET not in hidden
    rows = world.do(lambda call: [*call.db.all(table.versions.select()), *call.db.all(table.parameters.select())])
    assert len(rows) == 2
    assert SECRET not in str(rows)
    assert world.call("DescribeParameters", {})["Parameters"][0]["KeyId"] == "alias/aws/ssm"


def test_a_ciphertext_put_under_another_name_does_not_open(world: Any, store: Any) -> None:
    store.put("one", SECRET, Type="SecureString")
    store.put("two", "other", Type="SecureString")
    sealed = store.get("one", WithDecryption=False)["Value"]
    move = update(table.parameters).where(table.parameters.c.name == "two").values(value=sealed)
    world.do(lambda call: call.db.run(move))
    with pytest.raises(errors.InvalidKeyId):
        store.get("two")


def test_a_key_of_ones_own_decides_who_decrypts(world: Any, store: Any) -> None:
    key = world.call("kms:CreateKey")["KeyMetadata"]
    store.put("a", SECRET, Type="SecureString", KeyId=key["KeyId"])
    may_decrypt = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key["Arn"]}
    with pytest.raises(AccessDeniedException):
        store.get("a", world.as_role(READ))
    assert store.get("a", world.as_role(READ), WithDecryption=False)["Type"] == "SecureString"
    assert store.get("a", world.as_role(READ, may_decrypt))["Value"] == SECRET
    world.call("kms:DisableKey", {"KeyId": key["KeyId"]})
    with pytest.raises(errors.InvalidKeyId):
        store.get("a")
