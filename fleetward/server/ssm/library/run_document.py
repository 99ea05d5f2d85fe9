"""AWS-RunDocument: fetch a document from where it is kept and run it on the node."""

from __future__ import annotations

NAME = "AWS-RunDocument"

DOCUMENT = {
    "schemaVersion": "2.2",
    "description": "Fetches a document, from this service or from elsewhere, and runs it on the node.",
    "parameters": {
        "sourceType": {
            "type": "String",
            "description": "Where the document is kept.",
            "default": "SSMDocument",
            "allowedValues": ["GitHub", "Git", "HTTP", "S3", "SSMDocument"],
        },
        "sourceInfo": {
            "type": "StringMap",
            "description": 'How to find it there. Of type SSMDocument: {"name": "MyDocument"}.',
            "default": {},
            "displayType": "textarea",
        },
        "documentPath": {
            "type": "String",
            "description": "File that the document is fetched to; its ending tells .json from .yaml.",
            "default": "document.json",
            "maxChars": 4096,
        },
        "documentParameters": {
            "type": "StringMap",
            "description": "Values for the document's own parameters.",
            "default": {},
            "displayType": "textarea",
        },
    },
    "mainSteps": [
        {
            "action": "aws:downloadContent",
            "name": "downloadContent",
            "inputs": {
                "sourceType": "{{ sourceType }}",
                "sourceInfo": "{{ sourceInfo }}",
                "destinationPath": "{{ documentPath }}",
                "onFailure": "exit",
            },
        },
        {
            "action": "aws:runDocument",
            "name": "runDocument",
            "inputs": {
                "documentType": "LocalPath",
                "documentPath": "{{ documentPath }}",
                "documentParameters": "{{ documentParameters }}",
            },
        },
    ],
}
