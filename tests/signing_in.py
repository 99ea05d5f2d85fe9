"""People who sign in, for tests: users with passwords, and browsers that keep cookies and come from addresses."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

from fleetward.protocol.sigv4 import Credentials
from tests.identities import allow, document, fresh
from tests.serving import Answer, ServerProcess

REFRESH = "__Host-fleetward-refresh"
DEVICE = "__Host-fleetward-device"
PASSWORD = "Correct-Horse-7"

_addresses = itertools.count(2)


def fresh_address() -> str:
    """A loopback address that nobody has tried anything from."""
    number = next(_addresses)
    return f"127.{40 + number // 250}.0.{2 + number % 250}"


def give_password(server: ServerProcess, name: str, password: str = PASSWORD, *, reset: bool = False) -> None:
    """A login profile, as an administrator makes it."""
    server.client("iam").create_login_profile(UserName=name, Password=password, PasswordResetRequired=reset)


def take_password(server: ServerProcess, name: str) -> None:
    """Remove a login profile."""
    server.client("iam").delete_login_profile(UserName=name)


def person(server: ServerProcess, *statements: Mapping[str, Any], **options: Any) -> tuple[str, str]:
    """A user with a password who may do what the statements say, by default list nodes; name and id."""
    client, name = server.client("iam"), fresh("person")
    user_id = client.create_user(UserName=name)["User"]["UserId"]
    text = document(*(statements or (allow("ssm:ListNodes"),)))
    client.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=text)
    give_password(server, name, **options)
    return name, user_id


@dataclass
class Browser:
    """Keeps cookies as browsers do, each at an address of its own unless one is given."""

    server: ServerProcess
    address: str = field(default_factory=fresh_address)
    agent: str = "Browser/1.0"
    cookies: dict[str, str] = field(default_factory=dict)
    set: list[str] = field(default_factory=list)
    """The Set-Cookie headers of the last answer."""

    def send(
        self, method: str, path: str = "/console/session", body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request with the cookies."""
        connection = http.client.HTTPSConnection(
            self.server.host,
            self.server.port,
            timeout=30,
            context=self.server.tls(),
            source_address=(self.address, 0),
        )
        given = {"User-Agent": self.agent, **(headers or {})}
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request(method, path, body, given)
        response = connection.getresponse()
        self.set = response.msg.get_all("set-cookie") or []
        for text in self.set:
            for name, morsel in SimpleCookie(text).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        found = {name.lower(): value for name, value in response.getheaders()}
        answer = Answer(response.status, found, response.read())
        connection.close()
        return answer

    def post(self, members: Mapping[str, Any], **headers: str) -> Answer:
        """POST /console/session."""
        return self.send(
            "POST", body=json.dumps(members).encode(), headers={"Content-Type": "application/json", **headers}
        )

    def sign_in(self, name: str, password: str = PASSWORD, **members: str) -> Answer:
        """Sign in with a password."""
        return self.post({"UserName": name, "Password": password, **members})

    def refresh(self) -> Answer:
        """Ask for new keys by the cookie."""
        return self.post({})


def keys(answer: Answer) -> Credentials:
    """The keys in an answer."""
    assert answer.status == 200, answer.body
    given = answer.json["Credentials"]
    return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


def new_sign_in(server: ServerProcess) -> str:
    """The id of a sign-in of somebody's."""
    return str(Browser(server).sign_in(person(server)[0]).json["SignInId"])
