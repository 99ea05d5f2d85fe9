"""Certificates: our own CA (10 years) and the server certificate it signs (90 days, renewed at two thirds)."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=90)
RENEW_AFTER = SERVER_LIFETIME * 2 / 3
SERVICES = ("ssm", "ssmmessages", "ec2messages", "s3", "kms", "logs", "monitoring", "sts", "iam")


class CertificateFault(Exception):
    """The operator's certificate or key cannot be used."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where a server's TLS material lies; `ca` is what clients and nodes must trust."""

    ca: Path
    certificate: Path
    key: Path


def prepare(folder: Path, names: Sequence[str], regions: Sequence[str], now: datetime) -> Files:
    """Our CA and a server certificate for `names`, made or renewed where needed."""
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    ca_key_file = folder / "ca.key"
    if not files.ca.exists() or not ca_key_file.exists():
        _create_ca(files.ca, ca_key_file, now)
    wanted = subject_names(names, regions)
    if not files.certificate.exists() or not files.key.exists() or needs_renewal(files.certificate, wanted, now):
        _create_server(files, ca_key_file, wanted, now)
    return files


def subject_names(names: Sequence[str], regions: Sequence[str]) -> list[str]:
    """All that the certificate must stand for: the names and, below host names, the services' and S3's wildcards."""
    wanted = dict.fromkeys(names)
    for name in names:
        if _address(name) is not None or name == "localhost" or "." not in name:
            continue
        wanted |= dict.fromkeys([f"*.{name}", f"*.s3.{name}"])
        for region in regions:
            wanted |= dict.fromkeys([f"*.{region}.{name}", f"*.s3.{region}.{name}"])
    return list(wanted)


def needs_renewal(certificate: Path, wanted: Sequence[str], now: datetime) -> bool:
    """Whether two thirds of the lifetime are over or a wanted name is missing."""
    current = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    if now >= current.not_valid_before_utc + RENEW_AFTER:
        return True
    extension = current.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    present = {str(name.value) for name in extension}
    return not {str(_address(name) or name) for name in wanted} <= present


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server-side context for TLS 1.2 and newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load(context, certificate, key)
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load (or load anew, for connections from now on) the certificate into a context that is in use."""
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as fault:
        raise CertificateFault(f"cannot use {certificate} with {key}: {fault}") from fault


def fingerprint(ca: Path) -> str:
    """SHA-256 over the CA certificate's DER, hex: what the join line carries."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca.read_text())).hexdigest()


def _create_ca(certificate: Path, key_file: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fleetward"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Fleetward CA {now:%Y-%m-%d}"),
        ]
    )
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _key_pem(key), 0o600)
    _write(certificate, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _create_server(files: Files, ca_key_file: Path, names: Sequence[str], now: datetime) -> None:
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = []
    for name in names:
        address = _address(name)
        alternatives.append(x509.DNSName(name) if address is None else x509.IPAddress(address))
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + SERVER_LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    _write(files.key, _key_pem(key), 0o600)
    _write(files.certificate, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
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


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _write(file: Path, content: bytes, mode: int) -> None:
    fresh = file.with_name(file.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    fresh.replace(file)
