"""The `aws` command drives every operation on keys."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetward.server import kms
from tests.api.test_aws_command import Aws, aws  # noqa: F401  (a fixture)
from tests.calls_kms import OPEN_POLICY, ROLE
from tests.serving import eventually


def blob_file(folder: Path, text: str) -> str:
    """A file of the bytes of base64 text, as `aws` takes binary values."""
    file = folder / "blob"
    file.write_bytes(base64.b64decode(text))
    return f"fileb://{file}"


def keys(aws: Aws, folder: Path) -> None:  # noqa: F811
    made = aws("kms create-key", description="one", tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
    key = made["KeyId"]
    aws("kms update-key-description", key_id=key, description="two")
    aws("kms disable-key", key_id=key)
    shown = aws("kms describe-key", key_id=key)["KeyMetadata"]
    assert (shown["Description"], shown["KeyState"]) == ("two", "Disabled")
    aws("kms enable-key", key_id=key)
    assert key in [each["KeyId"] for each in aws("kms list-keys")["Keys"]]
    aws("kms tag-resource", key_id=key, tags=[{"TagKey": "c", "TagValue": "d"}])
    aws("kms untag-resource", key_id=key, tag_keys=["a"])
    assert aws("kms list-resource-tags", key_id=key)["Tags"] == [{"TagKey": "c", "TagValue": "d"}]
    assert aws("kms schedule-key-deletion", key_id=key, pending_window_in_days="7")["KeyState"] == "PendingDeletion"
    assert aws("kms cancel-key-deletion", key_id=key)["KeyId"].endswith(key)


def aliases(aws: Aws, folder: Path) -> None:  # noqa: F811
    first, second = (aws("kms create-key")["KeyMetadata"]["KeyId"] for _ in range(2))
    name = f"alias/{aws.stage.name()}"
    aws("kms create-alias", alias_name=name, target_key_id=first)
    aws("kms update-alias", alias_name=name, target_key_id=second)
    assert [each["AliasName"] for each in aws("kms list-aliases", key_id=second)["Aliases"]] == [name]
    assert aws("kms describe-key", key_id=name)["KeyMetadata"]["KeyId"] == second
    aws("kms delete-alias", alias_name=name)
    assert aws("kms list-aliases", key_id=second)["Aliases"] == []


def managed(aws: Aws, folder: Path) -> None:  # noqa: F811
    for name in ("alias/aws/ssm", "alias/aws/s3"):
        assert aws("kms describe-key", key_id=name)["KeyMetadata"]["KeyManager"] == "AWS"


def encryption(aws: Aws, folder: Path) -> None:  # noqa: F811
    first, second = (aws("kms create-key")["KeyMetadata"]["KeyId"] for _ in range(2))
    file = folder / "plain"
    file.write_bytes(b"secret")
    made = aws("kms encrypt", key_id=first, plaintext=f"fileb://{file}", encryption_context={"a": "b"})
    opened = aws(
        "kms decrypt", ciphertext_blob=blob_file(folder, made["CiphertextBlob"]), encryption_context={"a": "b"}
    )
    assert base64.b64decode(opened["Plaintext"]) == b"secret"
    moved = aws(
        "kms re-encrypt",
        ciphertext_blob=blob_file(folder, made["CiphertextBlob"]),
        source_encryption_context={"a": "b"},
        destination_key_id=second,
    )
    opened = aws("kms decrypt", ciphertext_blob=blob_file(folder, moved["CiphertextBlob"]))
    assert (base64.b64decode(opened["Plaintext"]), opened["KeyId"][-36:]) == (b"secret", second)
    data = aws("kms generate-data-key", key_id=first, key_spec="AES_256")
    opened = aws("kms decrypt", ciphertext_blob=blob_file(folder, data["CiphertextBlob"]))
    assert opened["Plaintext"] == data["Plaintext"]
    assert "Plaintext" not in aws("kms generate-data-key-without-plaintext", key_id=first, number_of_bytes="64")
    assert len(base64.b64decode(aws("kms generate-random", number_of_bytes="7")["Plaintext"])) == 7


def rotation(aws: Aws, folder: Path) -> None:  # noqa: F811
    key = aws("kms create-key")["KeyMetadata"]["KeyId"]
    aws("kms enable-key-rotation", key_id=key, rotation_period_in_days="100")
    assert aws("kms get-key-rotation-status", key_id=key)["RotationPeriodInDays"] == 100
    aws("kms rotate-key-on-demand", key_id=key)
    assert [each["RotationType"] for each in aws("kms list-key-rotations", key_id=key)["Rotations"]] == ["ON_DEMAND"]
    aws("kms disable-key-rotation", key_id=key)
    assert aws("kms get-key-rotation-status", key_id=key)["KeyRotationEnabled"] is False


def permissions(aws: Aws, folder: Path) -> None:  # noqa: F811
    key = aws("kms create-key")["KeyMetadata"]["KeyId"]
    aws("kms put-key-policy", key_id=key, policy=OPEN_POLICY)
    assert json.loads(aws("kms get-key-policy", key_id=key)["Policy"]) == json.loads(OPEN_POLICY)
    assert aws("kms list-key-policies", key_id=key)["PolicyNames"] == ["default"]
    granted = [
        aws("kms create-grant", key_id=key, grantee_principal=ROLE, retiring_principal=ROLE, operations=["Decrypt"])
        for _ in range(2)
    ]
    assert len(aws("kms list-grants", key_id=key)["Grants"]) == 2
    retirable = aws("kms list-retirable-grants", retiring_principal=ROLE)["Grants"]
    assert {each["GrantId"] for each in granted} <= {each["GrantId"] for each in retirable}
    aws("kms revoke-grant", key_id=key, grant_id=granted[0]["GrantId"])
    aws("kms retire-grant", key_id=key, grant_id=granted[1]["GrantId"])
    assert aws("kms list-grants", key_id=key)["Grants"] == []


JOURNEYS: tuple[Callable[[Aws, Path], None], ...] = (keys, aliases, managed, encryption, rotation, permissions)


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.__name__)
def test_the_aws_command_drives(aws: Aws, tmp_path: Path, journey: Callable[[Aws, Path], None]) -> None:  # noqa: F811
    """Each journey calls operations and sees their effect through others."""
    journey(aws, tmp_path)


def test_every_operation_is_driven() -> None:
    """What the journeys call is all that is offered."""
    driven = {name.replace("-", "") for name in re.findall(r'aws\(\s*"kms ([a-z-]+)', Path(__file__).read_text())}
    assert driven == {name.lower() for name in kms.kms.operations}


@pytest.mark.parametrize(
    ("operation", "member"), [("list_keys", "Keys"), ("list_aliases", "Aliases"), ("list_grants", "Grants")]
)
def test_paginators_find_everything_once(aws: Aws, operation: str, member: str) -> None:  # noqa: F811
    """Small pages give what one large page gives."""
    stage = aws.stage
    key = stage.root_of("kms", "CreateKey")["KeyMetadata"]["KeyId"]
    for _ in range(3):
        stage.root_of("kms", "CreateAlias", AliasName=f"alias/{stage.name()}", TargetKeyId=key)
        stage.root_of("kms", "CreateGrant", KeyId=key, GranteePrincipal=ROLE, Operations=["Decrypt"])
    request = {"KeyId": key} if operation == "list_grants" else {}
    paginator = stage.server.client("kms").get_paginator(operation)
    small = [page[member] for page in paginator.paginate(**request, PaginationConfig={"PageSize": 2})]
    whole = [
        each for page in paginator.paginate(**request, PaginationConfig={"PageSize": 500}) for each in page[member]
    ]
    assert len(small) > 1
    assert [each for page in small for each in page] == whole


def test_what_was_encrypted_lies_nowhere_in_the_servers_folder(aws: Aws) -> None:  # noqa: F811
    """Database, write-ahead log, objects and log; encrypting, decrypting and being denied are in the audit trail."""
    stage, secret = aws.stage, f"PL4INTEXT-{aws.stage.name()}".encode()
    client, reader = stage.server.client("kms"), stage.server.client("kms", stage.server.role("ReadOnly"))
    key = client.create_key()["KeyMetadata"]["KeyId"]
    blob = client.encrypt(KeyId=key, Plaintext=secret)["CiphertextBlob"]
    assert client.decrypt(CiphertextBlob=blob)["Plaintext"] == secret
    data = client.generate_data_key(KeyId=key, KeySpec="AES_256")["Plaintext"]
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        reader.encrypt(KeyId=key, Plaintext=secret)

    def names() -> list[str]:
        bodies: list[dict[str, Any]] = []
        while True:
            request = {"After": bodies[-1]["Sequence"] if bodies else 0}
            page = stage.root_of("fleetward", "ListAuditRecords", **request)["Records"]
            if not page:
                break
            bodies += page
        told = [json.loads(each["Body"]) for each in bodies]
        return [each["eventName"] for each in told if key in json.dumps(each.get("requestParameters"))]

    eventually(lambda: names().count("Encrypt") == 2 and "GenerateDataKey" in names())
    found = [file for file in [*stage.server.data.rglob("*"), stage.server.log] if file.is_file()]
    kept = [(file, file.read_bytes()) for file in found]
    forms = [form for plain in (secret, data) for form in (plain, base64.b64encode(plain)[:-4], plain.hex().encode())]
    assert [file for file, content in kept for form in forms if form in content] == []
    assert any(key.encode() in content for _, content in kept)
