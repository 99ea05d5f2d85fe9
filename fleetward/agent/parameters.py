"""Parameters of Parameter Store that documents refer to: read with the node's own credentials, kept nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fleetward.agent.client import Client, ServiceFault
from fleetward.agent.http import HttpFault

Reference = tuple[str, str | None]
AT_ONCE = 10


class ParametersNotRead(Exception):
    """At least one of the parameters cannot be had; the text says which and why, never a value."""


async def fetch(client: Client, references: Iterable[Reference], *, secure: bool = False) -> dict[Reference, str]:
    """The value of every reference: of SecureStrings in clear where `secure`, else they are refused."""
    names = {f"{name}:{version}" if version else name: (name, version) for name, version in references}
    asked = sorted(names)
    found: dict[Reference, str] = {}
    for start in range(0, len(asked), AT_ONCE):
        members = {"Names": asked[start : start + AT_ONCE], "WithDecryption": secure}
        try:
            answer = await client.ssm("GetParameters", members)
        except (ServiceFault, HttpFault) as error:
            raise ParametersNotRead(f"parameters of Parameter Store cannot be read: {error}") from error
        for parameter in answer.get("Parameters", []):
            name = f"{parameter['Name']}{parameter.get('Selector') or ''}"
            if name in names:
                found[names[name]] = _value(parameter, secure)
    lacking = [name for name in asked if names[name] not in found]
    if lacking:
        raise ParametersNotRead(f"Parameter Store has no parameter {', '.join(lacking)}")
    return found


def _value(parameter: Any, secure: bool) -> str:
    if parameter.get("Type") == "SecureString" and not secure:
        raise ParametersNotRead(f"{parameter['Name']} is a SecureString, which {{{{ssm:…}}}} does not show")
    return str(parameter["Value"])
