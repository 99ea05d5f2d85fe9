"""AWS-StartPortForwardingSession: a port of the operator's machine that leads to a port of the node."""

from __future__ import annotations

from fleetward.server.ssm.library import session_parameters

NAME = "AWS-StartPortForwardingSession"

DOCUMENT = {
    "schemaVersion": "1.0",
    "description": "Forwards a local port to a port of a node.",
    "sessionType": "Port",
    "parameters": {
        "portNumber": session_parameters.port_number("Port of the node.", "80"),
        "localPortNumber": session_parameters.LOCAL_PORT_NUMBER,
    },
    "properties": {
        "portNumber": "{{ portNumber }}",
        "type": "LocalPortForwarding",
        "localPortNumber": "{{ localPortNumber }}",
    },
}
