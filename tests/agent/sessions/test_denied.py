"""Addresses that sessions do not reach, however they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetward.agent.sessions.denied import FILE_NAME, Denied, denied_addresses


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.169.253",
        "169.254.169.123",
        "169.254.169.250",
        "169.254.0.1",
        "fd00:ec2::254",
        "fd00:ec2::253",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::169.254.169.254",
        "100.100.100.200",
    ],
)
def test_addresses_that_give_out_credentials_are_denied(address: str) -> None:
    assert address in Denied()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.0.0.1"])
def test_others_are_not(address: str) -> None:
    assert address not in Denied()


def test_a_node_may_deny_more(tmp_path: Path) -> None:
    assert "10.1.2.3" not in denied_addresses(tmp_path)
    (tmp_path / FILE_NAME).write_text("# databases\n10.1.0.0/16\n\n2001:db8::5  # one host\n")
    denied = denied_addresses(tmp_path)
    assert "10.1.2.3" in denied
    assert "::ffff:10.1.2.3" in denied
    assert "2001:db8::5" in denied
    assert "10.2.2.3" not in denied
    (tmp_path / FILE_NAME).write_text("database.example\n")
    with pytest.raises(ValueError, match="database"):
        denied_addresses(tmp_path)
