"""Peer trust: servers of one key ring know each other, by any key that both have, and nobody else."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from fleetward.server.keys import KeyRing
from fleetward.server.peer_trust import PeerTrust, peer_name, server_id_of

OLD, NEW = b"\1" * 32, b"\2" * 32
SERVER, CLIENT = "AAAABBBBCCCCDDDD", "2222333344445555"


def ring(*keys: bytes, sealing: int = 1) -> KeyRing:
    made = KeyRing(dict(enumerate(keys, 1)))
    made.use(sealing)
    return made


def contexts(folder: Path, server: KeyRing, client: KeyRing) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return PeerTrust(server, SERVER, folder).server(), PeerTrust(client, CLIENT, folder).client()


class Handshake:
    """TLS between two contexts, in memory."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = peer_name(SERVER)) -> None:
        self.down = down = ssl.MemoryBIO()
        up = ssl.MemoryBIO()
        self.server = server.wrap_bio(up, down, server_side=True)
        self.client = client.wrap_bio(down, up, server_hostname=name)
        for _ in range(4):
            for side in (self.client, self.server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue


def test_servers_of_one_ring_know_each_other_by_name(tmp_path: Path) -> None:
    done = Handshake(*contexts(tmp_path, ring(OLD), ring(OLD)))
    assert done.client.version() == "TLSv1.3"
    assert server_id_of(done.server.getpeercert()) == CLIENT
    assert server_id_of(done.client.getpeercert()) == SERVER
    assert list(tmp_path.iterdir()) == []  # no key stays on the disk
    assert done.down.pending == 0  # no tickets behind the handshake


@pytest.mark.parametrize(
    ("server", "client"),
    [(ring(OLD, NEW, sealing=1), ring(OLD)), (ring(OLD, NEW, sealing=1), ring(OLD, NEW, sealing=2))],
    ids=["a key was added at one", "the key in use has changed at one"],
)
def test_a_rotation_keeps_them_together(tmp_path: Path, server: KeyRing, client: KeyRing) -> None:
    for pair in ((server, client), (client, server)):
        assert server_id_of(Handshake(*contexts(tmp_path, *pair)).server.getpeercert()) == CLIENT


@pytest.mark.parametrize("other", [ring(NEW), ring(OLD, NEW, sealing=2)], ids=["another ring", "a key unknown here"])
def test_another_key_is_no_peers(tmp_path: Path, other: KeyRing) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Handshake(*contexts(tmp_path, other, ring(OLD)))
    with pytest.raises(ssl.SSLCertVerificationError):
        Handshake(*contexts(tmp_path, ring(OLD), other))


def test_a_server_is_not_taken_for_another(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        Handshake(*contexts(tmp_path, ring(OLD), ring(OLD)), name=peer_name(CLIENT))


def test_who_shows_no_certificate_is_no_peer(tmp_path: Path) -> None:
    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        Handshake(PeerTrust(ring(OLD), SERVER, tmp_path).server(), stranger, None)
    assert server_id_of({}) == ""


def test_older_tls_is_refused(tmp_path: Path) -> None:
    server, client = contexts(tmp_path, ring(OLD), ring(OLD))
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        Handshake(server, client)
