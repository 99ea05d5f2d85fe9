"""Signing in with a browser (RFC 8252), which comes back to a port on loopback with a code good for us alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import secrets
import sys
import time
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fleetward.cli.failure import Failure
from fleetward.cli.login.door import Door

WITHIN = 600.0
CHECK_LETTERS = 6


def sign_in(door: Door, provider: str) -> dict[str, Any]:
    """What the server answers once somebody has signed in with the browser."""
    import webbrowser

    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with Waiting(state) as waiting:
        asked = {"redirect_uri": waiting.url, "code_challenge": challenge, "state": state}
        named = {"provider": provider} if provider else {}
        url = f"{door.endpoint}/console/oidc/start?{urlencode({**named, **asked})}"
        print(f"Sign in with your browser at\n\n  {url}\n\nIt will show {challenge[:CHECK_LETTERS]}.", file=sys.stderr)
        webbrowser.open(url)
        code = waiting.code()
    return door.enter({"Code": code, "CodeVerifier": verifier})


class Waiting(http.server.HTTPServer):
    """Listens on a free port of loopback until the browser brings a code with our state."""

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state
        self.found = ""
        self.timeout = 1.0

    @property
    def url(self) -> str:
        """Where the browser is to come."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def code(self) -> str:
        """Wait for the code; Failure after ten minutes."""
        until = time.monotonic() + WITHIN
        while not self.found:
            if time.monotonic() > until:
                raise Failure("nobody signed in with the browser within ten minutes")
            self.handle_request()
        return self.found

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks off is no news to anybody."""


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = 5  # of a connection on which nothing comes
    server: Waiting

    def do_GET(self) -> None:
        """Take the code, if it comes with the state that only our browser knows."""
        asked = parse_qs(urlsplit(self.path).query)
        state, code = asked.get("state", [""])[0], asked.get("code", [""])[0]
        good = bool(code) and hmac.compare_digest(state.encode(), self.server.state.encode())
        text = b"You are signed in on the command line; this page can be closed.\n" if good else b"Not expected.\n"
        self.send_response(200 if good else 404)
        for name, value in (("Content-Type", "text/plain"), ("Content-Length", str(len(text)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)
        if good:
            self.server.found = code

    def log_message(self, format: str, *arguments: Any) -> None:
        """The code is in the path: it is shown to nobody."""
