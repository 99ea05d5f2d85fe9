"""AWS-Noop: a document that does nothing, the default of every hook."""

from __future__ import annotations

NAME = "AWS-Noop"

DOCUMENT = {
    "schemaVersion": "2.2",
    "description": "Does nothing and succeeds. Stands where a hook is not used.",
    # Schema 2.2 skips a shell step on Windows by itself.
    "mainSteps": [
        {"action": "aws:runShellScript", "name": "runShellScript", "inputs": {"runCommand": [":"]}},
        {
            "action": "aws:runPowerShellScript",
            "name": "runPowerShellScript",
            "precondition": {"StringEquals": ["platformType", "Windows"]},
            "inputs": {"runCommand": ["exit 0"]},
        },
    ],
}
