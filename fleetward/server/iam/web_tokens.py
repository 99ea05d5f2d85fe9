"""Web tokens: JSON Web Tokens of identity providers, read strictly and verified with the keys that they publish.

Source: RFC 7515 (JWS), 7517 (JWK), 7518 (algorithms), 7519 (JWT). Only what providers sign with counts: RSA (PKCS #1,
SHA-2) and ECDSA; the algorithm must fit the key's kind, so that no public key is ever taken for a shared secret.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

LONGEST = 20_000
SKEW = timedelta(minutes=1)
SMALLEST_RSA, LARGEST_RSA = 2048, 8192
RSA_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "RS256": hashes.SHA256(),
    "RS384": hashes.SHA384(),
    "RS512": hashes.SHA512(),
}
CURVES: Mapping[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm, int]] = {
    "ES256": ("P-256", ec.SECP256R1(), hashes.SHA256(), 32),
    "ES384": ("P-384", ec.SECP384R1(), hashes.SHA384(), 48),
    "ES512": ("P-521", ec.SECP521R1(), hashes.SHA512(), 66),
}
"""Algorithm -> name of the curve in keys, the curve, the hash, bytes of one number of a signature."""


class BadToken(Exception):
    """The token cannot be read or is not signed by any of the keys; the text may be shown."""


@dataclass(frozen=True, slots=True)
class WebToken:
    """A token taken apart; nothing of it is to be believed before `verify`."""

    algorithm: str
    key_id: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def issuer(self) -> str:
        """Who claims to have made it."""
        return str(self.claims.get("iss", ""))

    @property
    def audiences(self) -> list[str]:
        """Whom it is for."""
        found = self.claims.get("aud", [])
        return [found] if isinstance(found, str) else [each for each in found if isinstance(each, str)]

    def text(self, name: str) -> str:
        """A claim that is text; empty when it is not there."""
        found = self.claims.get(name)
        return found if isinstance(found, str) else ""

    def moment(self, name: str) -> datetime | None:
        """A claim that is a time."""
        found = self.claims.get(name)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found < 2**37:
            return None
        return datetime.fromtimestamp(found, UTC)


def parse(text: str) -> WebToken:
    """Take a compact token apart; BadToken."""
    parts = text.split(".")
    if len(text) > LONGEST or len(parts) != 3:
        raise BadToken("The token is not a JSON Web Token")
    try:
        header, claims = orjson.loads(_decoded(parts[0])), orjson.loads(_decoded(parts[1]))
        signature = _decoded(parts[2])
    except (ValueError, binascii.Error) as fault:
        raise BadToken("The token is not a JSON Web Token") from fault
    if not isinstance(header, dict) or not isinstance(claims, dict) or "crit" in header:
        raise BadToken("The token is not a JSON Web Token of a kind that is understood here")
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or (algorithm not in RSA_HASHES and algorithm not in CURVES):
        raise BadToken("The token is signed by an algorithm that is not accepted")
    if not isinstance(key_id, str):
        raise BadToken("The token names its key by something that is no text")
    return WebToken(algorithm, key_id, claims, f"{parts[0]}.{parts[1]}".encode(), signature)


def usable_keys(document: bytes) -> list[dict[str, Any]]:
    """The keys of a published key set that tokens can be signed with, cut to what verifying needs; BadToken."""
    try:
        listed = orjson.loads(document)["keys"]
    except (ValueError, KeyError, TypeError) as fault:
        raise BadToken("The provider's key set cannot be read") from fault
    if not isinstance(listed, list):
        raise BadToken("The provider's key set cannot be read")
    members = ("kty", "kid", "alg", "n", "e", "crv", "x", "y")
    return [
        {name: key[name] for name in members if isinstance(key.get(name), str)}
        for key in listed[:100]
        if isinstance(key, dict) and key.get("kty") in ("RSA", "EC") and key.get("use", "sig") == "sig"
    ]


def knows(keys: Sequence[Mapping[str, Any]], token: WebToken) -> bool:
    """Whether the key that a token names is among these."""
    return bool(_candidates(keys, token))


def _candidates(keys: Sequence[Mapping[str, Any]], token: WebToken) -> list[Mapping[str, Any]]:
    kind = "RSA" if token.algorithm in RSA_HASHES else "EC"
    fitting = [key for key in keys if key.get("kty") == kind and key.get("alg", token.algorithm) == token.algorithm]
    return [key for key in fitting if key.get("kid", "") == token.key_id] if token.key_id else fitting[:4]


def verify(token: WebToken, keys: Sequence[Mapping[str, Any]]) -> None:
    """BadToken unless one of the keys has signed it."""
    for key in _candidates(keys, token):
        try:
            if token.algorithm in RSA_HASHES:
                _verify_rsa(token, key)
            else:
                _verify_ec(token, key)
            return
        except (InvalidSignature, ValueError, KeyError, binascii.Error):
            continue
    raise BadToken("The token's signature is not one of its provider")


def _verify_rsa(token: WebToken, key: Mapping[str, Any]) -> None:
    modulus, exponent = _number(key["n"]), _number(key["e"])
    if not SMALLEST_RSA <= modulus.bit_length() <= LARGEST_RSA or exponent > 2**32:
        raise ValueError
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    public.verify(token.signature, token.signed, padding.PKCS1v15(), RSA_HASHES[token.algorithm])


def _verify_ec(token: WebToken, key: Mapping[str, Any]) -> None:
    name, curve, hashed, size = CURVES[token.algorithm]
    if key.get("crv") != name or len(token.signature) != 2 * size:
        raise ValueError
    public = ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curve).public_key()
    first, second = (int.from_bytes(part, "big") for part in (token.signature[:size], token.signature[size:]))
    public.verify(utils.encode_dss_signature(first, second), token.signed, ec.ECDSA(hashed))


def check_times(token: WebToken, now: datetime) -> bool:
    """Whether the token is past its time; BadToken when it has none, or is for later."""
    expires = token.moment("exp")
    if expires is None:
        raise BadToken("The token does not say when it expires")
    for name in ("nbf", "iat"):
        moment = token.moment(name)
        if moment is not None and moment - SKEW > now:
            raise BadToken("The token is not good yet")
    return expires + SKEW <= now


def _decoded(text: str) -> bytes:
    if not text.isascii() or any(character in text for character in "+/= \n\r\t"):
        raise ValueError("not base64url")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text), "big")
