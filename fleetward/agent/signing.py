"""Work with keys and certificates in a short-lived child: one signature costs 9 MiB that a process never gives back.

The child reads one JSON object from its standard input and writes one to its standard output. `generate`, `sign`
and `judge` are what the resident process calls; `python -m fleetward.agent.signing` is the child.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fleetward.agent.process import run_program

CHILD_SECONDS = 60.0


class SigningFault(Exception):
    """The child did not answer."""


async def generate() -> tuple[str, str]:
    """A new RSA-2048 pair: (PKCS#8 private key, SubjectPublicKeyInfo), both DER in base64."""
    answer = await _ask({"action": "generate"})
    return answer["private_key"], answer["public_key"]


async def sign(
    node_id: str,
    private_key: str,
    *,
    url_path: str,
    headers: Mapping[str, str],
    body: bytes,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """The headers that sign a POST with the node's own key (agent protocol reference, section 3.3)."""
    return await _ask(
        {
            "action": "sign",
            "node_id": node_id,
            "private_key": private_key,
            "url_path": url_path,
            "headers": dict(headers),
            "body": body.decode(),
            "region": region,
            "now": now.isoformat(),
        }
    )


async def judge(kept: str, offered: str, succession: str, now: datetime) -> str:
    """The CAs to believe from now on (PEM), see `trust.judged`."""
    question = {"action": "judge", "kept": kept, "offered": offered, "succession": succession, "now": now.isoformat()}
    return str((await _ask(question))["believed"])


async def _ask(question: Mapping[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "fleetward.agent.signing"]
    try:
        async with asyncio.timeout(CHILD_SECONDS):
            code, output, errors = await run_program(command, json.dumps(question).encode())
    except (TimeoutError, OSError) as error:
        raise SigningFault(f"no answer of the signing child: {error}") from error
    if code != 0:
        raise SigningFault(f"the signing child ended with {code}: {errors.decode(errors='replace')[-500:]}")
    answer: dict[str, Any] = json.loads(output)
    return answer


def answer(question: Mapping[str, Any]) -> dict[str, str]:
    """What the child does."""
    if question["action"] == "judge":
        from fleetward.agent import trust

        now = datetime.fromisoformat(question["now"])
        return {"believed": trust.judged(question["kept"], question["offered"], question["succession"], now)}
    return _answer_with_keys(question)


def _answer_with_keys(question: Mapping[str, Any]) -> dict[str, str]:
    import base64

    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    from fleetward.protocol.sigv4 import sign_headers_rsa

    if question["action"] == "sign":
        return sign_headers_rsa(
            question["node_id"],
            base64.b64decode(question["private_key"]),
            method="POST",
            url_path=question["url_path"],
            headers=question["headers"],
            body=question["body"].encode(),
            region=question["region"],
            now=datetime.fromisoformat(question["now"]),
        )
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"private_key": base64.b64encode(private).decode(), "public_key": base64.b64encode(public).decode()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(json.load(sys.stdin))))
