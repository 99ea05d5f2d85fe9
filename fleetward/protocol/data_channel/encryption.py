"""The encryption of a session's payloads: both keys of one data key, AES-256-GCM.

```
data key    | 32 bytes: agent seals, client opens | 32 bytes: client seals, agent opens |
sealed      | nonce, 12 bytes | ciphertext | tag, 16 bytes |
```

The server carries sealed payloads only. Source: agent protocol reference, section 15.1.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fleetward.protocol.data_channel.stream import Side
from fleetward.protocol.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DATA_KEY_BYTES = 64

_NONCE_BYTES = 12
_TAG_BYTES = 16
_MOST_SEALED = 2**32
"""With random nonces a key may seal no more (NIST SP 800-38D, section 8.3)."""


class SessionKeys:
    """The key one end seals with and the key it opens with."""

    __slots__ = ("_opener", "_sealed", "_sealer")

    def __init__(self, sealer: AESGCM, opener: AESGCM) -> None:
        self._sealer = sealer
        self._opener = opener
        self._sealed = 0

    @classmethod
    def of(cls, data_key: bytes, side: Side) -> SessionKeys:
        """Both keys of a data key of 64 bytes, as the side needs them."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(data_key) != DATA_KEY_BYTES:
            raise LocalProtocolError(f"a data key has {DATA_KEY_BYTES} bytes, not {len(data_key)}")
        agents, clients = AESGCM(data_key[:32]), AESGCM(data_key[32:])
        return cls(agents, clients) if side is Side.AGENT else cls(clients, agents)

    def seal(self, payload: bytes) -> bytes:
        """The payload, readable by the other end only; 28 bytes longer."""
        if self._sealed >= _MOST_SEALED:
            raise LocalProtocolError("the keys of this session have sealed all they may: open another session")
        self._sealed += 1
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._sealer.encrypt(nonce, payload, None)

    def open(self, sealed: bytes) -> bytes:
        """What the other end sealed; RemoteProtocolError if it did not, or if it was changed on the way."""
        from cryptography.exceptions import InvalidTag

        if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
            raise RemoteProtocolError("a sealed payload has at least 28 bytes")
        try:
            return self._opener.decrypt(sealed[:_NONCE_BYTES], memoryview(sealed)[_NONCE_BYTES:], None)
        except InvalidTag as error:
            raise RemoteProtocolError("a payload was not sealed with this session's key") from error
