"""AWS-StartPortForwardingSessionToRemoteHost: a local port that leads, through the node, to another host's port."""

from __future__ import annotations

from fleetward.server.ssm.library import session_parameters

NAME = "AWS-StartPortForwardingSessionToRemoteHost"

DOCUMENT = {
    "schemaVersion": "1.0",
    "description": "Forwards a local port to a port of a host that a node can reach.",
    "sessionType": "Port",
    "parameters": {
        "portNumber": session_parameters.port_number("Port of the remote host.", "80"),
        "localPortNumber": session_parameters.LOCAL_PORT_NUMBER,
        "host": {
            "type": "String",
            "description": "Name or address of the remote host, as the node knows it.",
            "default": "localhost",
            "allowedPattern": session_parameters.HOST,
        },
    },
    "properties": {
        "host": "{{ host }}",
        "portNumber": "{{ portNumber }}",
        "type": "LocalPortForwarding",
        "localPortNumber": "{{ localPortNumber }}",
    },
}
