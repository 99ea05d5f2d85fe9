"""AWS-StartNonInteractiveCommand: run one command and send back what it prints."""

from __future__ import annotations

from fleetward.server.ssm.library import session_parameters

NAME = "AWS-StartNonInteractiveCommand"

_COMMAND = {"commands": "{{ command }}", "runAsElevated": False}
DOCUMENT = {
    "schemaVersion": "1.0",
    "description": "Runs one command, without a terminal and input, and sends what it prints.",
    "sessionType": "NonInteractiveCommands",
    "parameters": {"command": session_parameters.COMMAND},
    "properties": {"linux": _COMMAND, "macos": _COMMAND, "windows": _COMMAND},
}
