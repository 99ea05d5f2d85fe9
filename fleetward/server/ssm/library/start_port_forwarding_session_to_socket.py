"""AWS-StartPortForwardingSessionToSocket: a Unix socket of the operator's machine that leads to a port of the node."""

from __future__ import annotations

from fleetward.server.ssm.library import session_parameters

NAME = "AWS-StartPortForwardingSessionToSocket"

DOCUMENT = {
    "schemaVersion": "1.0",
    "description": "Forwards a local Unix socket to a port of a node.",
    "sessionType": "Port",
    "parameters": {
        "portNumber": session_parameters.port_number("Port of the node.", "80"),
        "localUnixSocket": {
            "type": "String",
            "description": "Path of the socket to make on the operator's machine. Empty: the client chooses one.",
            "default": "",
            "allowedPattern": r"^[A-Za-z0-9_./@+\-]{0,104}$",
        },
    },
    "properties": {
        "portNumber": "{{ portNumber }}",
        "type": "LocalPortForwarding",
        "localConnectionType": "unix",
        "localUnixSocket": "{{ localUnixSocket }}",
    },
}
