"""Authority: our own CA, and how another one takes its place while both are trusted.

    tls/ca.pem          what clients and nodes must trust: the CA; between begin and switch both
    tls/ca.key          key of the CA that signs the server's certificate
    tls/next.key        key of the CA to come
    tls/succession.pem  the CA to come, signed by the present one: by it nodes know that it is no stranger's
    tls/rotation.json   that a rotation is under way, and when the switch comes by itself

    begin -> both CAs are given out, the old one signs -> switch, by date or by hand -> the new one signs alone

The succession is a file of its own: as a certificate among others it would lead verifiers astray, for the present CA
may sign no further CAs.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CA_LIFETIME = timedelta(days=3650)
BACKDATED = timedelta(hours=1)
"""Certificates are valid from a little earlier, for clocks that are behind."""


class CertificateFault(Exception):
    """A certificate or key cannot be used, or a rotation is not as it should be."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """The CA that signs now."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Trusted:
    """One CA of the bundle, as an operator sees it."""

    name: str
    sha256: str
    not_after: datetime
    issues: bool
    """Whether the server's certificates come from it now."""


@dataclass(frozen=True, slots=True)
class State:
    """Where a folder's authority stands."""

    trusted: Sequence[Trusted]
    rotating: bool
    switch_at: datetime | None


def create(folder: Path, now: datetime) -> None:
    """A folder's first CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _new_name(now)
    write(folder / "ca.key", key_pem(key), 0o600)
    write(folder / "ca.pem", pem(_certificate(name, name, key, key, now, now + CA_LIFETIME)), 0o644)


def begin(folder: Path, now: datetime, switch_at: datetime | None) -> None:
    """Make the CA to come and give out both; CertificateFault when a rotation is under way already."""
    if (folder / "rotation.json").exists():
        raise CertificateFault("a rotation is under way already; --finish ends it, --switch-on sets its date")
    present = issuer(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _new_name(now)
    until = min(now + CA_LIFETIME, present.certificate.not_valid_after_utc)
    succession = _certificate(name, present.certificate.subject, key, present.key, now, until)
    following = _certificate(name, name, key, key, now, now + CA_LIFETIME)
    write(folder / "next.key", key_pem(key), 0o600)
    write(folder / "succession.pem", pem(succession), 0o644)
    write(folder / "ca.pem", pem(present.certificate) + pem(following), 0o644)
    switch(folder, switch_at)


def switch(folder: Path, at: datetime | None) -> None:
    """When the CA to come shall sign; None: not by itself. A server follows when it next looks."""
    text = json.dumps({"switch_at": at.isoformat() if at is not None else None})
    write(folder / "rotation.json", text.encode() + b"\n", 0o644)


def advance(folder: Path, now: datetime) -> None:
    """Let the CA to come sign, if its time has come."""
    at = _switch_at(folder)
    if at is not None and now >= at and (folder / "next.key").exists():
        (folder / "next.key").replace(folder / "ca.key")


def settle(folder: Path) -> None:
    """After the switch, and once the server's certificate is the new CA's: the old one is trusted no longer."""
    if not (folder / "rotation.json").exists() or (folder / "next.key").exists():
        return
    write(folder / "ca.pem", pem(issuer(folder).certificate), 0o644)
    (folder / "succession.pem").unlink(missing_ok=True)
    (folder / "rotation.json").unlink()


def issuer(folder: Path) -> Issuer:
    """The CA that signs: the one of the bundle that the key belongs to."""
    try:
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        bundle = x509.load_pem_x509_certificates((folder / "ca.pem").read_bytes())
    except (OSError, ValueError) as fault:
        raise CertificateFault(f"the CA in {folder} cannot be read: {fault}") from fault
    for certificate in bundle:
        if isinstance(key, ec.EllipticCurvePrivateKey) and certificate.public_key() == key.public_key():
            return Issuer(certificate, key)
    raise CertificateFault(f"ca.pem and ca.key in {folder} do not belong together")


def state(folder: Path) -> State:
    """Which CAs are given out, which one signs, and when that changes."""
    present = issuer(folder).certificate
    bundle = x509.load_pem_x509_certificates((folder / "ca.pem").read_bytes())
    trusted = [
        Trusted(_common_name(each), sha256_of(each), each.not_valid_after_utc, each == present) for each in bundle
    ]
    return State(trusted, (folder / "rotation.json").exists(), _switch_at(folder))


def sha256_of(certificate: x509.Certificate) -> str:
    """SHA-256 over the DER, hex: what the join line carries."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """The extension for a CA, or for a server."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A key as text."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(file: Path, content: bytes, mode: int) -> None:
    """Replace a file as a whole."""
    fresh = file.with_name(file.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)


def _certificate(
    name: x509.Name,
    of: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime,
    until: datetime,
) -> x509.Certificate:
    """A CA's certificate, signed by itself or by another CA."""
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(of)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _new_name(now: datetime) -> x509.Name:
    """A name that no other CA of ours has: verifiers look CAs up by name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fleetward"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Fleetward CA {now:%Y-%m-%d} {secrets.token_hex(2)}"),
        ]
    )


def _common_name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else certificate.subject.rfc4514_string()


def _switch_at(folder: Path) -> datetime | None:
    try:
        kept = json.loads((folder / "rotation.json").read_text())["switch_at"]
        return datetime.fromisoformat(kept).astimezone(UTC) if kept else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as fault:
        raise CertificateFault(f"{folder / 'rotation.json'} cannot be read") from fault
