"""Authority: our CA, and the overlap of two."""

from __future__ import annotations

import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from fleetward.server import authority, certificates

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = ["fleet.example", "127.0.0.1"]


def prepare(folder: Path, now: datetime = NOW) -> certificates.Files:
    """What a server does at its start and when it looks."""
    return certificates.prepare(folder, NAMES, ["us-east-1"], now)


def cas(folder: Path) -> list[x509.Certificate]:
    """The CAs given out."""
    return x509.load_pem_x509_certificates((folder / "ca.pem").read_bytes())


def signer(folder: Path) -> str:
    """The name of the CA that signed the server's certificate."""
    return x509.load_pem_x509_certificate((folder / "server.pem").read_bytes()).issuer.rfc4514_string()


def name(certificate: x509.Certificate) -> str:
    """A CA's name."""
    return certificate.subject.rfc4514_string()


def test_both_cas_are_given_out_while_the_old_one_signs(tmp_path: Path) -> None:
    """Also a renewal in between is the old one's."""
    prepare(tmp_path)
    (old,) = cas(tmp_path)
    authority.begin(tmp_path, NOW, None)
    prepare(tmp_path, NOW + timedelta(days=70))
    old_one, new = cas(tmp_path)
    assert (old_one, signer(tmp_path)) == (old, name(old))
    assert name(new) != name(old)
    succession = x509.load_pem_x509_certificate((tmp_path / "succession.pem").read_bytes())
    succession.verify_directly_issued_by(old)
    assert succession.public_key() == new.public_key()
    with pytest.raises((InvalidSignature, ValueError)):
        new.verify_directly_issued_by(old)


@pytest.mark.parametrize("by_date", [False, True])
def test_after_the_switch_the_new_ca_stands_alone(tmp_path: Path, by_date: bool) -> None:
    """By its date, or by hand; nothing of the rotation is left."""
    prepare(tmp_path)
    begun = set(tmp_path.iterdir())
    switch_at = NOW + timedelta(days=30)
    authority.begin(tmp_path, NOW, switch_at if by_date else None)
    _, new = cas(tmp_path)
    prepare(tmp_path, switch_at - timedelta(seconds=1))
    assert signer(tmp_path) != name(new)
    if not by_date:
        authority.switch(tmp_path, switch_at)
    prepare(tmp_path, switch_at)
    assert (cas(tmp_path), signer(tmp_path)) == ([new], name(new))
    assert set(tmp_path.iterdir()) == begun
    authority.begin(tmp_path, switch_at, None)
    assert len(cas(tmp_path)) == 2


def test_a_switch_cut_off_anywhere_is_finished_by_the_next_look(tmp_path: Path) -> None:
    """After each of its steps alone."""
    prepare(tmp_path)
    authority.begin(tmp_path, NOW, NOW)
    _, new = cas(tmp_path)
    authority.advance(tmp_path, NOW)
    assert len(cas(tmp_path)) == 2, "the old one goes last: its certificate is still shown"
    (tmp_path / "server.key").unlink()
    prepare(tmp_path)
    assert (cas(tmp_path), signer(tmp_path)) == ([new], name(new))
    assert not authority.state(tmp_path).rotating


def test_a_second_rotation_waits_for_the_first(tmp_path: Path) -> None:
    prepare(tmp_path)
    authority.begin(tmp_path, NOW, None)
    before = cas(tmp_path)
    with pytest.raises(authority.CertificateFault, match="under way"):
        authority.begin(tmp_path, NOW, None)
    assert cas(tmp_path) == before


def test_what_is_given_out_verifies_both_certificates_for_openssl(tmp_path: Path) -> None:
    """The program, as other clients' libraries would: before and after the switch, by the bundle of the overlap."""
    now = datetime.now(UTC)
    prepare(tmp_path, now)
    authority.begin(tmp_path, now, now)
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes((tmp_path / "ca.pem").read_bytes())
    for number in range(2):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(bundle), str(tmp_path / "server.pem")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, (number, done.stdout, done.stderr)
        prepare(tmp_path, now)


def test_state_tells_who_signs_and_by_which_hash_to_join(tmp_path: Path) -> None:
    """As `openssl x509 -fingerprint -sha256` counts."""
    prepare(tmp_path)
    authority.begin(tmp_path, NOW, NOW + timedelta(days=9))
    state = authority.state(tmp_path)
    assert [each.issues for each in state.trusted] == [True, False]
    assert (state.rotating, state.switch_at) == (True, NOW + timedelta(days=9))
    first = (tmp_path / "ca.pem").read_text().partition("-----END CERTIFICATE-----")
    assert state.trusted[0].sha256 == _sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1]))


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_keys_of_cas_are_for_their_owner_alone(tmp_path: Path) -> None:
    prepare(tmp_path)
    authority.begin(tmp_path, NOW, None)
    for file in ("ca.key", "next.key"):
        assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600


def test_a_key_of_another_ca_is_named(tmp_path: Path) -> None:
    """Instead of a certificate that nobody believes."""
    prepare(tmp_path)
    prepare(tmp_path / "other")
    (tmp_path / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(authority.CertificateFault, match="do not belong together"):
        prepare(tmp_path)
