"""SecureStrings: encrypted under a key of KMS as the caller may use it, bound to the parameter by its ARN.

What fits into one message of KMS is encrypted by it; longer values of advanced parameters have a data key of their own:

    0 | ciphertext of KMS            1 | length of the blob (2) | blob of the data key | nonce (12) | AES-256-GCM
"""

from __future__ import annotations

import base64
import secrets
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fleetward.server import kms
from fleetward.server.call import Call
from fleetward.server.errors import AwsError
from fleetward.server.kms.errors import (
    DisabledException,
    InvalidCiphertextException,
    KMSInvalidStateException,
    NotFoundException,
)
from fleetward.server.ssm.errors import InvalidKeyId
from fleetward.server.ssm.parameter_store.table import ADVANCED, arn

DEFAULT_KEY = "alias/aws/ssm"
_NONCE_BYTES = 12
_FAULTS: tuple[type[AwsError], ...] = (
    DisabledException,
    InvalidCiphertextException,
    KMSInvalidStateException,
    NotFoundException,
)


def seal(call: Call, name: str, key_id: str, tier: str, value: str) -> str:
    """The ciphertext of a value, as text. Raises InvalidKeyId; AccessDeniedException if the key's policy says no."""
    context = {"PARAMETER_ARN": arn(call, name)}
    try:
        if tier != ADVANCED:
            sealed = b"\0" + kms.encrypt(call, key_id, value.encode(), context, via="ssm")
            return base64.b64encode(sealed).decode()
        made = kms.generate_data_key(call, key_id, context, via="ssm")
    except _FAULTS as fault:
        raise InvalidKeyId(fault.message) from fault
    nonce = secrets.token_bytes(_NONCE_BYTES)
    head = b"\1" + struct.pack(">H", len(made.blob)) + made.blob + nonce
    return base64.b64encode(head + AESGCM(made.plaintext).encrypt(nonce, value.encode(), head)).decode()


def reveal(call: Call, name: str, sealed: str) -> str:
    """The value of a ciphertext, if the caller may decrypt with its key; raises as `seal`."""
    raw, context = base64.b64decode(sealed), {"PARAMETER_ARN": arn(call, name)}
    try:
        if raw[0] == 0:
            return kms.decrypt(call, raw[1:], context, via="ssm").decode()
        (size,) = struct.unpack_from(">H", raw, 1)
        end = 3 + size + _NONCE_BYTES
        plain = kms.decrypt(call, raw[3 : 3 + size], context, via="ssm")
    except _FAULTS as fault:
        raise InvalidKeyId(fault.message) from fault
    return AESGCM(plain).decrypt(raw[3 + size : end], raw[end:], raw[:end]).decode()
