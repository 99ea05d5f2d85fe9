"""The server's door, `/console/session`, as a program knocks at it: keeps the cookies that browsers would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from fleetward import __version__
from fleetward.cli.failure import Failure

REFRESH = "__Host-fleetward-refresh"
DEVICE = "__Host-fleetward-device"
KEYS_LAST = 3600
"""Seconds; the SDKs renew keys that have less than 15 minutes left with every call."""
PATH = "/console/session"


class Refused(Failure):
    """The server said no: `code` names the reason, `needs` what it wants besides."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(str(answer.get("message") or "the server refused without a reason"))
        self.code = str(answer.get("__type", ""))
        needs = answer.get("Needs", ())
        self.needs = tuple(str(each) for each in needs) if isinstance(needs, list) else ()


class Door:
    """One server, with the cookies it has given."""

    def __init__(self, endpoint: str, ca_file: str, cookies: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme != "https" or not parts.hostname:
            raise Failure(f"the endpoint has to be an https URL, not {endpoint!r}", 2)
        self.endpoint = f"https://{parts.netloc}"
        self._verify: Any = ca_file or True
        self.cookies = dict(cookies or {})

    def enter(self, members: Mapping[str, str]) -> dict[str, Any]:
        """Sign in; Refused says what is wrong or wanted too."""
        return self._send("POST", {**members, "DurationSeconds": KEYS_LAST})

    def refresh(self) -> dict[str, Any]:
        """New keys by the refresh cookie, which is exchanged."""
        return self._send("POST", {"DurationSeconds": KEYS_LAST})

    def leave(self) -> None:
        """Sign out."""
        self._send("DELETE", None)

    def _send(self, method: str, members: Mapping[str, Any] | None) -> dict[str, Any]:
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import HTTPClientError
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        headers = {"User-Agent": f"fleetward/{__version__}", "Content-Type": "application/json"}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = b"" if members is None else json.dumps(members).encode()
        request = AWSRequest(method=method, url=self.endpoint + PATH, data=body, headers=headers).prepare()
        session = URLLib3Session(verify=self._verify, proxies=get_environ_proxies(self.endpoint), timeout=60)
        try:
            answer = session.send(request)
        except (HTTPClientError, OSError) as fault:
            raise Failure(str(fault)) from fault
        self._keep(answer.raw.headers.getlist("set-cookie"))
        try:
            told = json.loads(answer.content)
        except ValueError as fault:
            raise Failure(f"{self.endpoint} did not answer as a Fleetward server: HTTP {answer.status_code}") from fault
        if answer.status_code != 200:
            raise Refused(told if isinstance(told, dict) else {})
        found: dict[str, Any] = told
        return found

    def _keep(self, headers: list[str]) -> None:
        for text in headers:
            for name, morsel in SimpleCookie(text).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                elif name in (REFRESH, DEVICE):
                    self.cookies[name] = morsel.value
