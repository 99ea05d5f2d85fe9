"""AWS-RunRemoteScript: fetch files from where they are kept and run one of them on the node."""

from __future__ import annotations

from fleetward.server.ssm.library.script_parameters import EXECUTION_TIMEOUT, WORKING_DIRECTORY

NAME = "AWS-RunRemoteScript"

_SCRIPT = {
    "runCommand": ["{{ commandLine }}"],
    "workingDirectory": "{{ workingDirectory }}",
    "timeoutSeconds": "{{ executionTimeout }}",
}
DOCUMENT = {
    "schemaVersion": "2.2",
    "description": "Fetches one file or a folder and runs a command line there.",
    "parameters": {
        "sourceType": {
            "type": "String",
            "description": "Where the files are kept.",
            "allowedValues": ["GitHub", "Git", "HTTP", "S3"],
        },
        "sourceInfo": {
            "type": "StringMap",
            "description": "How to find them there: of S3 and HTTP the address, of GitHub owner, repository and path.",
            "displayType": "textarea",
        },
        "commandLine": {
            "type": "String",
            "description": "What to run, in the folder that holds the fetched files: a script's name and arguments.",
        },
        "workingDirectory": WORKING_DIRECTORY,
        "executionTimeout": EXECUTION_TIMEOUT,
    },
    "mainSteps": [
        {
            "action": "aws:downloadContent",
            "name": "downloadContent",
            "inputs": {
                "sourceType": "{{ sourceType }}",
                "sourceInfo": "{{ sourceInfo }}",
                "destinationPath": "{{ workingDirectory }}",
                "onFailure": "exit",
            },
        },
        # Schema 2.2 skips a shell step on Windows by itself.
        {"action": "aws:runShellScript", "name": "runShellScript", "inputs": _SCRIPT},
        {
            "action": "aws:runPowerShellScript",
            "name": "runPowerShellScript",
            "precondition": {"StringEquals": ["platformType", "Windows"]},
            "inputs": _SCRIPT,
        },
    ],
}
