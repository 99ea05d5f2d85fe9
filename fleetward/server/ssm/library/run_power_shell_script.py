"""AWS-RunPowerShellScript: run a PowerShell script on Windows nodes."""

from __future__ import annotations

from fleetward.server.ssm.library.script_parameters import COMMANDS, EXECUTION_TIMEOUT, WORKING_DIRECTORY

NAME = "AWS-RunPowerShellScript"

DOCUMENT = {
    "schemaVersion": "1.2",
    "description": "Runs a PowerShell script on Windows nodes.",
    "parameters": {
        "commands": COMMANDS,
        "workingDirectory": WORKING_DIRECTORY,
        "executionTimeout": EXECUTION_TIMEOUT,
    },
    "runtimeConfig": {
        "aws:runPowerShellScript": {
            "properties": [
                {
                    "id": "0.aws:runPowerShellScript",
                    "runCommand": "{{ commands }}",
                    "workingDirectory": "{{ workingDirectory }}",
                    "timeoutSeconds": "{{ executionTimeout }}",
                }
            ]
        }
    },
}
