"""Content: what a document's text must be for its type, and what it says about itself; parsed once per hash."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from fleetward.protocol import document as protocol
from fleetward.protocol.document.describe import PLATFORMS
from fleetward.protocol.document.parse import SCHEMAS_OF_TYPE
from fleetward.protocol.document.references import as_text
from fleetward.server.ssm.documents import convert
from fleetward.server.ssm.errors import (
    InvalidDocument,
    InvalidDocumentContent,
    InvalidDocumentSchemaVersion,
    MaxDocumentSizeExceeded,
)

CONTENT_LIMIT = 64 * 1024
"""Bytes of UTF-8."""

SCHEMAS: Mapping[str, frozenset[str]] = {
    **SCHEMAS_OF_TYPE,
    "Automation": frozenset({"0.3"}),
    "Automation.ChangeTemplate": frozenset({"0.3"}),
    "Session": frozenset({"1.0"}),
}
"""Types whose schemaVersion we know; the others are kept as they come."""

WITH_TAGS_OF_THEIR_OWN = frozenset({"CloudFormation", "ConformancePackTemplate"})
"""Types whose YAML has tags such as !Ref; it is kept as it comes and never converted."""
MAY_BE_TEXT = frozenset({"ApplicationConfiguration", "ChangeCalendar", "ProblemAnalysisTemplate", "QuickSetup"})
CEDAR = "AutoApprovalPolicy"
CALENDAR = "ChangeCalendar"
LIST_TYPES = frozenset({"MapList", "StringList"})

_SCHEMA_VERSION = re.compile(r"[0-9]+\.[0-9]+")


@dataclass(frozen=True, slots=True)
class Source:
    """A document's text and how to read it. Equal when the hashes are."""

    sha256: str
    document_type: str
    format: str
    text: str = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Content:
    """What a document says. `value` is its JSON equivalent, None for text; `document` is set for those nodes run.

    Shared by everybody who asks for the same text: not to be changed.
    """

    value: Mapping[str, Any] | None
    document: protocol.Document | None
    schema_version: str
    description: str
    platform_types: tuple[str, ...]
    parameters: tuple[Mapping[str, str], ...]


def source(text: str, document_type: str, document_format: str) -> Source:
    """Hash a text that is to be stored."""
    return Source(protocol.content_hash(text), document_type, document_format, text)


def check(text: str, document_type: str, document_format: str) -> tuple[Source, Content]:
    """Read a text that is to be stored.

    Raises MaxDocumentSizeExceeded, InvalidDocumentContent or InvalidDocumentSchemaVersion.
    """
    size_bytes = len(text.encode())
    if size_bytes > CONTENT_LIMIT:
        raise MaxDocumentSizeExceeded(f"The content has {size_bytes} bytes; at most {CONTENT_LIMIT} are allowed.")
    if "\0" in text:
        raise InvalidDocumentContent("The content contains a NUL character.")
    stored = source(text, document_type, document_format)
    return stored, parsed(stored)


@lru_cache(maxsize=512)
def parsed(stored: Source) -> Content:
    """What a text says; raises InvalidDocumentContent or InvalidDocumentSchemaVersion."""
    if stored.document_type == CEDAR:  # whatever its format is said to be, as in AWS
        return Content(None, None, "", "", (), ())
    if stored.format == "TEXT" or stored.document_type == CALENDAR:
        return _text(stored)
    if stored.format == "YAML" and stored.document_type in WITH_TAGS_OF_THEIR_OWN:
        return Content(None, None, "", "", (), ())
    value = convert.read(stored.text, stored.format)
    return _READERS.get(stored.document_type, _free)(stored, value)


def convertible(stored: Source) -> bool:
    """Whether the text can be given as JSON and as YAML."""
    return parsed(stored).value is not None


def runnable(stored: Source) -> protocol.Document:
    """The document as nodes run it; InvalidDocument for types that they do not."""
    document = parsed(stored).document
    if document is None:
        raise InvalidDocument(f"Documents of type {stored.document_type} are not run by managed nodes.")
    return document


def _text(stored: Source) -> Content:
    if stored.document_type not in MAY_BE_TEXT or stored.format != "TEXT":
        allowed = "TEXT" if stored.document_type == CALENDAR else "JSON or YAML"
        raise InvalidDocumentContent(f"Documents of type {stored.document_type} are of the format {allowed}.")
    if stored.document_type == CALENDAR:
        lines = stored.text.strip().splitlines()
        if lines[:1] != ["BEGIN:VCALENDAR"] or lines[-1:] != ["END:VCALENDAR"]:
            raise InvalidDocumentContent("A ChangeCalendar is iCalendar text from BEGIN:VCALENDAR to END:VCALENDAR.")
    return Content(None, None, "", "", (), ())


def _require_schema(stored: Source, value: Mapping[str, Any]) -> str:
    version, allowed = value.get("schemaVersion"), SCHEMAS[stored.document_type]
    if isinstance(version, str) and version in allowed:
        return version
    if version is not None and str(version) in allowed:
        raise InvalidDocumentSchemaVersion(f"schemaVersion must be text; write it in quotes: '{version}'.")
    kind = stored.document_type
    raise InvalidDocumentSchemaVersion(
        f"Documents of type {kind} need a schemaVersion of {', '.join(sorted(allowed))}; this one has {version!r}."
    )


def _for_nodes(stored: Source, value: Mapping[str, Any]) -> Content:
    version = _require_schema(stored, value)
    try:
        document = protocol.parse(value, stored.document_type)
    except protocol.DocumentFault as fault:
        raise InvalidDocumentContent(f"The document cannot be used: {fault.reason}.") from None
    return Content(
        value=value,
        document=document,
        schema_version=version,
        description=document.description,
        platform_types=tuple(protocol.platform_types(document)),
        parameters=tuple(_in_model(each) for each in protocol.parameter_descriptions(document)),
    )


def _automation(stored: Source, value: Mapping[str, Any]) -> Content:
    version = _require_schema(stored, value)
    steps = value.get("mainSteps")
    if not isinstance(steps, list) or not steps:
        raise InvalidDocumentContent("mainSteps must be a list of at least one step.")
    names: set[str] = set()
    for position, step in enumerate(steps, start=1):
        name = step.get("name") if isinstance(step, dict) else None
        if not isinstance(name, str) or not isinstance(step.get("action"), str):
            raise InvalidDocumentContent(f"Step {position} needs a name and an action.")
        if name in names:
            raise InvalidDocumentContent(f"Two steps are named {name!r}.")
        names.add(name)
    return Content(value, None, version, _description(value), tuple(PLATFORMS), _parameters(value))


def _session(stored: Source, value: Mapping[str, Any]) -> Content:
    version = _require_schema(stored, value)
    try:
        session = protocol.parse_session(value)
    except protocol.DocumentFault as fault:
        raise InvalidDocumentContent(f"The document cannot be used: {fault.reason}.") from None
    parameters = tuple(_in_model(each) for each in protocol.parameter_descriptions(session))
    return Content(value, None, version, session.description, session.platforms, parameters)


def _approval(stored: Source, value: Mapping[str, Any]) -> Content:
    try:
        policy = protocol.parse_approval(value)
    except protocol.DocumentFault as fault:
        raise InvalidDocumentContent(f"The document cannot be used: {fault.reason}.") from None
    return Content(value, None, value["schemaVersion"], policy.description, (), ())


def _free(stored: Source, value: Mapping[str, Any]) -> Content:
    version = value.get("schemaVersion")
    shown = version if isinstance(version, str) and _SCHEMA_VERSION.fullmatch(version) else ""
    return Content(value, None, shown, _description(value), (), ())


_READERS: Mapping[str, Callable[[Source, Mapping[str, Any]], Content]] = {
    "Command": _for_nodes,
    "Policy": _for_nodes,
    "Automation": _automation,
    "Automation.ChangeTemplate": _automation,
    "Session": _session,
    "ManualApprovalPolicy": _approval,
}


def _description(value: Mapping[str, Any]) -> str:
    description = value.get("description")
    return description if isinstance(description, str) else ""


def _parameters(value: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    """DescribeDocument's Parameters of a document that `protocol` does not read."""
    declared = value.get("parameters")
    if declared is None:
        return ()
    if not isinstance(declared, dict) or not all(isinstance(each, dict) for each in declared.values()):
        raise InvalidDocumentContent("parameters must be an object whose members are objects.")
    descriptions = []
    for name, each in declared.items():
        description = {"Name": name, "Type": str(each.get("type", "String")), "Description": _description(each)}
        if each.get("default") is not None:
            description["DefaultValue"] = as_text(each["default"])
        descriptions.append(_in_model(description))
    return tuple(descriptions)


def _in_model(description: Mapping[str, str]) -> Mapping[str, str]:
    """Ours: the model knows String and StringList alone, so every other type is shown as the nearer of both."""
    listed = description["Type"] in LIST_TYPES or description["Type"].startswith("List<")
    return {**description, "Type": "StringList" if listed else "String"}
