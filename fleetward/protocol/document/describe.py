"""How a document looks from outside: platforms, parameters, hashes, names of its outputs, how long it may run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from fleetward.protocol.document.parameters import Declares
from fleetward.protocol.document.parse import SCHEMAS_WITH_PLUGINS, Document, Step
from fleetward.protocol.document.plan import (
    ACTION_PLATFORMS,
    DEFAULT_TIMEOUT_SECONDS,
    PlannedStep,
    PlatformType,
    plan,
    platforms_of,
    required_platform,
)
from fleetward.protocol.document.references import as_text

PLATFORMS: tuple[PlatformType, ...] = ("Windows", "Linux", "MacOS")


def content_hash(text: str) -> str:
    """DocumentHash of type Sha256: hex, over the content exactly as it was stored."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha1_hash(text: str) -> str:
    """DocumentHash of the legacy type Sha1."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def platform_types(document: Document) -> list[str]:
    """Where at least one step can run: where its action exists, narrowed by its precondition (SEM 2.3)."""
    found = {platform for step in document.steps for platform in _step_platforms(step, document.schema_version)}
    return [platform for platform in PLATFORMS if platform in found]


def parameter_descriptions(document: Declares) -> list[dict[str, str]]:
    """DescribeDocument's Parameters; DefaultValue is text, of a list JSON text, and missing without a default."""
    descriptions = []
    for parameter in document.parameters.values():
        description = {"Name": parameter.name, "Type": parameter.type, "Description": parameter.description}
        if parameter.has_default:
            description["DefaultValue"] = as_text(parameter.default)
        descriptions.append(description)
    return descriptions


def plugin_name(step: Step | PlannedStep, schema_version: str) -> str:
    """The PluginName of a step in the API and the key of its result: its own name, in schema 1.x its action."""
    return step.action if schema_version in SCHEMAS_WITH_PLUGINS else step.name


def output_key(step: Step | PlannedStep, schema_version: str, part: int = 0) -> str:
    """The middle of a step's S3 keys, `<action>/<step>` without colons (AP 10.5).

    In schema 1.x the second half is the property's `id`, such as `0.aws:runShellScript`; Ours: made up when missing.
    """
    name = step.name
    if schema_version in SCHEMAS_WITH_PLUGINS:
        inputs = step.parts[part] if part < len(step.parts) else {}
        written = inputs.get("id") if isinstance(inputs, Mapping) else None
        name = written if isinstance(written, str) and written else f"{part}.{step.action}"
    safe = name.replace(":", "").replace("/", "-").replace("\\", "-")
    return f"{step.action.replace(':', '')}/{'_' if safe in ('.', '..', '') else safe}"


def execution_seconds(document: Document, parameters: Mapping[str, Any]) -> int:
    """How long the document may run once started: its steps' time-outs added up, on the slowest platform.

    `parameters` are bound values. Together with the delivery time-out it gives a command's ExpiresAfter.
    """
    return max((_seconds_on(document, parameters, platform) for platform in PLATFORMS), default=0) or (
        DEFAULT_TIMEOUT_SECONDS
    )


def _seconds_on(document: Document, parameters: Mapping[str, Any], platform: PlatformType) -> int:
    supported = {name for name in ACTION_PLATFORMS if platform in platforms_of(name, document.schema_version)}
    steps = plan(document, parameters, platform, supported)
    return sum(
        step.timeout_seconds * max(1, len(step.parts))
        for step in steps
        if step.skip_reason is None and step.fail_reason is None
    )


def _step_platforms(step: Step, schema_version: str) -> frozenset[PlatformType]:
    existing = platforms_of(step.action, schema_version)
    required = required_platform(step) if schema_version == "2.2" else None
    if required is None:
        return existing
    return frozenset(platform for platform in existing if platform.lower() == required)
