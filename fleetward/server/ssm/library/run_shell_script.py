"""AWS-RunShellScript: run a shell script on Linux and macOS nodes."""

from __future__ import annotations

from fleetward.server.ssm.library.script_parameters import COMMANDS, EXECUTION_TIMEOUT, WORKING_DIRECTORY

NAME = "AWS-RunShellScript"

DOCUMENT = {
    "schemaVersion": "1.2",
    "description": "Runs a shell script on Linux and macOS nodes.",
    "parameters": {
        "commands": COMMANDS,
        "workingDirectory": WORKING_DIRECTORY,
        "executionTimeout": EXECUTION_TIMEOUT,
    },
    "runtimeConfig": {
        "aws:runShellScript": {
            "properties": [
                {
                    "id": "0.aws:runShellScript",
                    "runCommand": "{{ commands }}",
                    "workingDirectory": "{{ workingDirectory }}",
                    "timeoutSeconds": "{{ executionTimeout }}",
                }
            ]
        }
    },
}
