"""AWS-StartSSHSession: one raw connection to a port of the node, for SSH and what runs over it."""

from __future__ import annotations

from fleetward.server.ssm.library import session_parameters

NAME = "AWS-StartSSHSession"

DOCUMENT = {
    "schemaVersion": "1.0",
    "description": "Carries one connection to the SSH server of a node.",
    "sessionType": "Port",
    "parameters": {"portNumber": session_parameters.port_number("Port of the node's SSH server.", "22")},
    # Without a type the client joins the connection to its standard input and output.
    "properties": {"portNumber": "{{ portNumber }}"},
}
