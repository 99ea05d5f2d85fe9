"""What is done with keys: encrypt, decrypt, encrypt again, data keys, random bytes; for callers and for capabilities.

Nothing here changes a row. Plaintext is in requests and results only: the model marks it as sensitive, so that the
audit trail shows that it was there, never what it was.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import bindparam, select

from fleetward.server.call import Call, Resource
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.iam.context import Conditions
from fleetward.server.kms import kms
from fleetward.server.kms.ciphertexts import CiphertextFault, Head, read_head, seal, unseal
from fleetward.server.kms.errors import (
    DryRunOperationException,
    IncorrectKeyException,
    InvalidCiphertextException,
    InvalidKeyUsageException,
    NotFoundException,
    UnsupportedOperationException,
)
from fleetward.server.kms.keys import MANAGED, create_managed_key
from fleetward.server.kms.table import (
    AWS,
    Found,
    material_identity,
    materials,
    named_resource,
    require_usable,
    resource,
    search,
)
from fleetward.server.schema import in_tenant
from fleetward.server.service import Resources

F = TypeVar("F", bound=Callable[..., Any])
LARGEST_PLAINTEXT = 4096
LARGEST_CONTEXT = 8192
SYMMETRIC = "SYMMETRIC_DEFAULT"
DATA_KEY_BYTES = {"AES_256": 32, "AES_128": 16}
NOT_READABLE = "The ciphertext was changed, was not made here, or belongs to another encryption context."
NO_SUCH_KEY = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)

MATERIAL = select(materials.c.sealed, materials.c.material_id).where(
    *in_tenant(materials), materials.c.key_id == bindparam("key"), materials.c.number == bindparam("number")
)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key to encrypt with outside, in clear and encrypted; keep the latter."""

    plaintext: bytes
    blob: bytes
    key_arn: str


@dataclass(frozen=True, slots=True)
class _Material:
    number: int
    material_id: str
    secret: bytes


def encrypt(
    call: Call, key: str, plaintext: bytes, context: Mapping[str, str] | None = None, *, via: str = ""
) -> bytes:
    """Encrypt at most 4,096 bytes under the key of an id, ARN or alias, if the caller may.

    `via` is the service in whose name it happens, `ssm`: policies see it as `kms:ViaService`. `alias/aws/ssm` and the
    like are made at their first use, which must be in an entry that writes. Raises NotFoundException,
    DisabledException, KMSInvalidStateException, AccessDeniedException.
    """
    found = _allowed(call, "kms:Encrypt", key, context or {}, via)
    return _encrypt(call, found, plaintext, context or {})[0]


def decrypt(call: Call, blob: bytes, context: Mapping[str, str] | None = None, *, via: str = "") -> bytes:
    """The plaintext of a blob, if the caller may have it. Raises InvalidCiphertextException besides."""
    key = _head_of(blob).key_id
    found = _allowed(call, "kms:Decrypt", key, context or {}, via)
    return _decrypt(call, found, blob, context or {})[0]


def generate_data_key(
    call: Call, key: str, context: Mapping[str, str] | None = None, *, size_bytes: int = 32, via: str = ""
) -> DataKey:
    """Random bytes and their ciphertext under a key, if the caller may; as `encrypt` otherwise."""
    found = _allowed(call, "kms:GenerateDataKey", key, context or {}, via)
    plaintext = secrets.token_bytes(size_bytes)
    return DataKey(plaintext, _encrypt(call, found, plaintext, context or {})[0], found.arn)


def _allowed(call: Call, action: str, key: str, context: Mapping[str, str], via: str) -> Found:
    if key in MANAGED:
        create_managed_key(call, key)
    found = search(call, key)
    seen = context_conditions(context)
    if via:
        seen["kms:ViaService"] = f"{via}.{call.region}.amazonaws.com"
    call.authorize(action, resource(call, found, seen))
    require_usable(found)
    return found


def context_conditions(context: Mapping[str, str]) -> dict[str, str | Sequence[str]]:
    """The condition keys of an encryption context."""
    seen: dict[str, str | Sequence[str]] = {f"kms:EncryptionContext:{key}": value for key, value in context.items()}
    return {**seen, "kms:EncryptionContextKeys": sorted(context)} if context else seen


# -- operations --------------------------------------------------------------------------------------------------------


def _request_conditions(call: Call, request: Mapping[str, Any]) -> Conditions:
    context = request.get("EncryptionContext") or request.get("SourceEncryptionContext") or {}
    return {**context_conditions(context), "kms:EncryptionAlgorithm": SYMMETRIC}


def _named_key(call: Call, request: Mapping[str, Any]) -> Sequence[Resource]:
    return (named_resource(call, request["KeyId"]),)


def _blobs_key(call: Call, request: Mapping[str, Any]) -> Sequence[Resource]:
    """The key named, else the one that the ciphertext was made with."""
    named = request.get("KeyId") or request.get("SourceKeyId")
    if not named:
        named = _head_of(request.get("CiphertextBlob", b"")).key_id
    return (named_resource(call, named),)


def _operation(name: str, resources: Resources = _named_key, *, action: str = "") -> Callable[[F], F]:
    return kms.operation(
        name,
        resources=resources,
        conditions=_request_conditions,
        resource_policies=True,
        reads=True,
        audience="both",
        action=action,
    )


@_operation("Encrypt")
def encrypt_operation(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Encrypt up to 4 KiB."""
    found = _usable(call, request["KeyId"])
    context = _context(request, "EncryptionContext")
    _require_symmetric(request, "EncryptionAlgorithm")
    _stop_dry_run(request)
    blob, _ = _encrypt(call, found, request["Plaintext"], context)
    return {"CiphertextBlob": blob, "KeyId": found.arn, "EncryptionAlgorithm": SYMMETRIC}


@_operation("Decrypt", _blobs_key)
def decrypt_operation(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Decrypt what Encrypt or GenerateDataKey answered, with the same encryption context."""
    _refuse_enclaves(request)
    _require_symmetric(request, "EncryptionAlgorithm")
    context = _context(request, "EncryptionContext")
    found = _key_of_blob(call, request.get("CiphertextBlob", b""), request.get("KeyId"))
    _stop_dry_run(request)
    plaintext, material = _decrypt(call, found, request["CiphertextBlob"], context)
    return {
        "KeyId": found.arn,
        "Plaintext": plaintext,
        "EncryptionAlgorithm": SYMMETRIC,
        "KeyMaterialId": material.material_id,
    }


@_operation("ReEncrypt", _blobs_key, action="kms:ReEncryptFrom")
def re_encrypt(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """From one key or context to another; the plaintext is not shown."""
    _require_symmetric(request, "SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm")
    source_context = _context(request, "SourceEncryptionContext")
    context = _context(request, "DestinationEncryptionContext")
    source = _key_of_blob(call, request.get("CiphertextBlob", b""), request.get("SourceKeyId"))
    target = named_resource(call, request["DestinationKeyId"])
    call.authorize("kms:ReEncryptTo", target, context_conditions(context))
    destination = _usable(call, request["DestinationKeyId"])
    _stop_dry_run(request)
    plaintext, old = _decrypt(call, source, request["CiphertextBlob"], source_context)
    blob, new = _encrypt(call, destination, plaintext, context)
    return {
        "CiphertextBlob": blob,
        "SourceKeyId": source.arn,
        "KeyId": destination.arn,
        "SourceEncryptionAlgorithm": SYMMETRIC,
        "DestinationEncryptionAlgorithm": SYMMETRIC,
        "SourceKeyMaterialId": old.material_id,
        "DestinationKeyMaterialId": new.material_id,
    }


@_operation("GenerateDataKey")
def generate_data_key_operation(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A key to encrypt with outside, in clear and encrypted."""
    return _data_key(call, request)


@_operation("GenerateDataKeyWithoutPlaintext")
def generate_data_key_without_plaintext(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A key to encrypt with outside, later: encrypted only."""
    made = _data_key(call, request)
    del made["Plaintext"]
    return made


@kms.operation("GenerateRandom", reads=True)
def generate_random(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Random bytes."""
    _refuse_enclaves(request)
    if request.get("CustomKeyStoreId"):
        raise UnsupportedOperationException("CustomKeyStoreId: key stores are not offered by this server.")
    if "NumberOfBytes" not in request:
        raise ValidationException("Please specify the number of bytes.")
    return {"Plaintext": secrets.token_bytes(request["NumberOfBytes"])}


def _data_key(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_enclaves(request)
    spec, size = request.get("KeySpec"), request.get("NumberOfBytes")
    if (spec is None) == (size is None):
        raise ValidationException("Please specify either number of bytes or key spec.")
    found = _usable(call, request["KeyId"])
    context = _context(request, "EncryptionContext")
    _stop_dry_run(request)
    plaintext = secrets.token_bytes(DATA_KEY_BYTES[spec] if spec else size or 0)
    blob, material = _encrypt(call, found, plaintext, context)
    return {
        "CiphertextBlob": blob,
        "Plaintext": plaintext,
        "KeyId": found.arn,
        "KeyMaterialId": material.material_id,
    }


def _usable(call: Call, named: str) -> Found:
    found = search(call, named)
    _refuse_managed(found)
    require_usable(found)
    return found


def _key_of_blob(call: Call, blob: bytes, named: str | None) -> Found:
    """The key of a ciphertext, which must be the one named, if one is."""
    expected = search(call, named) if named else None
    head = _head_of(blob)
    if expected is not None and expected.row.key_id != head.key_id:
        raise IncorrectKeyException(
            "The key ID in the request does not identify a CMK that can perform this operation."
        )
    try:
        found = expected or search(call, head.key_id)
    except NotFoundException as fault:
        raise AccessDeniedException(NO_SUCH_KEY) from fault
    _refuse_managed(found)
    require_usable(found)
    return found


def _head_of(blob: bytes) -> Head:
    try:
        return read_head(blob)
    except CiphertextFault as fault:
        raise InvalidCiphertextException(NOT_READABLE) from fault


def _refuse_managed(found: Found) -> None:
    """AWS-managed keys serve through their services alone, root included."""
    if found.row.manager == AWS:
        raise AccessDeniedException(f"{found.arn} can be used through the service that it belongs to only.")


def _encrypt(call: Call, found: Found, plaintext: bytes, context: Mapping[str, str]) -> tuple[bytes, _Material]:
    if not 1 <= len(plaintext) <= LARGEST_PLAINTEXT:
        raise ValidationException(f"The plaintext must have 1 to {LARGEST_PLAINTEXT} bytes, not {len(plaintext)}.")
    material = _material(call, found, found.row.material)
    if material is None:
        raise NotFoundException(f"Key '{found.arn}' has no material.")
    head = Head(found.row.key_id, material.number)
    return seal(material.secret, head, plaintext, context), material


def _decrypt(call: Call, found: Found, blob: bytes, context: Mapping[str, str]) -> tuple[bytes, _Material]:
    material = _material(call, found, read_head(blob).material)
    try:
        if material is None:
            raise CiphertextFault("no such material")
        return unseal(material.secret, blob, context), material
    except CiphertextFault as fault:
        raise InvalidCiphertextException(NOT_READABLE) from fault


def _material(call: Call, found: Found, number: int) -> _Material | None:
    if number > found.row.material:
        return None
    row = call.db.first(MATERIAL, **call.here, key=found.row.key_id, number=number)
    if row is None:
        return None
    secret = call.keys.open(row.sealed, material_identity(call, found.row.key_id, number))
    return _Material(number, row.material_id, secret)


def _context(request: Mapping[str, Any], member: str) -> dict[str, str]:
    context: dict[str, str] = request.get(member, {})
    size = sum(len(key.encode()) + len(value.encode()) for key, value in context.items())
    if size > LARGEST_CONTEXT:
        raise ValidationException(f"{member} must have {LARGEST_CONTEXT} bytes or less, not {size}.")
    return context


def _require_symmetric(request: Mapping[str, Any], *members: str) -> None:
    for member in members:
        if request.get(member, SYMMETRIC) != SYMMETRIC:
            raise InvalidKeyUsageException(
                f"Algorithm {request[member]} is incompatible with key spec {SYMMETRIC}, the only one offered here."
            )


def _refuse_enclaves(request: Mapping[str, Any]) -> None:
    if "Recipient" in request:
        raise ValidationException("Recipient: attested enclaves are not offered by this server.")


def _stop_dry_run(request: Mapping[str, Any]) -> None:
    if request.get("DryRun"):
        raise DryRunOperationException("The request would have succeeded, but the DryRun option is set.")
