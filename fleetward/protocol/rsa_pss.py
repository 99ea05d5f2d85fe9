"""Signatures of nodes: RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes (AP 3.3)."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import TYPE_CHECKING

from fleetward.protocol.errors import LocalProtocolError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey


def sign(private_key: bytes | str | RSAPrivateKey, text: bytes) -> str:
    """The signature, base64. `private_key` is a key object, DER (PKCS#1 or PKCS#8) or PEM; else LocalProtocolError."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    key = _private_key(private_key) if isinstance(private_key, bytes | str) else private_key
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return base64.b64encode(key.sign(text, scheme, hashes.SHA256())).decode()


def is_signed(public_key_der: bytes, signature: bytes, text: bytes) -> bool:
    """Whether the holder of a key (DER SubjectPublicKeyInfo) signed `text`; LocalProtocolError for no RSA key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    key = _public_key(public_key_der)
    try:
        key.verify(signature, text, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _private_key(encoded: bytes | str) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

    data = encoded.encode() if isinstance(encoded, str) else encoded
    load = load_pem_private_key if data.lstrip().startswith(b"-----BEGIN") else load_der_private_key
    try:
        key = load(data, None)
    except (ValueError, TypeError) as error:
        raise LocalProtocolError("this is no private key, in DER or PEM and without a password") from error
    if not isinstance(key, RSAPrivateKey):
        raise LocalProtocolError("a node signs with an RSA key")
    return key


@lru_cache(maxsize=1024)
def _public_key(der: bytes) -> RSAPublicKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(der)
    except ValueError as error:
        raise LocalProtocolError("this is no DER SubjectPublicKeyInfo") from error
    if not isinstance(key, RSAPublicKey):
        raise LocalProtocolError("a node's public key is an RSA key")
    return key
