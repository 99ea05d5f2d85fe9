"""Keys: the key ring that seals recoverable secrets and session tokens, and the file or program it comes from.

Sealing is AES-256-GCM under the master key in use, which `key_rotation.py` chooses. The identity of what is sealed is
associated data, so that a sealed value cannot be moved to another row. Sealed bytes: version (1) | key number (4) |
nonce (12) | ciphertext.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HEAD = struct.Struct(">BI")
NONCE_BYTES = 12
TOKEN_PREFIX = "FWT1"  # noqa: S105  (a format's name, not a secret)


class KeyFault(Exception):
    """The key ring cannot be read, or a sealed value does not belong here."""


@dataclass(frozen=True, slots=True)
class TemporaryCredentials:
    """What a session token seals; nothing of it is stored."""

    access_key_id: str
    secret_access_key: str
    principal: str
    """ARN the credentials act as."""
    kind: str
    """user, role or node."""
    expires_at: datetime
    epoch: int
    """The principal's epoch at issue; a higher one in the store means revoked."""
    session_policy: str = ""
    context: Mapping[str, str] | None = None


class KeyRing:
    """Master keys by number; one of them seals, by default the newest, all of them open."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys: Mapping[int, bytes] = {}
        self._ciphers: dict[int, AESGCM] = {}
        self.checks: dict[int, str] = {}
        """By number, what tells a key from another of the same number without telling the key."""
        self.load(keys, max(keys, default=0))

    @property
    def newest(self) -> int:
        """The highest number in the ring, which need not be in use yet."""
        return max(self._ciphers)

    def load(self, keys: Mapping[int, bytes], sealing: int) -> None:
        """Replace the keys and seal with number `sealing` from now on; KeyFault, and no change, if they will not do."""
        if not keys:
            raise KeyFault("the key ring is empty")
        if any(len(key) != 32 for key in keys.values()):
            raise KeyFault("each master key has 32 bytes")
        if sealing not in keys:
            raise KeyFault(f"master key {sealing}, which is in use, is not in this ring")
        added = {number: AESGCM(key) for number, key in keys.items()}
        self._ciphers = {**self._ciphers, **added}  # sealing goes on meanwhile, in other threads
        self.sealing = sealing
        self._ciphers = added
        self._keys = dict(keys)
        self.checks = {number: _check(key) for number, key in keys.items()}

    def use(self, number: int) -> None:
        """Seal with this key from now on."""
        if number not in self._ciphers:
            raise KeyFault(f"master key {number}, which is in use, is not in this ring")
        self.sealing = number

    def derive(self, number: int, purpose: str, size: int) -> bytes:
        """Secret bytes that whoever has master key `number` can make, the same at every time; HKDF-SHA256."""
        return HKDF(hashes.SHA256(), size, None, f"fleetward {purpose}".encode()).derive(self._keys[number])

    def seal(self, plain: bytes, identity: str) -> bytes:
        """Encrypt `plain` so that only the same `identity` opens it."""
        nonce, number = secrets.token_bytes(NONCE_BYTES), self.sealing
        head = HEAD.pack(1, number)
        return head + nonce + self._ciphers[number].encrypt(nonce, plain, head + identity.encode())

    def open(self, sealed: bytes, identity: str) -> bytes:
        """The plain bytes; KeyFault when key, identity or a single bit differ."""
        if len(sealed) < HEAD.size + NONCE_BYTES + 16:
            raise KeyFault("too short to be a sealed value")
        head, nonce = sealed[: HEAD.size], sealed[HEAD.size : HEAD.size + NONCE_BYTES]
        version, number = HEAD.unpack(head)
        cipher = self._ciphers.get(number)
        if version != 1 or cipher is None:
            raise KeyFault("sealed with a key that is not in this ring")
        try:
            return cipher.decrypt(nonce, sealed[HEAD.size + NONCE_BYTES :], head + identity.encode())
        except InvalidTag as fault:
            raise KeyFault("the sealed value does not belong here") from fault

    def needs_rewrap(self, sealed: bytes) -> bool:
        """Whether the value was sealed with another key than the one in use."""
        number: int = HEAD.unpack(sealed[: HEAD.size])[1]
        return number != self.sealing

    def seal_token(self, credentials: TemporaryCredentials) -> str:
        """The session token that carries `credentials`."""
        body = orjson.dumps(
            {
                "s": credentials.secret_access_key,
                "p": credentials.principal,
                "k": credentials.kind,
                "x": int(credentials.expires_at.timestamp()),
                "e": credentials.epoch,
                "y": credentials.session_policy,
                "c": dict(credentials.context or {}),
            }
        )
        sealed = self.seal(body, f"session-token/{credentials.access_key_id}")
        return TOKEN_PREFIX + base64.b64encode(sealed).decode()

    def open_token(self, token: str, access_key_id: str) -> TemporaryCredentials:
        """The credentials in a session token; KeyFault unless it is ours and belongs to that access key."""
        if not token.startswith(TOKEN_PREFIX) or len(token) > 16384:
            raise KeyFault("not a session token of ours")
        try:
            sealed = base64.b64decode(token[len(TOKEN_PREFIX) :], validate=True)
        except ValueError as fault:
            raise KeyFault("not a session token of ours") from fault
        body = orjson.loads(self.open(sealed, f"session-token/{access_key_id}"))
        return TemporaryCredentials(
            access_key_id=access_key_id,
            secret_access_key=body["s"],
            principal=body["p"],
            kind=body["k"],
            expires_at=datetime.fromtimestamp(body["x"], UTC),
            epoch=body["e"],
            session_policy=body["y"],
            context=body["c"],
        )


def new_secret_access_key() -> str:
    """40 characters, 240 bit."""
    return base64.b64encode(secrets.token_bytes(30)).decode()


def new_access_key_id(prefix: str) -> str:
    """`AKIA` (long-lived) or `ASIA` (temporary) and 16 characters."""
    return prefix + base64.b32encode(secrets.token_bytes(10)).decode()


def token_hash(token: str) -> str:
    """How random tokens (>= 128 bit) are stored: SHA-256, hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def load_ring(data: Path, source: str = "") -> KeyRing:
    """The ring from `source` (file or `command:PROGRAM`), by default `keys.json` of the data folder, made if absent."""
    if not source:
        _create(data / "keys.json")
    return KeyRing(read_keys(data, source))


def read_keys(data: Path, source: str = "") -> dict[int, bytes]:
    """The master keys by number, as their source has them now; KeyFault when they cannot be read."""
    file = ring_file(data, source)
    if file is None:
        output = subprocess.run([source.removeprefix("command:")], capture_output=True, timeout=30, check=False)
        if output.returncode != 0:
            raise KeyFault(f"the key command failed with exit code {output.returncode}")
        return _parse(output.stdout)
    if not file.is_file():
        raise KeyFault(f"there is no key ring at {file}")
    if file.stat().st_mode & 0o077:
        raise KeyFault(f"{file} is readable by others; run: chmod 600 {file}")
    return _parse(file.read_bytes())


def ring_file(data: Path, source: str = "") -> Path | None:
    """The file that holds the ring; None when a program gives it."""
    if source.startswith("command:"):
        return None
    return Path(source) if source else data / "keys.json"


def add_key(file: Path, number: int) -> None:
    """Put a new master key into a ring's file under `number`; a number that is there stays as it is."""
    keys = _parse(file.read_bytes())
    if number not in keys:
        _write(file, {**keys, number: secrets.token_bytes(32)})


def drop_keys(file: Path, below: int) -> None:
    """Remove the master keys with lower numbers than `below` from a ring's file, for good."""
    keys = _parse(file.read_bytes())
    kept = {number: key for number, key in keys.items() if number >= below}
    if kept and kept != keys:
        _write(file, kept)


def _check(key: bytes) -> str:
    return hmac.digest(key, b"fleetward master key", "sha256")[:8].hex()


def _parse(text: bytes) -> dict[int, bytes]:
    try:
        return {int(number): base64.b64decode(key, validate=True) for number, key in json.loads(text)["keys"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise KeyFault("the key ring is not readable") from fault


def _create(file: Path) -> None:
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, {1: secrets.token_bytes(32)})


def _write(file: Path, keys: Mapping[int, bytes]) -> None:
    text = json.dumps({"keys": {str(number): base64.b64encode(key).decode() for number, key in keys.items()}}, indent=1)
    fresh = file.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)
