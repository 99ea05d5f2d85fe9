"""An identity provider of tests' own: OIDC discovery and key set behind TLS on loopback, and tokens it signs."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from fleetward.server import certificates

Answer = tuple[int, dict[str, str], bytes]


@functools.cache
def authority() -> certificates.Files:
    """A certificate authority of the session, and a certificate for loopback."""
    folder = Path(tempfile.mkdtemp(prefix="fleetward-idp-"))
    return certificates.prepare(folder, ["127.0.0.1", "localhost"], ["us-east-1"], datetime.now(UTC))


def text_of(number: int | bytes, size: int = 0) -> str:
    """A number or bytes as base64url without padding."""
    if isinstance(number, int):
        number = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(number).rstrip(b"=").decode()


class HttpsServer:
    """Answers paths on loopback; `answers` maps a path to what it says, `asked` counts."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Answer]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                status, headers, body = outer.answers.get(self.path, lambda: (404, {}, b""))()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority().certificate, authority().key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def says(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        """Answer a path with JSON or bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = lambda: (status, headers, content)


class IdentityProvider(HttpsServer):
    """A provider with an RSA key `one` and an EC key `two`."""

    def __init__(self) -> None:
        super().__init__()
        self.issuer = f"https://{self.host}"
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.says("/.well-known/openid-configuration", {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys"})
        self.publish("one", "two")

    def publish(self, first: str, second: str) -> None:
        """The key set, under other names."""
        self.says("/keys", {"keys": self.keys(first, second)})

    def keys(self, first: str = "one", second: str = "two") -> list[dict[str, str]]:
        """The public keys."""
        numbers, point = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        return [
            {
                "kty": "RSA",
                "kid": first,
                "alg": "RS256",
                "use": "sig",
                "n": text_of(numbers.n),
                "e": text_of(numbers.e),
            },
            {"kty": "EC", "kid": second, "crv": "P-256", "x": text_of(point.x, 32), "y": text_of(point.y, 32)},
        ]

    def token(self, algorithm: str = "RS256", key_id: str = "", **claims: Any) -> str:
        """A token for the audience `app` and the subject `alice`, good for five minutes, but for what is given."""
        now = int(time.time())
        said = {"iss": self.issuer, "aud": "app", "sub": "alice", "iat": now, "exp": now + 300, **claims}
        kid = key_id or ("one" if algorithm == "RS256" else "two")
        head = text_of(json.dumps({"alg": algorithm, "kid": kid, "typ": "JWT"}).encode())
        body = f"{head}.{text_of(json.dumps(said).encode())}".encode()
        if algorithm == "ES256":
            pair = utils.decode_dss_signature(self.ec.sign(body, ec.ECDSA(hashes.SHA256())))
            signature = b"".join(number.to_bytes(32, "big") for number in pair)
        else:
            signature = self.rsa.sign(body, padding.PKCS1v15(), hashes.SHA256())
        return f"{body.decode()}.{text_of(signature)}"
