"""Plan a document for one platform: each step with its values put in, or why it is skipped or fails unrun."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fleetward.protocol.document.parameters import environment_name
from fleetward.protocol.document.parse import Document, Step, flag
from fleetward.protocol.document.references import SubstitutionFault, as_text, references_parameter, substitute

PlatformType = Literal["Linux", "Windows", "MacOS"]

_ALL: frozenset[PlatformType] = frozenset({"Linux", "Windows", "MacOS"})
_WINDOWS: frozenset[PlatformType] = frozenset({"Windows"})
_LINUX_WINDOWS: frozenset[PlatformType] = frozenset({"Linux", "Windows"})

ACTION_PLATFORMS: Mapping[str, frozenset[PlatformType]] = {
    "aws:runShellScript": frozenset({"Linux", "MacOS"}),
    "aws:runPowerShellScript": _LINUX_WINDOWS,
    "aws:runDocument": _ALL,
    "aws:downloadContent": _ALL,
    "aws:configurePackage": _ALL,
    "aws:softwareInventory": _ALL,
    "aws:refreshAssociation": _ALL,
    "aws:updateSsmAgent": _ALL,
    "aws:configureDaemon": _ALL,
    "aws:runDockerAction": _LINUX_WINDOWS,
    "aws:configureDocker": _LINUX_WINDOWS,
    "aws:domainJoin": _LINUX_WINDOWS,
    "aws:applications": _WINDOWS,
    "aws:psModule": _WINDOWS,
    "aws:cloudWatch": _WINDOWS,
    "aws:updateAgent": _WINDOWS,
}
"""Every action agents are known to have, and where each exists at all."""

DEFAULT_TIMEOUT_SECONDS = 3600
MIN_TIMEOUT_SECONDS = 5
MAX_TIMEOUT_SECONDS = 172_800

_SHELL_REFERENCES = {
    "aws:runShellScript": "${{{name}}}",
    "aws:runPowerShellScript": "${{env:{name}}}",
}


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """What is to happen for one step: run `parts` in order, unless a reason says otherwise.

    `skip_reason` ends it as Skipped, `fail_reason` as Failed; at most one is set. `timeout_seconds` is each part's.
    """

    name: str
    action: str
    parts: tuple[dict[str, Any], ...]
    settings: Any = None
    skip_reason: str | None = None
    fail_reason: str | None = None
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    on_failure: str | None = None
    on_success: str | None = None
    finally_step: bool = False
    max_attempts: int = 1

    @property
    def inputs(self) -> dict[str, Any]:
        """The inputs of a step that has only one part, as all of schema 2.x."""
        return self.parts[0] if self.parts else {}


def plan(
    document: Document,
    parameters: Mapping[str, Any],
    platform_type: PlatformType,
    supported_actions: Container[str],
) -> list[PlannedStep]:
    """The document's steps, in order, for a node of `platform_type` that can perform `supported_actions`.

    `parameters` are bound values. Nothing is raised: what cannot run says so in its step (AP 10.1).
    Ours: in scripts, `{{ name }}` of a parameter with an interpolationType becomes a reference to its variable
    (`${SSM_name}`, in PowerShell `${env:SSM_name}`); in all other inputs it is replaced by text as usual.
    """
    return [_planned(document, step, parameters, platform_type, supported_actions) for step in document.steps]


def timeout_in(inputs: Mapping[str, Any]) -> int:
    """The time-out of a step in seconds: missing, unreadable or out of range means 3600 (AP 10.3)."""
    value = inputs.get("timeoutSeconds")
    try:
        seconds = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else 0
    except ValueError:
        seconds = 0
    return seconds if MIN_TIMEOUT_SECONDS <= seconds <= MAX_TIMEOUT_SECONDS else DEFAULT_TIMEOUT_SECONDS


def platforms_of(action: str, schema_version: str) -> frozenset[PlatformType]:
    """Where an action exists; PowerShell outside Windows came with schema 2.2. Unknown actions: anywhere."""
    if action == "aws:runPowerShellScript" and schema_version != "2.2":
        return _WINDOWS
    return ACTION_PLATFORMS.get(action, _ALL)


def required_platform(step: Step) -> str | None:
    """The platform, in lower case, that a precondition asks for in plain words."""
    operands = (step.precondition or {}).get("StringEquals", ())
    if len(operands) == 2 and operands.count("platformType") == 1:
        other = operands[0] if operands[1] == "platformType" else operands[1]
        return None if "{{" in other else other.lower()
    return None


def _planned(
    document: Document,
    step: Step,
    parameters: Mapping[str, Any],
    platform_type: PlatformType,
    supported_actions: Container[str],
) -> PlannedStep:
    try:
        parts: tuple[dict[str, Any], ...] = _filled(document, step, parameters)
        settings = substitute(step.settings, parameters)
        skip_reason, fail_reason = _reasons(document, step, parameters, platform_type, supported_actions)
    except (SubstitutionFault, ValueError, RecursionError) as error:
        parts, settings, skip_reason, fail_reason = (), None, None, f"Step {step.name} cannot run: {error}."
    inputs = parts[0] if parts else {}
    flow = inputs if document.schema_version.startswith("2.") else {}
    return PlannedStep(
        name=step.name,
        action=step.action,
        parts=parts,
        settings=settings,
        skip_reason=skip_reason,
        fail_reason=fail_reason,
        timeout_seconds=timeout_in({"timeoutSeconds": inputs.get("timeoutSeconds", step.timeout_seconds)}),
        on_failure=_word(flow.get("onFailure")),
        on_success=_word(flow.get("onSuccess")),
        finally_step=flag(flow.get("finallyStep")),
        max_attempts=step.max_attempts,
    )


def _filled(document: Document, step: Step, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The step's parts with values put in; text that became JSON is read, a list becomes several parts."""
    parts: list[dict[str, Any]] = []
    for part in step.parts:
        value = substitute(part, parameters)
        if isinstance(value, str):
            value = json.loads(value)
        for member in value if isinstance(value, list) else [value]:
            if not isinstance(member, dict):
                raise ValueError("its inputs are not an object")
            parts.append(member)
    if step.action in _SHELL_REFERENCES and isinstance(step.parts[0], Mapping) and "runCommand" in step.parts[0]:
        scripted = _with_variables(document, step.action, parameters)
        parts[0]["runCommand"] = substitute(step.parts[0]["runCommand"], scripted)
    return tuple(parts)


def _with_variables(document: Document, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as scripts see them: those that travel in the environment are references to it."""
    form = _SHELL_REFERENCES[action]
    return {
        name: form.format(name=environment_name(name))
        if name in document.parameters and document.parameters[name].by_environment
        else value
        for name, value in parameters.items()
    }


def _reasons(
    document: Document,
    step: Step,
    parameters: Mapping[str, Any],
    platform_type: PlatformType,
    supported_actions: Container[str],
) -> tuple[str | None, str | None]:
    """(skip_reason, fail_reason) of a step; both None when it is to run."""
    supported = step.action in supported_actions
    absent = not supported and platform_type not in platforms_of(step.action, document.schema_version)
    unknown = (
        f"Action {step.action} of step {step.name} is not supported by this version of ssm agent; "
        "update the agent or choose another action."
    )
    elsewhere = f"{step.action} of step {step.name} does not exist on {platform_type}."
    if document.schema_version != "2.2":
        if absent:
            return None, f"Unsupported plugin: {elsewhere}"
        if not supported:
            return None, unknown
        if step.precondition:
            return None, f"Step {step.name} has a precondition, which needs schemaVersion 2.2."
        return None, None
    satisfied, unreadable = _evaluate(step, parameters, platform_type)
    if not satisfied:
        return f"Step execution skipped due to unsatisfied preconditions: step {step.name}.", None
    if absent:
        return f"Step execution skipped due to unsupported plugin: {elsewhere}", None
    if not supported:
        return None, unknown
    if unreadable:
        return None, f"Step {step.name} has a precondition that cannot be evaluated: {unreadable}."
    return None, None


def _evaluate(step: Step, parameters: Mapping[str, Any], platform_type: PlatformType) -> tuple[bool, str | None]:
    """(whether no readable condition speaks against the step, the first unreadable condition)."""
    satisfied, unreadable = True, None
    for operator, operands in (step.precondition or {}).items():
        result = _equal(operands, parameters, platform_type) if operator == "StringEquals" else None
        if result is None:
            unreadable = unreadable or f"{operator} {json.dumps(list(operands), ensure_ascii=False)}"
        elif not result:
            satisfied = False
    return satisfied, unreadable


def _equal(operands: tuple[str, ...], parameters: Mapping[str, Any], platform_type: PlatformType) -> bool | None:
    """StringEquals: the platform against a text, or two texts of which one refers to a parameter; None: neither."""
    if len(operands) != 2:
        return None
    left, right = (as_text(substitute(operand, parameters)) for operand in operands)
    if operands.count("platformType") == 1:
        named = right if operands[0] == "platformType" else left
        return named.lower() == platform_type.lower()
    if any(references_parameter(operand, parameters) for operand in operands) and "platformType" not in operands:
        return left == right
    return None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
