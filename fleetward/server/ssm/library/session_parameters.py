"""Parameters that the library's Session documents share: ports, hosts and the command of a session."""

from __future__ import annotations

_UP_TO_65535 = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
PORT = f"^(?:{_UP_TO_65535})$"
LOCAL_PORT = f"^(?:0|{_UP_TO_65535})$"
HOST = r"^(?:[A-Za-z0-9_][A-Za-z0-9_.\-]{0,252}|[0-9A-Fa-f:][0-9A-Fa-f:.]{1,44})$"
"""A host's name, or an address of IPv4 or IPv6."""

LOCAL_PORT_NUMBER = {
    "type": "String",
    "description": "Port of the operator's machine that leads to the node. 0: any free port.",
    "default": "0",
    "allowedPattern": LOCAL_PORT,
}
COMMAND = {
    "type": "StringList",
    "description": "The command to run, as one text.",
    "minItems": 1,
    "maxItems": 1,
}


def port_number(description: str, default: str) -> dict[str, str]:
    """The parameter of a port on the node's side."""
    return {"type": "String", "description": description, "default": default, "allowedPattern": PORT}
