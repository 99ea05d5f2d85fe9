"""AWS-StartInteractiveCommand: run one command on a terminal."""

from __future__ import annotations

from fleetward.server.ssm.library import session_parameters

NAME = "AWS-StartInteractiveCommand"

_COMMAND = {"commands": "{{ command }}", "runAsElevated": False}
DOCUMENT = {
    "schemaVersion": "1.0",
    "description": "Runs one command with a terminal of its own.",
    "sessionType": "InteractiveCommands",
    "parameters": {"command": session_parameters.COMMAND},
    "properties": {"linux": _COMMAND, "macos": _COMMAND, "windows": _COMMAND},
}
