"""Session documents: read one, bind the values of a session to it, say what node, client and server need of it.

A session's values are put in twice: here, for the server's own use, and by the agent, which gets the document with its
references and the values beside it as plain strings (AP 11.2). Only the server checks them against their patterns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetward.protocol.document.parameters import ParameterFault, PatternMatcher, bind, full_match
from fleetward.protocol.document.parse import DocumentFault, Parameter, check_json, read_parameters, read_text
from fleetward.protocol.document.references import (
    as_text,
    references_parameter,
    secure_references,
    ssm_references,
    substitute,
)

SCHEMA = "1.0"
SHELL = "Standard_Stream"
COMMANDS = ("InteractiveCommands", "NonInteractiveCommands")
PORT = "Port"
SESSION_TYPES = (SHELL, *COMMANDS, PORT)
PARAMETER_TYPES = ("String", "StringList", "Integer", "Boolean")
PLATFORMS = {"linux": "Linux", "macos": "MacOS", "windows": "Windows"}
"""Members of `properties` and `shellProfile`, and the platforms they mean."""

SHELL_PROFILE_CHARS = 512
IDLE_MINUTES = (1, 60)
DURATION_MINUTES = (1, 1440)
PORTS = (1, 65_535)
LOCAL_PORTS = (0, 65_535)

_TEXTS = ("s3BucketName", "s3KeyPrefix", "cloudWatchLogGroupName", "kmsKeyId", "runAsDefaultUser")
_SWITCHES = {
    "s3EncryptionEnabled": True,
    "cloudWatchEncryptionEnabled": True,
    "cloudWatchStreamingEnabled": False,
    "runAsEnabled": False,
}
_MINUTES = {"idleSessionTimeout": IDLE_MINUTES, "maxSessionDuration": DURATION_MINUTES}
_OF_INPUTS = (*_TEXTS, *_SWITCHES, *_MINUTES, "shellProfile")
DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(_TEXTS, ""),
    **_SWITCHES,
    "idleSessionTimeout": "20",
    "maxSessionDuration": "",
    "shellProfile": dict.fromkeys(PLATFORMS, ""),
}
"""Preferences of a session where neither its document nor the account says otherwise."""

_OF_PORT = ("portNumber", "localPortNumber", "host", "type", "localConnectionType", "localUnixSocket")
_OF_COMMANDS = ("commands", "runAsElevated", "separateOutputStream", "stdOutSeparatorPrefix", "stdErrSeparatorPrefix")
_SEPARATOR = re.compile(r"[0-9a-zA-Z\r\n_:-]{0,30}")
_DIGITS = re.compile(r"[0-9]{1,9}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class SessionDocument:
    """A Session document that passed every check.

    `inputs` has every member that the document sets, in the types of `DEFAULTS`, None when it has no inputs at all;
    `properties` is what agents read: ports and commands as text, switches as booleans.
    """

    description: str
    session_type: str
    parameters: Mapping[str, Parameter]
    inputs: Mapping[str, Any] | None
    properties: Mapping[str, Any] | None

    @property
    def platforms(self) -> tuple[str, ...]:
        """Where such a session can be: of commands the platforms that have some, else every one."""
        named = self.properties if self.session_type in COMMANDS and self.properties else PLATFORMS
        return tuple(PLATFORMS[each] for each in ("windows", "linux", "macos") if each in named)


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What one session is to be. All of it is the caller's own copy.

    `properties` and `inputs` have the values put in; `inputs` has every member of `DEFAULTS`. `content` and
    `parameters` are the DocumentContent and Parameters of the agent's message, which puts the values in once more.
    """

    session_type: str
    properties: dict[str, Any] | None
    inputs: dict[str, Any]
    parameters: dict[str, str]
    content: dict[str, Any]

    @property
    def idle_minutes(self) -> int:
        """Minutes without input and output after which the server ends the session."""
        return int(self.inputs["idleSessionTimeout"])

    @property
    def most_minutes(self) -> int | None:
        """Minutes after which the server ends the session whatever happens; None: never."""
        minutes = self.inputs["maxSessionDuration"]
        return int(minutes) if minutes else None


def parse_session(content: Any) -> SessionDocument:
    """Read a Session document; DocumentFault says what is wrong with it."""
    if not isinstance(content, Mapping):
        raise DocumentFault("the document must be an object")
    try:
        check_json(content)
    except ValueError as error:
        raise DocumentFault(f"the document {error}") from None
    if content.get("schemaVersion") != SCHEMA:
        raise DocumentFault(f"schemaVersion of a Session document must be the text {SCHEMA!r}")
    session_type = content.get("sessionType")
    if session_type not in SESSION_TYPES:
        raise DocumentFault(f"sessionType must be one of {', '.join(SESSION_TYPES)}")
    parameters = read_parameters(_with_type_names(content.get("parameters")), SCHEMA)
    for parameter in parameters.values():
        if parameter.type not in PARAMETER_TYPES:
            raise DocumentFault(f"parameter {parameter.name} has a type that sessions do not have: {parameter.type}")
        if isinstance(parameter.default, list) and len(parameter.default) > 1:
            raise DocumentFault(f"parameter {parameter.name} has a default of several values; sessions take one")
    inputs = content.get("inputs")
    if session_type == SHELL and inputs is None:
        raise DocumentFault(f"inputs are needed by sessions of type {SHELL}; they may be an empty object")
    return SessionDocument(
        description=read_text(content, "description", "the document") or "",
        session_type=session_type,
        parameters=parameters,
        inputs=None if inputs is None else _inputs(inputs),
        properties=_properties(session_type, content.get("properties"), parameters),
    )


def plan(
    document: Mapping[str, Any],
    values: Mapping[str, Sequence[str]],
    *,
    preferences: Mapping[str, Any] | None = None,
    matches: PatternMatcher = full_match,
) -> SessionPlan:
    """What a session with this document content and these values (name -> list of one text) is to be.

    A document without inputs of its own gets those of `preferences`, the content of the account's document, if there
    is one. DocumentFault for documents, ParameterFault for values that cannot be used.
    """
    read = parse_session(document)
    bound = bind(read, _single(read, values), matches=matches)
    parameters = {name: _plain(value) for name, value in bound.items()}
    chosen = read.inputs
    if chosen is None:
        chosen = {} if preferences is None else parse_session(preferences).inputs or {}
    inputs = {**DEFAULTS, **chosen, "shellProfile": {**DEFAULTS["shellProfile"], **chosen.get("shellProfile", {})}}
    written = {"properties": read.properties, "inputs": inputs}
    filled = substitute(written, parameters)
    _refuse_smuggled(read, written, filled)
    if read.session_type == PORT:
        _check_ports(read, filled["properties"])
    return SessionPlan(
        session_type=read.session_type,
        properties=filled["properties"],
        inputs=filled["inputs"],
        parameters=parameters,
        content=_content(read, inputs),
    )


def _with_type_names(declared: Any) -> Any:
    """The user guide writes `string` in Session documents, so the case of a type's name does not count in them."""
    if not isinstance(declared, Mapping):
        return declared
    names = {name.lower(): name for name in PARAMETER_TYPES}
    return {name: _with_type_name(each, names) for name, each in declared.items()}


def _with_type_name(definition: Any, names: Mapping[str, str]) -> Any:
    written = definition.get("type") if isinstance(definition, Mapping) else None
    return {**definition, "type": names.get(written.lower(), written)} if isinstance(written, str) else definition


def _inputs(inputs: Any) -> dict[str, Any]:
    if not isinstance(inputs, Mapping):
        raise DocumentFault("inputs must be an object")
    _refuse_others("inputs", inputs, _OF_INPUTS)
    read: dict[str, Any] = {}
    for name, value in inputs.items():
        where = f"inputs: {name}"
        if name in _SWITCHES:
            read[name] = _switch(where, value)
        elif name in _MINUTES:
            read[name] = _minutes(where, value, _MINUTES[name], needed=name == "idleSessionTimeout")
        elif name == "shellProfile":
            read[name] = _shell_profile(value)
        elif not isinstance(value, str):
            raise DocumentFault(f"{where} must be text")
        else:
            read[name] = value
    return read


def _shell_profile(profile: Any) -> dict[str, str]:
    if not isinstance(profile, Mapping):
        raise DocumentFault("inputs: shellProfile must be an object")
    _refuse_others("inputs: shellProfile", profile, tuple(PLATFORMS))
    for platform, commands in profile.items():
        if not isinstance(commands, str):
            raise DocumentFault(f"inputs: shellProfile: {platform} must be text")
        if len(commands) > SHELL_PROFILE_CHARS:
            raise DocumentFault(f"inputs: shellProfile: {platform} is longer than {SHELL_PROFILE_CHARS} characters")
    return dict(profile)


def _switch(where: str, value: Any) -> bool:
    """True or false, which documents also write as text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise DocumentFault(f"{where} must be true or false")


def _minutes(where: str, value: Any, bounds: tuple[int, int], *, needed: bool) -> str:
    """Minutes as text, which documents also write as a number; empty for none unless they are needed."""
    if value == "" and not needed:
        return ""
    number = _number(value)
    if number is None or not bounds[0] <= number <= bounds[1]:
        raise DocumentFault(f"{where} must be minutes from {bounds[0]} to {bounds[1]}{'' if needed else ', or empty'}")
    return str(number)


def _number(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else None


def _properties(session_type: str, properties: Any, parameters: Mapping[str, Parameter]) -> dict[str, Any] | None:
    if properties is None and session_type == SHELL:
        return None
    if not isinstance(properties, Mapping):
        raise DocumentFault(f"properties of a session of type {session_type} must be an object")
    if session_type == PORT:
        return _port_properties(properties, parameters)
    if session_type in COMMANDS:
        return _command_properties(properties)
    return dict(properties)


def _port_properties(properties: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> dict[str, str]:
    _refuse_others("properties", properties, _OF_PORT)
    if "portNumber" not in properties:
        raise DocumentFault("properties: portNumber is missing")
    read = {name: _port_property(name, value) for name, value in properties.items()}
    for name, bounds in (("portNumber", PORTS), ("localPortNumber", LOCAL_PORTS)):
        written = read.get(name)
        if written is None or references_parameter(written, parameters) or ssm_references(written):
            continue
        if not _within(written, bounds):
            raise DocumentFault(f"properties: {name} must be a port from {bounds[0]} to {bounds[1]} or a parameter")
    if read.get("type", "LocalPortForwarding") != "LocalPortForwarding":
        raise DocumentFault("properties: type must be LocalPortForwarding, or be left out for a raw connection")
    if read.get("localConnectionType", "unix") != "unix":
        raise DocumentFault("properties: localConnectionType must be unix, or be left out")
    return read


def _port_property(name: str, value: Any) -> str:
    """Agents read text alone; authors write ports as numbers too."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise DocumentFault(f"properties: {name} must be text")


def _command_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_others("properties", properties, tuple(PLATFORMS))
    if not properties:
        raise DocumentFault(f"properties must have commands for one of {', '.join(PLATFORMS)}")
    return {platform: _platform_commands(platform, each) for platform, each in properties.items()}


def _platform_commands(platform: str, settings: Any) -> dict[str, Any]:
    where = f"properties: {platform}"
    if not isinstance(settings, Mapping):
        raise DocumentFault(f"{where} must be an object")
    _refuse_others(where, settings, _OF_COMMANDS)
    read: dict[str, Any] = {"commands": _commands(f"{where}: commands", settings.get("commands"))}
    for name in ("runAsElevated", "separateOutputStream"):
        if name in settings:
            read[name] = _switch(f"{where}: {name}", settings[name])
    for name in ("stdOutSeparatorPrefix", "stdErrSeparatorPrefix"):
        prefix = settings.get(name)
        if prefix is None:
            continue
        if not isinstance(prefix, str) or not _SEPARATOR.fullmatch(prefix):
            raise DocumentFault(f"{where}: {name} may have 30 letters, digits, '_', ':', '-' and ends of lines at most")
        read[name] = prefix
    return read


def _commands(where: str, commands: Any) -> str:
    """One text, which authors also write as a list of lines."""
    if isinstance(commands, list) and commands and all(isinstance(line, str) for line in commands):
        commands = "\n".join(commands)
    if not isinstance(commands, str) or not commands.strip():
        raise DocumentFault(f"{where} must be text, or a list of lines")
    return commands


def _refuse_others(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """A misspelt preference would silently not hold."""
    for name in given:
        if name not in known:
            raise DocumentFault(f"{where} has {name!r}, which is none of {', '.join(known)}")


def _single(document: SessionDocument, values: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    for name, texts in values.items():
        if name in document.parameters and len(texts) != 1:
            raise ParameterFault(name, f"takes exactly one value in a session, not {len(texts)}")
    return values


def _plain(value: Any) -> str:
    """A bound value as the text that agents expect; a list has one item at most."""
    return "".join(value) if isinstance(value, list) else as_text(value)


def _refuse_smuggled(document: SessionDocument, written: Any, filled: Any) -> None:
    """The node would resolve a `{{ssm:…}}` that a caller's values contain or add up to, after all checks and with its
    own rights; only the document's author may have it do so."""
    authored = [written, [parameter.default for parameter in document.parameters.values()]]
    for find in (ssm_references, secure_references):
        if find(filled) - find(authored):
            names = ", ".join(document.parameters)
            raise ParameterFault(names, "may not refer to Parameter Store in the values of a session")


def _check_ports(document: SessionDocument, properties: Mapping[str, str]) -> None:
    for name, bounds in (("portNumber", PORTS), ("localPortNumber", LOCAL_PORTS)):
        if name in properties and not ssm_references(properties[name]) and not _within(properties[name], bounds):
            raise ParameterFault(name, f"must be a port from {bounds[0]} to {bounds[1]}")
    host = properties.get("host", "")
    if _CONTROL.search(host) or len(host) > 255 or host != host.strip():
        raise ParameterFault("host", "is neither a host's name nor an address")
    if document.properties and "host" in document.properties and not host:
        raise ParameterFault("host", "is empty")


def _within(text: str, bounds: tuple[int, int]) -> bool:
    return _DIGITS.fullmatch(text) is not None and bounds[0] <= int(text) <= bounds[1]


def _content(document: SessionDocument, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The DocumentContent of the agent's message, in the types that the official agent reads."""
    content: dict[str, Any] = {
        "schemaVersion": SCHEMA,
        "description": document.description,
        "sessionType": document.session_type,
        "inputs": substitute(inputs, {}),
    }
    if document.parameters:
        content["parameters"] = {name: _declared(each) for name, each in document.parameters.items()}
    if document.properties is not None:
        content["properties"] = substitute(document.properties, {})
    return content


def _declared(parameter: Parameter) -> dict[str, Any]:
    """A parameter as agents read it: a string, whose default is one too."""
    declared: dict[str, Any] = {"type": "String", "description": parameter.description}
    if parameter.has_default:
        declared["default"] = _plain(parameter.default)
    if parameter.allowed_pattern is not None:
        declared["allowedPattern"] = parameter.allowed_pattern
    if parameter.allowed_values:
        declared["allowedValues"] = list(parameter.allowed_values)
    return declared
