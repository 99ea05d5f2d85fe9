"""What a session is to be: the message that asks for it, read and its values put in (AP 11.2, 12.3).

What a newer control plane may add is left alone; what is there must have its type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fleetward.protocol.document import ParameterFault, SubstitutionFault, substitute
from fleetward.protocol.document.parameters import full_match
from fleetward.protocol.document.parse import check_json, flag

LARGEST_CONTENT_CHARS = 512 * 1024
LONGEST_PROFILE_CHARS = 4096
LONGEST_COMMANDS_CHARS = 128 * 1024
LONGEST_VALUE_CHARS = 64 * 1024

_PREFIX = re.compile(r"[0-9a-zA-Z\r\n_:-]{0,30}")
_DIGITS = re.compile(r"[0-9]{1,5}")


class SessionFault(Exception):
    """The session cannot be; one sentence for whoever asked for it."""


class SessionType(Enum):
    """What kind of session a document describes."""

    SHELL = "Standard_Stream"
    INTERACTIVE = "InteractiveCommands"
    NON_INTERACTIVE = "NonInteractiveCommands"
    PORT = "Port"


@dataclass(frozen=True, slots=True)
class Logging:
    """Where the transcript goes; empty: nowhere."""

    bucket: str = ""
    prefix: str = ""
    bucket_must_encrypt: bool = False
    group: str = ""
    group_must_encrypt: bool = False
    streams: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether there is to be a transcript."""
        return bool(self.bucket or self.group)


@dataclass(frozen=True, slots=True)
class RunAs:
    """Whose session the document wants it to be: `is_elevated` the agent's own, else `name` if there is a rule."""

    is_elevated: bool = False
    is_enabled: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """One session. `properties` are those of this platform for commands, else the document's as a whole."""

    session_id: str
    session_type: SessionType
    owner: str
    run_as: RunAs
    logging: Logging
    kms_key_id: str
    shell_profile: str
    properties: Mapping[str, Any]

    @property
    def commands(self) -> str:
        """What the document runs; of a list, line by line."""
        commands = self.properties.get("commands")
        if isinstance(commands, list) and all(isinstance(line, str) for line in commands):
            commands = "\n".join(commands)
        if not isinstance(commands, str) or not commands.strip():
            raise SessionFault("the document has no commands for this platform")
        if len(commands) > LONGEST_COMMANDS_CHARS:
            raise SessionFault(f"the commands are longer than {LONGEST_COMMANDS_CHARS} characters")
        return commands

    @property
    def separates_output(self) -> bool:
        """Whether standard output and standard error go apart."""
        return flag(self.properties.get("separateOutputStream"))

    def separator(self, name: str) -> bytes:
        """What goes before the lines of a stream: `stdOutSeparatorPrefix` or `stdErrSeparatorPrefix`."""
        prefix = self.properties.get(name) or ""
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise SessionFault(f"{name} may have 30 letters, digits, '_', ':', '-' and ends of lines at most")
        return prefix.encode()

    @property
    def port(self) -> int:
        """The port to connect to."""
        written = self.properties.get("portNumber")
        number = int(written) if isinstance(written, str) and _DIGITS.fullmatch(written) else 0
        if not 1 <= number <= 65535:
            raise SessionFault("portNumber must be a port from 1 to 65535")
        return number

    @property
    def host(self) -> str:
        """The host to connect to; empty: this machine."""
        host = self.properties.get("host") or ""
        if not isinstance(host, str) or len(host) > 255 or not host.isprintable() or host != host.strip():
            raise SessionFault("host is neither a host's name nor an address")
        return host

    @property
    def is_local_forwarding(self) -> bool:
        """Whether the client listens for connections; else it has exactly one."""
        return self.properties.get("type") == "LocalPortForwarding"


def read_request(session_id: str, content: str, platform: str) -> SessionRequest:
    """The session that a message asks for on `platform` (linux, macos or windows); SessionFault says what is wrong."""
    message = _object(_json(content), "the message")
    document = _object(message.get("DocumentContent"), "DocumentContent")
    try:
        session_type = SessionType(document.get("sessionType"))
    except ValueError:
        raise SessionFault(f"sessions of type {str(document.get('sessionType'))[:80]!r} are not known here") from None
    values = _values(document, message)
    inputs = _object(_filled(document.get("inputs") or {}, values), "inputs")
    properties = _object(_filled(document.get("properties") or {}, values), "properties")
    if session_type in (SessionType.INTERACTIVE, SessionType.NON_INTERACTIVE):
        properties = _object(properties.get(platform) or {}, f"properties: {platform}")
    return SessionRequest(
        session_id=session_id,
        session_type=session_type,
        owner=_text(message, "SessionOwner"),
        run_as=_run_as(inputs, properties, _text(message, "RunAsUser")),
        logging=_logging(session_type, inputs),
        kms_key_id="" if session_type is SessionType.PORT else _text(inputs, "kmsKeyId"),
        shell_profile=_shell_profile(inputs, platform),
        properties=properties,
    )


def _json(text: str) -> Any:
    if len(text) > LARGEST_CONTENT_CHARS:
        raise SessionFault(f"the message is longer than {LARGEST_CONTENT_CHARS} characters")
    try:
        read = json.loads(text)
        check_json(read)
    except (ValueError, RecursionError) as error:
        raise SessionFault(f"the message is not JSON that can be used: {error}") from None
    return read


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SessionFault(f"{what} is not an object")
    return value


def _text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise SessionFault(f"{name} is not text")
    return value.strip()


def _values(document: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, str]:
    """The values of the document's parameters as text, defaults filled in; each checked once more."""
    declared = _object(document.get("parameters") or {}, "parameters")
    given = _object(message.get("Parameters") or {}, "Parameters")
    for name in given:
        if name not in declared:
            raise SessionFault(f"{name[:80]!r} is not a parameter of the document")
    return {name: _value(name, _object(each, f"parameter {name}"), given) for name, each in declared.items()}


def _value(name: str, declared: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    default = _plain(name, declared["default"]) if declared.get("default") is not None else None
    value = _plain(name, given[name]) if name in given else default
    if value is None:
        raise SessionFault(f"parameter {name} has no default and needs a value")
    if value != default:
        _check(name, declared, value)
    return value


def _plain(name: str, value: Any) -> str:
    """Values are strings here, whatever the type; a list stands for its only item (AP 11.2)."""
    if isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or len(value) > LONGEST_VALUE_CHARS:
        raise SessionFault(f"the value of parameter {name} is no text that can be used")
    return value


def _check(name: str, declared: Mapping[str, Any], value: str) -> None:
    allowed = declared.get("allowedValues")
    if isinstance(allowed, list) and allowed and value not in [_plain(name, each) for each in allowed]:
        raise SessionFault(f"parameter {name} may not be {value[:80]!r}")
    pattern = declared.get("allowedPattern")
    if isinstance(pattern, str) and pattern:
        try:
            fits = len(value) <= 4096 and full_match(pattern, value)
        except ValueError as error:
            raise SessionFault(f"the pattern of parameter {name} {error}") from None
        if not fits:
            raise SessionFault(f"parameter {name} may not be {value[:80]!r}; it must match {pattern[:200]}")


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    try:
        return substitute(value, values)
    except (SubstitutionFault, ParameterFault) as fault:
        raise SessionFault(str(fault)) from None


def _run_as(inputs: Mapping[str, Any], properties: Mapping[str, Any], asked: str) -> RunAs:
    """The caller's own RunAsUser wins over the document's; both count only where run-as is enabled."""
    is_enabled = flag(inputs.get("runAsEnabled"))
    name = (asked or _text(inputs, "runAsDefaultUser")) if is_enabled else ""
    return RunAs(flag(properties.get("runAsElevated")), is_enabled, name)


def _logging(session_type: SessionType, inputs: Mapping[str, Any]) -> Logging:
    if session_type is SessionType.PORT:
        return Logging()
    return Logging(
        bucket=_text(inputs, "s3BucketName"),
        prefix=_text(inputs, "s3KeyPrefix").strip("/"),
        bucket_must_encrypt=flag(inputs.get("s3EncryptionEnabled")),
        group=_text(inputs, "cloudWatchLogGroupName"),
        group_must_encrypt=flag(inputs.get("cloudWatchEncryptionEnabled")),
        streams=flag(inputs.get("cloudWatchStreamingEnabled")),
    )


def _shell_profile(inputs: Mapping[str, Any], platform: str) -> str:
    profiles = _object(inputs.get("shellProfile") or {}, "shellProfile")
    profile = profiles.get(platform) or ""
    if not isinstance(profile, str) or len(profile) > LONGEST_PROFILE_CHARS:
        raise SessionFault(f"shellProfile is no text of {LONGEST_PROFILE_CHARS} characters at most")
    return profile
