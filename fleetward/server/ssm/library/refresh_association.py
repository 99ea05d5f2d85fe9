"""AWS-RefreshAssociation: have nodes read their associations again and run them now."""

from __future__ import annotations

NAME = "AWS-RefreshAssociation"

DOCUMENT = {
    "schemaVersion": "1.2",
    "description": "Has a node read its associations again and run the ones named, at once.",
    "parameters": {
        "associationIds": {
            "type": "StringList",
            "description": "Ids of the associations to run. None: all of the node's associations.",
            "default": [],
            "displayType": "textarea",
        }
    },
    # An object: written as a list of one object, the agent loses the ids and runs everything (AP 16.1).
    "runtimeConfig": {"aws:refreshAssociation": {"properties": {"associationIds": "{{ associationIds }}"}}},
}
