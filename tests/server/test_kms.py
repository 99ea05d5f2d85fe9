"""Keys: their life, what is done with them, and that nothing of them lies about."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import audit, kms
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.keys import KeyRing
from fleetward.server.kms import keys as kms_keys
from fleetward.server.kms import rotation
from fleetward.server.kms.errors import (
    AlreadyExistsException,
    DisabledException,
    DryRunOperationException,
    IncorrectKeyException,
    InvalidAliasNameException,
    InvalidArnException,
    InvalidCiphertextException,
    InvalidGrantTokenException,
    InvalidKeyUsageException,
    InvalidMarkerException,
    KMSInvalidStateException,
    LimitExceededException,
    MalformedPolicyDocumentException,
    NotFoundException,
    TagException,
    UnsupportedOperationException,
)

pytest_plugins = ["tests.services"]

ROLE_SESSION = "arn:aws:sts::123456789012:assumed-role/Tester/test"
ALL_KMS = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}


class Keys:
    """Short ways to call the service as root, or as `caller`."""

    def __init__(self, world: Any) -> None:
        self.world = world
        world.services["kms"] = kms.kms

    def __call__(self, operation: str, caller: Any = "root", **request: Any) -> Any:
        return self.world.call(f"kms:{operation}", request, caller)

    def new(self, **request: Any) -> str:
        """A new key's id."""
        return str(self("CreateKey", **request)["KeyMetadata"]["KeyId"])

    def state(self, key: str) -> str:
        """A key's state."""
        return str(self("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"])

    def role(self, *statements: Any) -> Any:
        """A role's session with these statements."""
        return self.world.as_role(*statements)


@pytest.fixture
def on(world: Any) -> Keys:
    """The service of `world`."""
    return Keys(world)


EVERYWHERE = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)


@EVERYWHERE
def test_what_was_encrypted_is_decrypted_by_key_id_arn_and_alias(on: Keys) -> None:
    key = on.new(Description="first")
    arn = on("DescribeKey", KeyId=key)["KeyMetadata"]["Arn"]
    on("CreateAlias", AliasName="alias/mine", TargetKeyId=key)
    names = (key, arn, "alias/mine", arn.rpartition(":")[0] + ":alias/mine")
    for name in names:
        made = on("Encrypt", KeyId=name, Plaintext=b"secret", EncryptionContext={"a": "b"})
        assert made["KeyId"] == arn
        opened = on("Decrypt", CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"})
        assert (opened["Plaintext"], opened["KeyId"]) == (b"secret", arn)
        assert on("Decrypt", CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"}, KeyId=name)


def test_a_changed_blob_and_another_context_are_refused(on: Keys) -> None:
    key = on.new()
    blob = on("Encrypt", KeyId=key, Plaintext=b"secret", EncryptionContext={"a": "b"})["CiphertextBlob"]
    for bad in (blob[:-1] + bytes([blob[-1] ^ 1]), blob[:40], b"x", blob[:17] + b"\0\0\0\x09" + blob[21:]):
        with pytest.raises(InvalidCiphertextException):
            on("Decrypt", CiphertextBlob=bad, EncryptionContext={"a": "b"})
    for context in ({}, {"a": "c"}, {"a": "b", "c": "d"}):
        with pytest.raises(InvalidCiphertextException):
            on("Decrypt", CiphertextBlob=blob, EncryptionContext=context)
    with pytest.raises(IncorrectKeyException):
        on("Decrypt", CiphertextBlob=blob, EncryptionContext={"a": "b"}, KeyId=on.new())


def test_sizes_algorithms_and_contexts_have_limits(on: Keys) -> None:
    key = on.new()
    assert on("Encrypt", KeyId=key, Plaintext=b"x" * 4096)
    with pytest.raises(ValidationException):
        on("Encrypt", KeyId=key, Plaintext=b"x" * 4097)
    with pytest.raises(ValidationException, match="8192"):
        on("Encrypt", KeyId=key, Plaintext=b"x", EncryptionContext={"a": "x" * 8192})
    with pytest.raises(InvalidKeyUsageException):
        on("Encrypt", KeyId=key, Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_1")
    with pytest.raises(DryRunOperationException):
        on("Encrypt", KeyId=key, Plaintext=b"x", DryRun=True)
    with pytest.raises(ValidationException, match="either"):
        on("GenerateDataKey", KeyId=key)
    with pytest.raises(ValidationException, match="either"):
        on("GenerateDataKey", KeyId=key, KeySpec="AES_128", NumberOfBytes=5)


def test_kinds_of_keys_that_are_not_offered_are_refused(on: Keys) -> None:
    for request in (
        {"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
        {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
        {"CustomerMasterKeySpec": "ECC_NIST_P256"},
        {"Origin": "EXTERNAL"},
        {"MultiRegion": True},
        {"CustomKeyStoreId": "cks-1"},
    ):
        with pytest.raises(UnsupportedOperationException):
            on("CreateKey", **request)


def test_data_keys_come_in_clear_and_encrypted(on: Keys) -> None:
    key = on.new()
    made = on("GenerateDataKey", KeyId=key, KeySpec="AES_256", EncryptionContext={"a": "b"})
    assert len(made["Plaintext"]) == 32
    opened = on("Decrypt", CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"})
    assert opened["Plaintext"] == made["Plaintext"]
    hidden = on("GenerateDataKeyWithoutPlaintext", KeyId=key, NumberOfBytes=64)
    assert "Plaintext" not in hidden
    assert len(on("Decrypt", CiphertextBlob=hidden["CiphertextBlob"])["Plaintext"]) == 64
    assert on("GenerateRandom", NumberOfBytes=9)["Plaintext"] != on("GenerateRandom", NumberOfBytes=9)["Plaintext"]


def test_encrypting_again_moves_to_another_key_and_context(on: Keys) -> None:
    first, second = on.new(), on.new()
    blob = on("Encrypt", KeyId=first, Plaintext=b"secret", EncryptionContext={"a": "b"})["CiphertextBlob"]
    moved = on(
        "ReEncrypt",
        CiphertextBlob=blob,
        SourceEncryptionContext={"a": "b"},
        DestinationKeyId=second,
        DestinationEncryptionContext={"c": "d"},
    )
    assert (moved["SourceKeyId"][-36:], moved["KeyId"][-36:]) == (first, second)
    on("DisableKey", KeyId=first)
    assert on("Decrypt", CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"c": "d"})["Plaintext"] == b"secret"


@EVERYWHERE
def test_a_disabled_key_does_nothing_until_it_is_enabled(on: Keys) -> None:
    key = on.new()
    blob = on("Encrypt", KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    on("DisableKey", KeyId=key)
    assert on.state(key) == "Disabled"
    for operation, request in (
        ("Encrypt", {"KeyId": key, "Plaintext": b"x"}),
        ("Decrypt", {"CiphertextBlob": blob}),
        ("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"}),
        ("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": on.new()}),
        ("EnableKeyRotation", {"KeyId": key}),
        ("RotateKeyOnDemand", {"KeyId": key}),
    ):
        with pytest.raises(DisabledException):
            on(operation, **request)
    on("EnableKey", KeyId=key)
    assert on("Decrypt", CiphertextBlob=blob)["Plaintext"] == b"secret"


@EVERYWHERE
def test_a_key_whose_wait_is_over_is_gone_with_all_that_it_encrypted(on: Keys) -> None:
    key, other = on.new(), on.new()
    blob = on("Encrypt", KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    on("CreateAlias", AliasName="alias/gone", TargetKeyId=key)
    on("CreateGrant", KeyId=key, GranteePrincipal=ROLE_SESSION, Operations=["Decrypt"])
    answer = on("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    assert answer["DeletionDate"] == on.world.clock.now() + timedelta(days=7)
    assert on.state(key) == "PendingDeletion"
    for operation, request in (
        ("Decrypt", {"CiphertextBlob": blob}),
        ("EnableKey", {"KeyId": key}),
        ("ScheduleKeyDeletion", {"KeyId": key}),
        ("PutKeyPolicy", {"KeyId": key, "Policy": "{}"}),
        ("CreateAlias", {"AliasName": "alias/new", "TargetKeyId": key}),
    ):
        with pytest.raises(KMSInvalidStateException):
            on(operation, **request)
    on.world.clock.advance(timedelta(days=7, seconds=-1))
    on.world.do(kms_keys.delete_due)
    assert on.state(key) == "PendingDeletion"
    on.world.clock.advance(timedelta(seconds=1))
    on.world.do(kms_keys.delete_due)
    with pytest.raises(NotFoundException):
        on("DescribeKey", KeyId=key)
    with pytest.raises(AccessDeniedException, match="does not exist"):
        on("Decrypt", CiphertextBlob=blob)
    assert on("ListAliases")["Aliases"] == []
    assert [each["KeyId"] for each in on("ListKeys")["Keys"]] == [other]
    assert dump_of(on.world, "kms_materials", "kms_grants").count(key) == 0


def test_a_deletion_can_be_cancelled(on: Keys) -> None:
    key = on.new()
    with pytest.raises(KMSInvalidStateException):
        on("CancelKeyDeletion", KeyId=key)
    on("ScheduleKeyDeletion", KeyId=key)
    on("CancelKeyDeletion", KeyId=key)
    assert on.state(key) == "Disabled"
    on.world.clock.advance(timedelta(days=40))
    on.world.do(kms_keys.delete_due)
    assert on.state(key) == "Disabled"
    for days in (1, 6, 31):
        with pytest.raises(ValidationException, match="between 7 and 30"):
            on("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=days)


@EVERYWHERE
def test_rotation_gives_new_material_and_keeps_the_old_readable(on: Keys) -> None:
    key = on.new()
    first = on("Encrypt", KeyId=key, Plaintext=b"one")["CiphertextBlob"]
    assert on("GetKeyRotationStatus", KeyId=key)["KeyRotationEnabled"] is False
    on("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    status = on("GetKeyRotationStatus", KeyId=key)
    assert (status["RotationPeriodInDays"], status["NextRotationDate"]) == (
        90,
        on.world.clock.now() + timedelta(days=90),
    )
    on.world.do(rotation.rotate_due)
    assert on("ListKeyRotations", KeyId=key)["Rotations"] == []
    on.world.clock.advance(timedelta(days=90))
    on.world.do(rotation.rotate_due)
    on("RotateKeyOnDemand", KeyId=key)
    listed = on("ListKeyRotations", KeyId=key)["Rotations"]
    assert [each["RotationType"] for each in listed] == ["AUTOMATIC", "ON_DEMAND"]
    assert len(on("ListKeyRotations", KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]) == 3
    current = on("DescribeKey", KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    second = on("Encrypt", KeyId=key, Plaintext=b"two")["CiphertextBlob"]
    old, new = on("Decrypt", CiphertextBlob=first), on("Decrypt", CiphertextBlob=second)
    assert (old["Plaintext"], new["Plaintext"]) == (b"one", b"two")
    assert (new["KeyMaterialId"], listed[-1]["KeyMaterialId"]) == (current, current)
    assert old["KeyMaterialId"] != current
    on("DisableKeyRotation", KeyId=key)
    on.world.clock.advance(timedelta(days=400))
    on.world.do(rotation.rotate_due)
    assert len(on("ListKeyRotations", KeyId=key)["Rotations"]) == 2


def test_a_key_that_was_disabled_on_its_day_rotates_once_when_enabled(on: Keys) -> None:
    key = on.new()
    on("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    on("DisableKey", KeyId=key)
    on.world.clock.advance(timedelta(days=300))
    on.world.do(rotation.rotate_due)
    assert on("ListKeyRotations", KeyId=key)["Rotations"] == []
    on("EnableKey", KeyId=key)
    for _ in range(2):
        on.world.do(rotation.rotate_due)
    assert len(on("ListKeyRotations", KeyId=key)["Rotations"]) == 1
    assert on("GetKeyRotationStatus", KeyId=key)["NextRotationDate"] > on.world.clock.now()


def test_rotation_on_demand_has_a_limit(on: Keys) -> None:
    key = on.new()
    for _ in range(rotation.MOST_ON_DEMAND):
        on("RotateKeyOnDemand", KeyId=key)
    with pytest.raises(LimitExceededException):
        on("RotateKeyOnDemand", KeyId=key)


@EVERYWHERE
def test_aliases_are_made_moved_listed_and_removed(on: Keys) -> None:
    first, second = on.new(), on.new()
    on("CreateAlias", AliasName="alias/a", TargetKeyId=first)
    on("CreateAlias", AliasName="alias/b", TargetKeyId=second)
    with pytest.raises(AlreadyExistsException):
        on("CreateAlias", AliasName="alias/a", TargetKeyId=second)
    blob = on("Encrypt", KeyId="alias/a", Plaintext=b"secret")["CiphertextBlob"]
    on("UpdateAlias", AliasName="alias/a", TargetKeyId=second)
    assert on("DescribeKey", KeyId="alias/a")["KeyMetadata"]["KeyId"] == second
    assert on("Decrypt", CiphertextBlob=blob)["Plaintext"] == b"secret"
    assert [each["AliasName"] for each in on("ListAliases", KeyId=second)["Aliases"]] == ["alias/a", "alias/b"]
    assert on("ListAliases", KeyId=first)["Aliases"] == []
    on("DeleteAlias", AliasName="alias/a")
    with pytest.raises(NotFoundException):
        on("DescribeKey", KeyId="alias/a")
    with pytest.raises(NotFoundException):
        on("DeleteAlias", AliasName="alias/a")
    assert on.state(second) == "Enabled"


def test_names_that_an_alias_cannot_have(on: Keys) -> None:
    key = on.new()
    for name in ("alias/aws/ssm", "alias/aws/mine", "alias/"):
        with pytest.raises(InvalidAliasNameException):
            on("CreateAlias", AliasName=name, TargetKeyId=key)
    for name in ("mine", "alias/a:b"):
        with pytest.raises(ValidationException):
            on("CreateAlias", AliasName=name, TargetKeyId=key)
    with pytest.raises(ValidationException):
        on("CreateAlias", AliasName="alias/mine", TargetKeyId="alias/aws/ssm")
    with pytest.raises(ValidationException):
        on("DeleteAlias", AliasName="mine")


def test_lists_go_on_where_the_page_before_ended(on: Keys) -> None:
    made = sorted(on.new() for _ in range(5))
    for number, key in enumerate(made):
        on("CreateAlias", AliasName=f"alias/{number}", TargetKeyId=key)
    for operation, member, name in (("ListKeys", "Keys", "KeyId"), ("ListAliases", "Aliases", "TargetKeyId")):
        found, more = [], {}
        while True:
            answer = on(operation, Limit=2, **more)
            assert len(answer[member]) <= 2
            found += [each[name] for each in answer[member]]
            if not answer["Truncated"]:
                break
            more = {"Marker": answer["NextMarker"]}
        assert found == made
    with pytest.raises(InvalidMarkerException):
        on("ListKeys", Marker="nonsense")


def test_tags_are_added_overwritten_and_removed(on: Keys) -> None:
    key = on.new(Tags=[{"TagKey": "a", "TagValue": "1"}])
    on("TagResource", KeyId=key, Tags=[{"TagKey": "a", "TagValue": "2"}, {"TagKey": "b", "TagValue": "3"}])
    tags = on("ListResourceTags", KeyId=key)["Tags"]
    assert tags == [{"TagKey": "a", "TagValue": "2"}, {"TagKey": "b", "TagValue": "3"}]
    on("UntagResource", KeyId=key, TagKeys=["a", "none"])
    assert on("ListResourceTags", KeyId=key)["Tags"] == tags[1:]
    for bad in ([{"TagKey": "aws:x", "TagValue": ""}], [{"TagKey": "x", "TagValue": ""}] * 2):
        with pytest.raises(TagException):
            on("TagResource", KeyId=key, Tags=bad)
    with pytest.raises(LimitExceededException):
        on("TagResource", KeyId=key, Tags=[{"TagKey": str(number), "TagValue": ""} for number in range(50)])


def test_the_description_changes(on: Keys) -> None:
    key = on.new(Description="one")
    on("UpdateKeyDescription", KeyId=key, Description="two")
    assert on("DescribeKey", KeyId=key)["KeyMetadata"]["Description"] == "two"


def test_tags_at_creation_need_leave_to_tag(on: Keys) -> None:
    create = {"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "*"}
    assert on("CreateKey", on.role(create))
    tags = [{"TagKey": "a", "TagValue": "1"}]
    with pytest.raises(AccessDeniedException, match="kms:TagResource"):
        on("CreateKey", on.role(create), Tags=tags)
    assert on("CreateKey", on.role(create, {**create, "Action": "kms:TagResource"}), Tags=tags)


def test_unknown_keys_and_foreign_arns_are_not_found(on: Keys) -> None:
    arn = on("DescribeKey", KeyId=on.new())["KeyMetadata"]["Arn"]
    for name in ("nothing", "alias/nothing", arn.replace("us-east-1", "eu-west-1"), arn[:-1], "arn:aws:s3:::bucket"):
        with pytest.raises(NotFoundException):
            on("DescribeKey", KeyId=name)
    with pytest.raises(InvalidArnException):
        on("ListAliases", KeyId="arn:aws:s3:::bucket")


# -- AWS-managed keys and what other capabilities call --------------------------------------------------------------


@EVERYWHERE
def test_managed_keys_serve_through_their_service_alone(on: Keys) -> None:
    on.world.do(kms.create_managed_keys)
    on.world.do(kms.create_managed_keys)
    listed = on("ListAliases")["Aliases"]
    assert [each["AliasName"] for each in listed] == ["alias/aws/s3", "alias/aws/ssm"]
    assert on("DescribeKey", KeyId="alias/aws/ssm")["KeyMetadata"]["KeyManager"] == "AWS"
    key = listed[1]["TargetKeyId"]
    for caller in ("root", on.role(ALL_KMS)):
        for operation, request in (
            ("Encrypt", {"KeyId": "alias/aws/ssm", "Plaintext": b"x"}),
            ("ScheduleKeyDeletion", {"KeyId": key}),
            ("DisableKey", {"KeyId": key}),
            ("PutKeyPolicy", {"KeyId": key, "Policy": "{}"}),
        ):
            with pytest.raises(AccessDeniedException):
                on(operation, caller, **request)
    nobody = on.role({"Effect": "Allow", "Action": "ssm:*", "Resource": "*"})
    blob = on.world.do(
        lambda call: kms.encrypt(call, "alias/aws/ssm", b"secret", {"a": "b"}, via="ssm"), context=nobody
    )
    assert on.world.do(lambda call: kms.decrypt(call, blob, {"a": "b"}, via="ssm"), context=nobody) == b"secret"
    with pytest.raises(AccessDeniedException):
        on.world.do(lambda call: kms.decrypt(call, blob, {"a": "b"}, via="s3"), context=nobody)
    with pytest.raises(AccessDeniedException):
        on("Decrypt", CiphertextBlob=blob, EncryptionContext={"a": "b"})


def test_managed_keys_are_made_at_their_first_use(on: Keys) -> None:
    data = on.world.do(lambda call: kms.generate_data_key(call, "alias/aws/s3", {"a": "b"}, via="s3"))
    assert len(data.plaintext) == 32
    assert on.world.do(lambda call: kms.decrypt(call, data.blob, {"a": "b"}, via="s3")) == data.plaintext
    assert data.key_arn == on("DescribeKey", KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]


def test_capabilities_act_in_the_callers_name(on: Keys) -> None:
    key = on.new()
    may = on.role({"Effect": "Allow", "Action": "kms:Encrypt", "Resource": f"arn:aws:kms:*:*:key/{key}"})
    blob = on.world.do(lambda call: kms.encrypt(call, key, b"secret", via="ssm"), context=may)
    with pytest.raises(AccessDeniedException, match="kms:Decrypt"):
        on.world.do(lambda call: kms.decrypt(call, blob, via="ssm"), context=may)
    assert on.world.do(lambda call: kms.decrypt(call, blob, via="ssm")) == b"secret"
    with pytest.raises(InvalidCiphertextException):
        on.world.do(lambda call: kms.decrypt(call, b"nonsense"))
    with pytest.raises(ValidationException):
        on.world.do(lambda call: kms.encrypt(call, key, b"x" * 5000))


# -- who may -----------------------------------------------------------------------------------------------------------


def policy(*statements: dict[str, Any]) -> str:
    """A key policy that lets the account manage the key, and what the statements say."""
    own = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:PutKeyPolicy"}
    listed = [{"Resource": "*", **each} for each in (own, *statements)]
    return json.dumps({"Version": "2012-10-17", "Statement": listed})


def test_nothing_goes_without_the_keys_policy(on: Keys) -> None:
    key = on.new()
    role = on.role(ALL_KMS)
    assert on("Encrypt", role, KeyId=key, Plaintext=b"x")
    on("PutKeyPolicy", KeyId=key, Policy=policy())
    assert json.loads(on("GetKeyPolicy", on.role(ALL_KMS), KeyId=on.new())["Policy"])["Id"] == "key-default-1"
    for caller in (role, "root"):
        with pytest.raises(AccessDeniedException, match="resource-based policy"):
            on("Encrypt", caller, KeyId=key, Plaintext=b"x")
    on("PutKeyPolicy", KeyId=key, Policy=policy({"Effect": "Allow", "Principal": "*", "Action": "kms:GetKeyPolicy"}))
    assert "kms:GetKeyPolicy" in on("GetKeyPolicy", KeyId=key)["Policy"]


def test_a_key_policy_grants_to_callers_without_policies_of_their_own(on: Keys) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": ROLE_SESSION}, "Action": "kms:Encrypt"}
    key = on.new(Policy=policy(statement))
    nobody = on.role({"Effect": "Allow", "Action": "ssm:ListNodes", "Resource": "*"})
    assert on("Encrypt", nobody, KeyId=key, Plaintext=b"x")
    with pytest.raises(AccessDeniedException):
        on("DescribeKey", nobody, KeyId=key)
    with pytest.raises(AccessDeniedException):
        on("Encrypt", nobody, KeyId=on.new(), Plaintext=b"x")


def test_conditions_see_context_service_alias_and_tags(on: Keys) -> None:
    def allowed(condition: dict[str, Any], request: dict[str, Any], operation: str = "Encrypt") -> bool:
        role = on.role({**ALL_KMS, "Condition": condition})
        try:
            on(operation, role, **request)
        except AccessDeniedException:
            return False
        return True

    key = on.new(Tags=[{"TagKey": "env", "TagValue": "prod"}])
    on("CreateAlias", AliasName="alias/a", TargetKeyId=key)
    plain = {"KeyId": key, "Plaintext": b"x"}
    in_context = {**plain, "EncryptionContext": {"App": "web"}}
    of_app = {"StringEquals": {"kms:EncryptionContext:App": "web"}}
    assert [allowed(of_app, plain), allowed(of_app, in_context)] == [False, True]
    keys_named = {"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["Other"]}}
    assert [allowed(keys_named, plain), allowed(keys_named, in_context)] == [True, False]
    by_alias = {"StringEquals": {"kms:RequestAlias": "alias/a"}}
    assert [allowed(by_alias, plain), allowed(by_alias, {**plain, "KeyId": "alias/a"})] == [False, True]
    has_alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/a"}}
    assert [allowed(has_alias, plain), allowed(has_alias, {**plain, "KeyId": on.new()})] == [True, False]
    tagged = {"StringEquals": {"aws:ResourceTag/env": "prod"}}
    assert [allowed(tagged, plain), allowed(tagged, {**plain, "KeyId": on.new()})] == [True, False]
    via = {"StringEquals": {"kms:ViaService": "ssm.us-east-1.amazonaws.com"}}
    assert not allowed(via, plain)
    through = on.role({**ALL_KMS, "Condition": via})
    assert on.world.do(lambda call: kms.encrypt(call, key, b"x", via="ssm"), context=through)
    asked = {"StringEquals": {"aws:RequestTag/env": "prod"}}
    tag = {"KeyId": key, "Tags": [{"TagKey": "env", "TagValue": "prod"}]}
    assert [allowed(asked, tag, "TagResource"), allowed(asked, plain)] == [True, False]
    wait = {"NumericGreaterThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "20"}}
    assert not allowed(wait, {"KeyId": key, "PendingWindowInDays": 7}, "ScheduleKeyDeletion")
    assert allowed(wait, {"KeyId": key, "PendingWindowInDays": 21}, "ScheduleKeyDeletion")


def test_a_policy_that_locks_its_author_out_or_cannot_be_read_is_refused(on: Keys) -> None:
    key = on.new()
    nobody = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::123456789012:role/Other"},
                "Action": "kms:*",
                "Resource": "*",
            },
        }
    )
    for bad in (nobody, "{}", "no policy", '{"Statement": []}'):
        with pytest.raises(MalformedPolicyDocumentException):
            on("PutKeyPolicy", KeyId=key, Policy=bad)
        with pytest.raises(MalformedPolicyDocumentException):
            on("CreateKey", Policy=bad)
    on("PutKeyPolicy", KeyId=key, Policy=nobody, BypassPolicyLockoutSafetyCheck=True)
    with pytest.raises(AccessDeniedException):
        on("GetKeyPolicy", KeyId=key)
    assert on("ListKeyPolicies", KeyId=on.new())["PolicyNames"] == ["default"]
    with pytest.raises(NotFoundException):
        on("GetKeyPolicy", KeyId=on.new(), PolicyName="other")


@EVERYWHERE
def test_a_grant_allows_what_it_says_until_it_is_revoked(on: Keys) -> None:
    key = on.new()
    nobody = on.role({"Effect": "Allow", "Action": "ssm:ListNodes", "Resource": "*"})
    request = {"KeyId": key, "Plaintext": b"x", "EncryptionContext": {"a": "b", "c": "d"}}
    with pytest.raises(AccessDeniedException):
        on("Encrypt", nobody, **request)
    constraints = {"EncryptionContextSubset": {"a": "b"}}
    asked = {"KeyId": key, "GranteePrincipal": ROLE_SESSION, "Operations": ["Encrypt"], "Constraints": constraints}
    made = on("CreateGrant", Name="one", **asked)
    assert on("CreateGrant", Name="one", **asked)["GrantId"] == made["GrantId"]
    assert on("Encrypt", nobody, **request)
    for context in ({}, {"a": "c"}, {"c": "d"}):
        with pytest.raises(AccessDeniedException):
            on("Encrypt", nobody, **{**request, "EncryptionContext": context})
    with pytest.raises(AccessDeniedException):
        on("DescribeKey", nobody, KeyId=key)
    with pytest.raises(AccessDeniedException):
        on("Encrypt", nobody, **{**request, "KeyId": on.new()})
    (listed,) = on("ListGrants", KeyId=key)["Grants"]
    assert (listed["Operations"], listed["Constraints"], listed["Name"]) == (["Encrypt"], constraints, "one")
    assert on("ListGrants", KeyId=key, GranteePrincipal="arn:aws:iam::123456789012:role/Other")["Grants"] == []
    on("RevokeGrant", KeyId=key, GrantId=made["GrantId"])
    with pytest.raises(AccessDeniedException):
        on("Encrypt", nobody, **request)


def test_a_grant_for_equal_contexts_wants_no_pair_more(on: Keys) -> None:
    key = on.new()
    nobody = on.role({"Effect": "Allow", "Action": "ssm:ListNodes", "Resource": "*"})
    constraints = {"EncryptionContextEquals": {"a": "${aws:username}", "c": "d"}}
    on("CreateGrant", KeyId=key, GranteePrincipal=ROLE_SESSION, Operations=["Encrypt"], Constraints=constraints)
    exact = {"a": "${aws:username}", "c": "d"}
    assert on("Encrypt", nobody, KeyId=key, Plaintext=b"x", EncryptionContext=exact)
    for context in ({"a": "${aws:username}"}, {**exact, "e": "f"}, {}):
        with pytest.raises(AccessDeniedException):
            on("Encrypt", nobody, KeyId=key, Plaintext=b"x", EncryptionContext=context)


def test_a_grant_is_retired_by_whom_it_names(on: Keys) -> None:
    key = on.new()
    nobody = on.role({"Effect": "Allow", "Action": "ssm:ListNodes", "Resource": "*"})
    asked = {"KeyId": key, "GranteePrincipal": "arn:aws:iam::123456789012:role/Other", "Operations": ["Encrypt"]}
    other = on("CreateGrant", **asked)
    with pytest.raises(AccessDeniedException):
        on("RetireGrant", nobody, KeyId=key, GrantId=other["GrantId"])
    made = on("CreateGrant", RetiringPrincipal=ROLE_SESSION, **asked)
    assert [
        each["GrantId"] for each in on("ListRetirableGrants", nobody, RetiringPrincipal=ROLE_SESSION)["Grants"]
    ] == [made["GrantId"]]
    with pytest.raises(AccessDeniedException):
        on("ListRetirableGrants", nobody, RetiringPrincipal="arn:aws:iam::123456789012:role/Other")
    with pytest.raises(AccessDeniedException):
        on("ListRetirableGrants", nobody, RetiringPrincipal="arn:aws:iam::123456789012:root")
    with pytest.raises(AccessDeniedException):
        on("RetireGrant", nobody, GrantToken=other["GrantToken"])
    on("RetireGrant", nobody, GrantToken=made["GrantToken"])
    assert [each["GrantId"] for each in on("ListGrants", KeyId=key)["Grants"]] == [other["GrantId"]]
    with pytest.raises(InvalidGrantTokenException):
        on("RetireGrant", GrantToken="nonsense")
    with pytest.raises(ValidationException):
        on("CreateGrant", KeyId=key, GranteePrincipal=ROLE_SESSION, Operations=["Sign"])


def test_encrypting_again_needs_leave_on_both_keys(on: Keys) -> None:
    first, second = on.new(), on.new()
    blob = on("Encrypt", KeyId=first, Plaintext=b"secret")["CiphertextBlob"]
    one = {"Effect": "Allow", "Action": "kms:ReEncryptFrom", "Resource": "*"}
    two = {"Effect": "Allow", "Action": "kms:ReEncryptTo", "Resource": f"*{second}"}
    request = {"CiphertextBlob": blob, "DestinationKeyId": second}
    assert on("ReEncrypt", on.role(one, two), **request)
    for statements in ((one,), (two,)):
        with pytest.raises(AccessDeniedException):
            on("ReEncrypt", on.role(*statements), **request)


# -- secrets -----------------------------------------------------------------------------------------------------------


def dump_of(world: Any, *tables: str) -> str:
    """Every value of the tables, or of all, as text and as bytes read as Latin 1."""
    from fleetward.server.schema import metadata

    def entry(call: Any) -> str:
        rows = [row for name, table in metadata.tables.items() if not tables or name in tables
                for row in call.db.all(table.select())]  # fmt: skip
        return "\n".join(
            value.decode("latin-1") if isinstance(value, bytes) else str(value) for row in rows for value in row
        )

    return str(world.entry(entry, reads=True)())


def test_neither_material_nor_plaintext_is_in_the_database(on: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    material = b"M4TERIAL-" * 3 + b"12345"
    monkeypatch.setattr(kms_keys.secrets, "token_bytes", lambda size: material if size == 32 else bytes(range(size)))
    key = on.new()
    monkeypatch.undo()
    blob = on("Encrypt", KeyId=key, Plaintext=b"PL4INTEXT")["CiphertextBlob"]
    assert on("Decrypt", CiphertextBlob=blob)["Plaintext"] == b"PL4INTEXT"
    dumped = dump_of(on.world)
    assert key in dumped
    assert "M4TERIAL" not in dumped
    assert "PL4INTEXT" not in dumped


def test_sealed_material_of_one_key_does_not_serve_another(on: Keys) -> None:
    first, second = on.new(), on.new()
    on.world.do(lambda call: _swap(call, first, second))
    with pytest.raises(Exception, match="does not belong here"):
        on("Encrypt", KeyId=first, Plaintext=b"x")


def test_material_is_sealed_anew_under_another_master_key(on: Keys) -> None:
    masters = {1: b"1" * 32, 2: b"2" * 32}
    on.world.runner.keys = ring = KeyRing(masters)
    ring.use(1)
    blob = on("Encrypt", KeyId=on.new(), Plaintext=b"secret")["CiphertextBlob"]
    ring.use(2)
    (column,) = kms.SEALED
    assert on.world.do(lambda call: column.rewrap(call, None)) == (None, 1)
    ring.load({2: masters[2]}, 2)
    assert on("Decrypt", CiphertextBlob=blob)["Plaintext"] == b"secret"


def _swap(call: Any, first: str, second: str) -> None:
    from fleetward.server.kms.table import materials

    stolen = call.db.value(materials.select().with_only_columns(materials.c.sealed).where(materials.c.key_id == second))
    call.db.run(materials.update().where(materials.c.key_id == first).values(sealed=stolen))


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("Encrypt", {"KeyId": "k", "Plaintext": b"PL4INTEXT"}),
        ("Decrypt", {"CiphertextBlob": b"PL4INTEXT"}),
        ("ReEncrypt", {"CiphertextBlob": b"PL4INTEXT", "DestinationKeyId": "k"}),
    ],
)
def test_the_audit_trail_never_shows_what_was_encrypted(operation: str, request_: dict[str, Any]) -> None:
    from fleetward.protocol.api.model import load_service

    shown = json.dumps(audit.redact(load_service("kms").operations[operation].input, request_))
    assert "PL4INTEXT" not in shown
    assert "HIDDEN" in shown
