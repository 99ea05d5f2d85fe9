"""Peer trust: by what equal servers know each other: certificates under keys that follow from their common key ring.

    master key n --HKDF--> authority n (P-256, the same on every server) --signs--> certificate of one server process

Each process makes a key of its own when it starts, which its authority names by the server's id; the other side trusts
the authorities of all keys in its ring and expects that very name. So nothing is handed out or copied between servers,
and a ring in the middle of a rotation, which may differ for a while, still has one key that both know.
"""

from __future__ import annotations

import secrets
import ssl
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetward.server import authority
from fleetward.server.keys import KeyRing

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256."""
SCALAR_BYTES = 48
"""So many more bits than the order has that none of its values is likelier than others (FIPS 186-5, A.2.1)."""
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
FOR_EVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""RFC 5280, 4.1.2.5: no end. What ends trust is that the master key leaves the ring."""
SUFFIX = ".peer.fleetward.internal"


def peer_name(server_id: str) -> str:
    """The name that a server's certificate carries."""
    return server_id.lower() + SUFFIX


def server_id_of(certificate: Mapping[str, object] | None) -> str:
    """Whose certificate a connection has shown, as `ssl` tells it; empty for none of a peer's."""
    names = (certificate or {}).get("subjectAltName", ())
    assert isinstance(names, tuple)
    found = [str(name).removesuffix(SUFFIX) for kind, name in names if kind == "DNS" and str(name).endswith(SUFFIX)]
    return found[0].upper() if len(found) == 1 else ""


class PeerTrust:
    """One server's half of it, for as long as its ring stays as it is."""

    def __init__(self, ring: KeyRing, server_id: str, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._anchors = [_authority(ring, number).certificate for number in ring.checks]
        self._certificate = _certificate(_authority(ring, ring.sealing), self._key, server_id)
        self._folder = folder

    def server(self) -> ssl.SSLContext:
        """A context for those who connect here. Nobody resumes, so nobody is sent tickets for it."""
        context = self._prepared(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        context.num_tickets = 0  # a peer whose threads share its side of TLS may also lose a write beside them
        return context

    def client(self) -> ssl.SSLContext:
        """A context for connecting to a server whose `peer_name` is given as its host's name."""
        return self._prepared(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _prepared(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata="".join(authority.pem(each).decode() for each in self._anchors))
        password = secrets.token_bytes(32)
        encrypted = serialization.BestAvailableEncryption(password)
        key = self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted)
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:  # `ssl` takes files alone
            file.write(authority.pem(self._certificate) + key)
            file.flush()
            context.load_cert_chain(file.name, password=password)
        return context


def _authority(ring: KeyRing, number: int) -> authority.Issuer:
    """The authority of one master key; its signature alone differs from one server to the other."""
    secret = ring.derive(number, "peers", SCALAR_BYTES)
    key = ec.derive_private_key(int.from_bytes(secret, "big") % (ORDER - 1) + 1, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Fleetward peers {number} {ring.checks[number]}")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(SINCE)
        .not_valid_after(FOR_EVER)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(authority.key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return authority.Issuer(built.sign(key, hashes.SHA256()), key)


def _certificate(issuer: authority.Issuer, key: ec.EllipticCurvePrivateKey, server_id: str) -> x509.Certificate:
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, server_id)]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(SINCE)
        .not_valid_after(FOR_EVER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(peer_name(server_id))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(authority.key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    return built.sign(issuer.key, hashes.SHA256())
