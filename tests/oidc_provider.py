"""An OIDC provider that people sign in with: authorizes at once, and gives ID tokens for codes, as the RFCs ask."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from tests.identity_provider import IdentityProvider, text_of

CLIENT, SECRET = "fleetward", "a-client-secret-of-the-provider"


class SignInProvider(IdentityProvider):
    """Someone is always signed in: `claims` says who; `forge` may make another token of the claims."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: dict[str, Any] = {}
        self.forge: Callable[[dict[str, Any]], str] = lambda claims: self.token(**claims)
        self.back: dict[str, str] = {}
        """More members of the answer that the browser takes back."""
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: list[str] = []
        self.says(
            "/.well-known/openid-configuration",
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/keys",
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
            },
        )
        outer, before = self, self._server.RequestHandlerClass

        class Handler(before):  # type: ignore[misc, valid-type]
            def do_POST(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
                status, told = outer.token_for(form, self.headers.get("Authorization", ""))
                body = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server.RequestHandlerClass = Handler

    def reset(self) -> None:
        """Be honest again, about Alice, an operator."""
        self.claims = {"aud": CLIENT, "email": "alice@example.com", "groups": ["staff", "operators"]}
        self.forge = lambda claims: self.token(**claims)
        self.back = {}

    def authorize(self, location: str) -> str:
        """What a browser is told that is sent here: where to go back to."""
        parts = urlsplit(location)
        asked = {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=True).items()}
        assert f"https://{parts.netloc}{parts.path}" == f"{self.issuer}/authorize"
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        answer = {"code": code, "state": asked["state"], **self.back}
        return f"{asked['redirect_uri']}?{urlencode(answer)}"

    def token_for(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The token endpoint."""
        expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        asked = self.codes.pop(form.get("code", ""), None)
        challenge = text_of(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if authorization != f"Basic {expected}" or form.get("grant_type") != "authorization_code":
            return 401, {"error": "invalid_client"}
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != form["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        token = self.forge({"nonce": asked["nonce"], **self.claims})
        self.tokens.append(token)
        return 200, {"access_token": "unused", "token_type": "Bearer", "id_token": token}
