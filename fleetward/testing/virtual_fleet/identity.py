"""Identities of virtual nodes: how one registers, and the keys it signs with."""

from __future__ import annotations

import base64
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from fleetward.protocol import sigv4

if TYPE_CHECKING:
    from fleetward.testing.virtual_fleet.fleet import VirtualFleet

CALL_SECONDS = 15.0


class CallFault(Exception):
    """A call did not succeed: `status` and the server's text, status 0 when it could not be made."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}" if status else text)
        self.status = status


@dataclass(slots=True)
class NodeIdentity:
    """Who a virtual node is: its id and the temporary keys it signs with.

    With a `private_key` (DER) the keys are renewed at half of their life, otherwise they are what they are.
    """

    node_id: str
    credentials: sigv4.Credentials
    computer_name: str
    private_key: bytes = b""
    fingerprint: str = ""
    renew_at: float = float("inf")


async def register(
    fleet: VirtualFleet, activation_id: str, activation_code: str, private_key: bytes, public_key: str, name: str
) -> NodeIdentity:
    """Register a machine that does not exist, as the official agent would; CallFault when it is refused."""
    fingerprint = str(uuid.uuid4())
    request = {
        "ActivationCode": activation_code,
        "ActivationId": activation_id,
        "Fingerprint": fingerprint,
        "PublicKey": public_key,
        "PublicKeyType": "Rsa",
    }
    answer = await fleet.call("127.0.0.1", "AmazonSSM.RegisterManagedInstance", request, lambda *_: {})
    node_id = orjson.loads(answer)["InstanceId"]
    identity = NodeIdentity(node_id, sigv4.Credentials("", ""), name, private_key, fingerprint)
    await renew_credentials(fleet, identity, "127.0.0.1")
    return identity


async def renew_credentials(fleet: VirtualFleet, identity: NodeIdentity, address: str) -> None:
    """Ask, signed with the node's own key, for temporary keys; the next are due at half of their life."""

    def sign(headers: dict[str, str], body: bytes) -> dict[str, str]:
        return sigv4.sign_headers_rsa(
            identity.node_id,
            identity.private_key,
            method="POST",
            url_path="/",
            headers=headers,
            body=body,
            region=fleet.region,
            now=datetime.now(UTC),
        )

    request = {"Fingerprint": identity.fingerprint}
    token = orjson.loads(await fleet.call(address, "AmazonSSM.RequestManagedInstanceRoleToken", request, sign))
    identity.credentials = sigv4.Credentials(token["AccessKeyId"], token["SecretAccessKey"], token["SessionToken"])
    identity.renew_at = (time.time() + token["TokenExpirationDate"]) / 2


def new_key_pair(_: int = 0) -> tuple[bytes, str]:
    """A new RSA-2048 pair: private key (DER), public key (SubjectPublicKeyInfo, DER, base64)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, base64.b64encode(public).decode()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that each node can have an address of its own."""
    return host == "localhost" or host.startswith("127.")
