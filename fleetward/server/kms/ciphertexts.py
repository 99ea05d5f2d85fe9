"""Ciphertexts: what a blob consists of, and encryption under a key's material. Pure: no store, no clock.

    version (1) | key id (16) | number of the material (4) | salt (16) | nonce (12) | AES-256-GCM ciphertext and tag

Each message has a key of its own, HMAC-SHA256 of the salt under the material, so that one material serves any number
of messages. Head and encryption context are the associated data: a blob that was changed anywhere, or is shown with
another context, does not open.
"""

from __future__ import annotations

import hmac
import secrets
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
MATERIAL_BYTES = 32
HEAD = struct.Struct(">B16sI16s12s")
TAG_BYTES = 16
_PURPOSE = b"fleetward kms message\0"


class CiphertextFault(Exception):
    """The blob is none of ours, or does not open with this material and context."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a blob says about itself without being opened: the key and the number of its material."""

    key_id: str
    material: int


def read_head(blob: bytes) -> Head:
    """The head of a blob; CiphertextFault when it has none."""
    if len(blob) < HEAD.size + TAG_BYTES or blob[0] != VERSION:
        raise CiphertextFault("not a ciphertext of this server")
    _, identity, material, _, _ = HEAD.unpack_from(blob)
    return Head(str(uuid.UUID(bytes=identity)), material)


def seal(material: bytes, head: Head, plaintext: bytes, context: Mapping[str, str]) -> bytes:
    """Encrypt; the same input gives another blob every time."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    packed = HEAD.pack(VERSION, uuid.UUID(head.key_id).bytes, head.material, salt, nonce)
    cipher = AESGCM(_message_key(material, salt))
    return packed + cipher.encrypt(nonce, plaintext, packed + canonical(context))


def unseal(material: bytes, blob: bytes, context: Mapping[str, str]) -> bytes:
    """Decrypt; CiphertextFault when material, context or a single bit differ."""
    read_head(blob)
    packed = blob[: HEAD.size]
    _, _, _, salt, nonce = HEAD.unpack(packed)
    try:
        cipher = AESGCM(_message_key(material, salt))
        return cipher.decrypt(nonce, blob[HEAD.size :], packed + canonical(context))
    except InvalidTag as fault:
        raise CiphertextFault("the ciphertext does not open") from fault


def canonical(context: Mapping[str, str]) -> bytes:
    """An encryption context as bytes: the same for the same pairs in any order, and for no others."""
    parts = []
    for pair in sorted(context.items()):
        for text in pair:
            encoded = text.encode("utf-8", "surrogatepass")
            parts.append(struct.pack(">I", len(encoded)) + encoded)
    return b"".join(parts)


def _message_key(material: bytes, salt: bytes) -> bytes:
    return hmac.digest(material, _PURPOSE + salt, "sha256")
