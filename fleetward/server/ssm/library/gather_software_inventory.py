"""AWS-GatherSoftwareInventory: collect what a node has and is; runs through an association only.

Parameters and their values: user guide, "Configuring inventory collection". Ours: services and Windows roles are
collected unless told otherwise, as everything else is; nodes that have none report none.
"""

from __future__ import annotations

from typing import Any

NAME = "AWS-GatherSoftwareInventory"


def _choice(what: str) -> dict[str, Any]:
    return {
        "type": "String",
        "description": f"Whether to collect {what}.",
        "default": "Enabled",
        "allowedValues": ["Enabled", "Disabled"],
    }


def _filters(what: str) -> dict[str, Any]:
    return {"type": "String", "description": what, "default": "", "displayType": "textarea"}


PARAMETERS = {
    "applications": _choice("installed applications and packages"),
    "awsComponents": _choice("components published by AWS, such as the agent"),
    "files": _filters(
        'Files to find, as JSON: [{"Path": "/etc", "Pattern": ["*.conf"], "Recursive": true, "DirScanLimit": 1000}]. '
        "Empty: none."
    ),
    "networkConfig": _choice("network interfaces and their addresses"),
    "windowsUpdates": _choice("Windows updates"),
    "instanceDetailedInformation": _choice("details of processors and system"),
    "services": _choice("services of Windows"),
    "windowsRegistry": _filters(
        'Registry values to read, as JSON: [{"Path": "HKEY_LOCAL_MACHINE\\\\SOFTWARE", "Recursive": true, '
        '"ValueNames": ["Version"]}]. Empty: none.'
    ),
    "windowsRoles": _choice("roles and features of Windows"),
    "customInventory": _choice("custom inventory from files on the node"),
    "billingInfo": _choice("what the node's system is billed as"),
}

DOCUMENT = {
    "schemaVersion": "2.0",
    "description": "Collects inventory of a node: software, network, files and what it is made of.",
    "parameters": PARAMETERS,
    "mainSteps": [
        {
            "action": "aws:softwareInventory",
            "name": "collectSoftwareInventoryItems",
            "inputs": {name: f"{{{{ {name} }}}}" for name in PARAMETERS},
        }
    ],
}
