"""Certificates: our own CA and what it signs."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fleetward.server import certificates

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = ["fleet.example", "localhost", "127.0.0.1", "::1"]


def names_in(file: Path) -> set[str]:
    """All names of a certificate."""
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    return {
        str(name.value) for name in certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    }


def test_names_below_a_host_name_are_covered(tmp_path: Path) -> None:
    """Services of a region and buckets, as AWS programs form them; addresses stand alone."""
    files = certificates.prepare(tmp_path, NAMES, ["us-east-1"], NOW)
    assert names_in(files.certificate) == {
        *NAMES,
        "*.fleet.example",
        "*.s3.fleet.example",
        "*.us-east-1.fleet.example",
        "*.s3.us-east-1.fleet.example",
    }


def test_the_ca_signed_the_certificate_and_lives_ten_years(tmp_path: Path) -> None:
    """90 days for the server's own."""
    files = certificates.prepare(tmp_path, NAMES, ["us-east-1"], NOW)
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    certificate.verify_directly_issued_by(ca)
    assert ca.not_valid_after_utc == NOW + timedelta(days=3650)
    assert certificate.not_valid_after_utc == NOW + timedelta(days=90)
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    """0600."""
    files = certificates.prepare(tmp_path, NAMES, ["us-east-1"], NOW)
    for file in (files.key, tmp_path / "ca.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(("days", "renewed"), [(0, False), (59, False), (60, True), (200, True)])
def test_renewal_comes_at_two_thirds(tmp_path: Path, days: int, renewed: bool) -> None:
    """The CA stays."""
    files = certificates.prepare(tmp_path, NAMES, ["us-east-1"], NOW)
    before, ca = files.certificate.read_bytes(), files.ca.read_bytes()
    certificates.prepare(tmp_path, NAMES, ["us-east-1"], NOW + timedelta(days=days))
    assert (files.certificate.read_bytes() != before) is renewed
    assert files.ca.read_bytes() == ca


def test_a_new_name_is_signed_at_once_and_an_old_one_may_stay(tmp_path: Path) -> None:
    """Names are added, IPv6 in any spelling is the same address."""
    files = certificates.prepare(tmp_path, NAMES, ["us-east-1"], NOW)
    before = files.certificate.read_bytes()
    certificates.prepare(tmp_path, ["localhost", "0:0:0:0:0:0:0:1"], ["us-east-1"], NOW)
    assert files.certificate.read_bytes() == before
    certificates.prepare(tmp_path, [*NAMES, "10.0.0.7"], ["us-east-1"], NOW)
    assert "10.0.0.7" in names_in(files.certificate)


def test_an_unusable_certificate_is_named(tmp_path: Path) -> None:
    """File and reason in one sentence, also where a context is in use."""
    files = certificates.prepare(tmp_path, NAMES, ["us-east-1"], NOW)
    context = certificates.server_context(files.certificate, files.key)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    broken = tmp_path / "broken.pem"
    broken.write_text("nonsense")
    for certificate in (broken, tmp_path / "absent.pem"):
        with pytest.raises(certificates.CertificateFault, match=certificate.name):
            certificates.load(context, certificate, files.key)
