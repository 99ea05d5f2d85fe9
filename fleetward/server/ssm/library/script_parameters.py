"""Parameters that all library documents with scripts share: where a script runs and how long it may."""

from __future__ import annotations

EXECUTION_SECONDS = "^(?:[1-9][0-9]{0,4}|1[0-6][0-9]{4}|17[01][0-9]{3}|172[0-7][0-9]{2}|172800)$"
"""1 to 172800, as agents read regular expressions."""

COMMANDS = {
    "type": "StringList",
    "description": "The lines of the script, or one text that holds them all.",
    "minItems": 1,
    "displayType": "textarea",
}
WORKING_DIRECTORY = {
    "type": "String",
    "description": "Folder on the node in which the script runs. Empty: the agent chooses.",
    "default": "",
    "maxChars": 4096,
}
EXECUTION_TIMEOUT = {
    "type": "String",
    "description": "Seconds after which the script is stopped: 1 to 172800, which is 48 hours.",
    "default": "3600",
    "allowedPattern": EXECUTION_SECONDS,
}
