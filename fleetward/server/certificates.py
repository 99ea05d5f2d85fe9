"""Certificates: the server's own, which our CA signs (90 days, renewed at two thirds), and the operator's."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetward.server import authority
from fleetward.server.authority import CertificateFault as CertificateFault
from fleetward.server.authority import Issuer

SERVER_LIFETIME = timedelta(days=90)
RENEW_AFTER = SERVER_LIFETIME * 2 / 3
SERVICES = ("ssm", "ssmmessages", "ec2messages", "s3", "kms", "logs", "monitoring", "sts", "iam")


@dataclass(frozen=True, slots=True)
class Files:
    """Where a server's TLS material lies; `ca` is what clients and nodes must trust."""

    ca: Path
    certificate: Path
    key: Path


def prepare(folder: Path, names: Sequence[str], regions: Sequence[str], now: datetime) -> Files:
    """Our CA and a server certificate for `names`, made, renewed or switched to the CA to come where needed."""
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    if not files.ca.exists() or not (folder / "ca.key").exists():
        authority.create(folder, now)
    authority.advance(folder, now)
    issuer = authority.issuer(folder)
    wanted = subject_names(names, regions)
    if not _is_usable(files, issuer) or needs_renewal(files.certificate, wanted, now):
        _create_server(files, issuer, wanted, now)
    authority.settle(folder)
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


def _is_usable(files: Files, issuer: Issuer) -> bool:
    """Whether there is a certificate of this CA and its key."""
    try:
        certificate = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
        certificate.verify_directly_issued_by(issuer.certificate)
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return certificate.public_key() == key.public_key()


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


def _create_server(files: Files, issuer: Issuer, names: Sequence[str], now: datetime) -> None:
    ca = issuer.certificate
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
        .not_valid_after(min(now + SERVER_LIFETIME, ca.not_valid_after_utc))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(authority.key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
        .sign(issuer.key, hashes.SHA256())
    )
    authority.write(files.key, authority.key_pem(key), 0o600)
    authority.write(files.certificate, authority.pem(built), 0o644)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
