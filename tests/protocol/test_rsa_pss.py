"""Signatures of nodes: what one key signs, that key alone verifies, in every form that a key comes in."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fleetward.protocol import rsa_pss
from fleetward.protocol.errors import LocalProtocolError

KEY = rsa.generate_private_key(65537, 2048)


def public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_in_any_form_signs_what_its_public_half_verifies(encoding: Encoding, form: PrivateFormat) -> None:
    signature = rsa_pss.sign(KEY.private_bytes(encoding, form, NoEncryption()), b"text")
    assert rsa_pss.is_signed(public(KEY), base64.b64decode(signature), b"text")
    assert not rsa_pss.is_signed(public(KEY), base64.b64decode(signature), b"other text")


def test_another_key_did_not_sign() -> None:
    signature = base64.b64decode(rsa_pss.sign(KEY, b"text"))
    assert not rsa_pss.is_signed(public(rsa.generate_private_key(65537, 2048)), signature, b"text")


def test_what_is_no_rsa_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(LocalProtocolError):
        rsa_pss.sign(other.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), b"text")
    with pytest.raises(LocalProtocolError):
        rsa_pss.is_signed(public(other), b"", b"text")
    with pytest.raises(LocalProtocolError):
        rsa_pss.sign("no key", b"text")
