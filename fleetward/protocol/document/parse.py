"""Read an SSM document of type Command or Policy: its schema, parameters and steps, or why it cannot be one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

SCHEMAS_WITH_PLUGINS = frozenset({"1.0", "1.2"})
SCHEMAS_WITH_STEPS = frozenset({"2.0", "2.0.1", "2.0.2", "2.0.3", "2.2"})
SCHEMAS_OF_TYPE = {"Command": SCHEMAS_WITH_PLUGINS | SCHEMAS_WITH_STEPS, "Policy": SCHEMAS_WITH_STEPS}
PARAMETER_TYPES = ("String", "StringList", "Integer", "Boolean", "StringMap", "MapList")
INTERPOLATION_TYPES = ("ENV_VAR", "PRE_ENV_VAR")

MAX_DEPTH = 100
MAX_NODES = 65_536  # a 64 KiB text holds fewer values; more means YAML aliases that multiply
MAX_PATTERN_CHARS = 4096

_PARAMETER_NAME = re.compile(r"[a-zA-Z0-9]+")  # the official agent ignores any other
_STEP_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. \-]{0,126}[A-Za-z0-9_\-])?")  # Ours: it names a folder on nodes
_ACTION = re.compile(r"[A-Za-z0-9_]+(?::[A-Za-z0-9_]+)*")
_DIGITS = re.compile(r"[0-9]{1,9}")


class DocumentFault(Exception):
    """The content is no document we can run; `reason` is one sentence for its author."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as the document declares it; `default` already has the type's shape."""

    name: str
    type: str
    description: str = ""
    default: Any = None
    has_default: bool = False
    allowed_values: tuple[str, ...] = ()
    allowed_pattern: str | None = None
    min_items: int | None = None
    max_items: int | None = None
    min_chars: int | None = None
    max_chars: int | None = None
    display_type: str | None = None
    interpolation_type: str | None = None

    @property
    def by_environment(self) -> bool:
        """Whether scripts get the value as a variable SSM_<name> instead of text put into them."""
        return self.interpolation_type in INTERPOLATION_TYPES


@dataclass(frozen=True, slots=True)
class Step:
    """One step: of schema 2.x a `mainSteps` item, of 1.x a plugin, whose name is the step's.

    `parts` are its inputs, one after another: exactly one object in 2.x, in 1.x each of the plugin's `properties`
    (there a part may also be text such as "{{ properties }}" that becomes an object once values are in).
    `on_failure`, `on_success` and `finally_step` are read from the inputs, where AWS keeps them.
    """

    name: str
    action: str
    parts: tuple[Any, ...]
    settings: Any = None
    precondition: Mapping[str, tuple[str, ...]] | None = None
    timeout_seconds: int | None = None
    on_failure: str | None = None
    on_success: str | None = None
    finally_step: bool = False
    max_attempts: int = 1

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs, or the first of them; empty when they are still a reference."""
        first = self.parts[0]
        return dict(first) if isinstance(first, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Document:
    """A document that passed every check; `content` is the object it was read from and must not be changed."""

    schema_version: str
    description: str
    parameters: dict[str, Parameter]
    steps: tuple[Step, ...]
    content: Mapping[str, Any]


def parse_json(text: str, document_type: str = "Command") -> Document:
    """`parse` for JSON text; DocumentFault also for text that is not JSON."""
    try:
        content = json.loads(text)
    except RecursionError:
        raise DocumentFault(f"the document is nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:
        raise DocumentFault(f"the document is not valid JSON: {error}") from None
    return parse(content, document_type)


def parse(content: Mapping[str, Any], document_type: str = "Command") -> Document:
    """Read a Command or Policy document; DocumentFault says what is wrong with it.

    Members we do not know are left alone; references to undeclared parameters stay text (AP 10.1).
    """
    if not isinstance(content, Mapping):
        raise DocumentFault("the document must be an object")
    try:
        check_json(content)
    except ValueError as error:
        raise DocumentFault(f"the document {error}") from None
    schema_version = _schema_version(content, document_type)
    parameters = read_parameters(content.get("parameters"), schema_version)
    steps = _plugins(content) if schema_version in SCHEMAS_WITH_PLUGINS else _main_steps(content)
    return Document(
        schema_version=schema_version,
        description=read_text(content, "description", "the document") or "",
        parameters=parameters,
        steps=steps,
        content=content,
    )


def flag(value: Any) -> bool:
    """Documents write switches as true or "true"."""
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


@lru_cache(maxsize=512)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """An allowedPattern, written for Java and Go, as Python's; ValueError when Python cannot read it."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"is longer than {MAX_PATTERN_CHARS} characters")
    if "[[:" in pattern:
        raise ValueError("uses a POSIX class such as [[:alpha:]], which is not supported")
    try:
        return re.compile(re.sub(r"(?<!\\)\(\?<(?=[A-Za-z])", "(?P<", pattern))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None


def check_json(content: Any) -> None:
    """ValueError unless it is JSON throughout, not too deep and not too much; iterative, so depth cannot hurt us."""
    waiting: list[tuple[Any, int]] = [(content, 1)]
    nodes = 0
    while waiting:
        value, depth = waiting.pop()
        nodes += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        if nodes > MAX_NODES:
            raise ValueError(f"holds more than {MAX_NODES} values")
        if isinstance(value, Mapping):
            for key, member in value.items():
                if not isinstance(key, str):
                    raise ValueError(f"has the member name {key!r}, which must be text; put it in quotes")
                _check_text(key)
                waiting.append((member, depth + 1))
        elif isinstance(value, list):
            waiting.extend((member, depth + 1) for member in value)
        else:
            _check_scalar(value)


def _check_scalar(value: Any) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, int):
        if value.bit_length() > 63:
            raise ValueError("contains a number of more than 64 bits")
    elif value is not None and not (isinstance(value, float) and math.isfinite(value)):
        raise ValueError(f"contains {value!r}, which is not JSON; put it in quotes")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("contains half of a surrogate pair") from None


def _schema_version(content: Mapping[str, Any], document_type: str) -> str:
    version = content.get("schemaVersion")
    if version is None:
        raise DocumentFault("schemaVersion is missing")
    if not isinstance(version, str):
        raise DocumentFault("schemaVersion must be text; put it in quotes")
    supported = SCHEMAS_OF_TYPE.get(document_type)
    if supported is None:
        raise DocumentFault(f"documents of type {document_type} have no steps to run on a node")
    if version not in supported:
        raise DocumentFault(
            f"schemaVersion {version} is not supported for documents of type {document_type}; "
            f"use one of {', '.join(sorted(supported))}"
        )
    return version


def read_parameters(declared: Any, schema_version: str) -> dict[str, Parameter]:
    """A document's `parameters`, checked; none when they are missing."""
    if declared is None:
        return {}
    if not isinstance(declared, Mapping):
        raise DocumentFault("parameters must be an object")
    return {name: _parameter(name, definition, schema_version) for name, definition in declared.items()}


def _parameter(name: str, definition: Any, schema_version: str) -> Parameter:
    if not _PARAMETER_NAME.fullmatch(name):
        raise DocumentFault(f"the parameter name {name!r} may contain only letters and digits")
    where = f"parameter {name}"
    if not isinstance(definition, Mapping):
        raise DocumentFault(f"{where} must be an object")
    type_name = definition.get("type")
    if type_name not in PARAMETER_TYPES:
        raise DocumentFault(f"{where} has type {type_name!r}; use one of {', '.join(PARAMETER_TYPES)}")
    default = definition.get("default")
    return Parameter(
        name=name,
        type=type_name,
        description=read_text(definition, "description", where) or "",
        default=None if default is None else _default(where, type_name, default),
        has_default=default is not None,
        allowed_values=_allowed_values(definition, where),
        allowed_pattern=_allowed_pattern(definition, where),
        display_type=read_text(definition, "displayType", where),
        interpolation_type=_interpolation_type(definition, where, schema_version),
        **_limits(definition, where),
    )


def _default(where: str, type_name: str, value: Any) -> Any:
    """A default in its type's shape; numbers stand for their text where text is meant, as YAML authors write them."""
    if type_name == "String" and _is_text(value):
        return str(value)
    if type_name == "StringList" and isinstance(value, list) and all(map(_is_text, value)):
        return [str(item) for item in value]
    if type_name == "Integer":
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            return int(value)
    if type_name == "Boolean":
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
    if type_name == "StringMap":
        if isinstance(value, Mapping):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if isinstance(value, str) and _is_json_object(value):
            return value
    if type_name == "MapList" and isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
        return value
    raise DocumentFault(f"{where} has a default that is not a {type_name}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _allowed_values(definition: Mapping[str, Any], where: str) -> tuple[str, ...]:
    values = definition.get("allowedValues")
    if values is None:
        return ()
    if not isinstance(values, list) or not values:
        raise DocumentFault(f"{where}: allowedValues must be a list of at least one value")
    if not all(isinstance(value, str | int | float) for value in values):
        raise DocumentFault(f"{where}: allowedValues may contain only text, numbers and booleans")
    return tuple(("true" if value else "false") if isinstance(value, bool) else str(value) for value in values)


def _allowed_pattern(definition: Mapping[str, Any], where: str) -> str | None:
    pattern = read_text(definition, "allowedPattern", where)
    if pattern is not None:
        try:
            compile_pattern(pattern)
        except ValueError as error:
            raise DocumentFault(f"{where}: allowedPattern {error}") from None
    return pattern


def _interpolation_type(definition: Mapping[str, Any], where: str, schema_version: str) -> str | None:
    value = read_text(definition, "interpolationType", where)
    if value is None:
        return None
    if value not in INTERPOLATION_TYPES:
        raise DocumentFault(f"{where}: interpolationType must be one of {', '.join(INTERPOLATION_TYPES)}")
    if schema_version != "2.2":
        raise DocumentFault(f"{where}: interpolationType needs schemaVersion 2.2")
    return value


def _limits(definition: Mapping[str, Any], where: str) -> dict[str, int | None]:
    minimum_items, maximum_items = _whole(definition, "minItems", where), _whole(definition, "maxItems", where)
    minimum_chars, maximum_chars = _whole(definition, "minChars", where), _whole(definition, "maxChars", where)
    for least, most, what in ((minimum_items, maximum_items, "Items"), (minimum_chars, maximum_chars, "Chars")):
        if least is not None and most is not None and least > most:
            raise DocumentFault(f"{where}: min{what} is greater than max{what}")
    return {
        "min_items": minimum_items,
        "max_items": maximum_items,
        "min_chars": minimum_chars,
        "max_chars": maximum_chars,
    }


def _whole(definition: Mapping[str, Any], member: str, where: str) -> int | None:
    """A count, which documents write as 5 or "5"."""
    value = definition.get(member)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    raise DocumentFault(f"{where}: {member} must be a whole number, not {value!r}")


def read_text(holder: Mapping[str, Any], member: str, where: str) -> str | None:
    """A member that may be missing and is text otherwise."""
    value = holder.get(member)
    if value is not None and not isinstance(value, str):
        raise DocumentFault(f"{where}: {member} must be text")
    return value


def _plugins(content: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps of schema 1.x: one per plugin of runtimeConfig."""
    plugins = content.get("runtimeConfig")
    if not isinstance(plugins, Mapping) or not plugins:
        raise DocumentFault("runtimeConfig must be an object with at least one plugin")
    return tuple(_plugin(name, config) for name, config in plugins.items())


def _plugin(name: str, config: Any) -> Step:
    if not _ACTION.fullmatch(name):
        raise DocumentFault(f"{name!r} is not the name of a plugin")
    if not isinstance(config, Mapping):
        raise DocumentFault(f"plugin {name} must be an object")
    properties = config.get("properties")
    parts = properties if isinstance(properties, list) else [{} if properties is None else properties]
    if not parts:
        raise DocumentFault(f"plugin {name} has an empty list of properties")
    if not all(isinstance(part, Mapping | str) for part in parts):
        raise DocumentFault(f"the properties of plugin {name} must be an object or a list of objects")
    timeout = parts[0].get("timeoutSeconds") if isinstance(parts[0], Mapping) else None
    return Step(
        name=name,
        action=name,
        parts=tuple(parts),
        settings=config.get("settings"),
        timeout_seconds=_literal_seconds(timeout),
    )


def _main_steps(content: Mapping[str, Any]) -> tuple[Step, ...]:
    """The steps of schema 2.x."""
    items = content.get("mainSteps")
    if not isinstance(items, list) or not items:
        raise DocumentFault("mainSteps must be a list of at least one step")
    steps = tuple(_main_step(position, item) for position, item in enumerate(items, start=1))
    names: set[str] = set()
    for step in steps:
        if step.name in names:
            raise DocumentFault(f"two steps are named {step.name}")
        names.add(step.name)
    for step in steps[:-1]:
        if step.finally_step:
            raise DocumentFault(f"step {step.name} has finallyStep but is not the last step")
    return steps


def _main_step(position: int, item: Any) -> Step:
    if not isinstance(item, Mapping):
        raise DocumentFault(f"step {position} must be an object")
    name, action = item.get("name"), item.get("action")
    if not isinstance(name, str) or not _STEP_NAME.fullmatch(name):
        raise DocumentFault(
            f"step {position} needs a name of at most 128 letters, digits, spaces, '.', '_' and '-', not {name!r}"
        )
    where = f"step {name}"
    if not isinstance(action, str) or not _ACTION.fullmatch(action):
        raise DocumentFault(f"{where} needs an action such as aws:runShellScript, not {action!r}")
    inputs = item.get("inputs")
    if inputs is None:
        inputs = {}
    if not isinstance(inputs, Mapping):
        raise DocumentFault(f"{where}: inputs must be an object")
    timeout = inputs.get("timeoutSeconds", item.get("timeoutSeconds"))
    return Step(
        name=name,
        action=action,
        parts=(inputs,),
        settings=item.get("settings"),
        precondition=_precondition(item, where),
        timeout_seconds=_literal_seconds(timeout),
        on_failure=_choice(inputs.get("onFailure")),
        on_success=_choice(inputs.get("onSuccess")),
        finally_step=flag(inputs.get("finallyStep")),
        max_attempts=_whole(item, "maxAttempts", where) or 1,
    )


def _precondition(item: Mapping[str, Any], where: str) -> Mapping[str, tuple[str, ...]] | None:
    """Only its shape is checked here: a condition without sense fails its step, not the document (AP 10.1)."""
    condition = item.get("precondition")
    if condition is None:
        return None
    if not isinstance(condition, Mapping):
        raise DocumentFault(f"{where}: precondition must be an object")
    for operator, operands in condition.items():
        if not isinstance(operands, list) or not all(isinstance(operand, str) for operand in operands):
            raise DocumentFault(f"{where}: precondition {operator} must be a list of texts")
    return {operator: tuple(operands) for operator, operands in condition.items()} or None


def _literal_seconds(value: Any) -> int | None:
    """A time-out written as a number; None when it is missing or a reference that is known only with values."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    return None


def _choice(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
