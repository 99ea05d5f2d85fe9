"""aws:runDocument: run another document as one step, from the control plane or from a file on the node (AP 10.4)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetward.agent.client import ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.plugins import ACTIONS
from fleetward.agent.process import run_program
from fleetward.agent.steps import StepRun, folder_name, run_step
from fleetward.protocol.document import (
    DocumentFault,
    Flow,
    ParameterFault,
    PlannedStep,
    StepOutcome,
    SubstitutionFault,
    bind_wire,
    environment_parameters,
    parse,
    plan,
)
from fleetward.protocol.status import DocumentStatus, StepStatus

DEEPEST = 3
LARGEST_FILE_BYTES = 1024 * 1024
CHILD_MEMORY_BYTES = 512 * 1024 * 1024
YAML_IS_MISSING = 3

_STATUSES = {
    DocumentStatus.SUCCESS: StepOutcome(StepStatus.SUCCESS, 0),
    DocumentStatus.TIMED_OUT: StepOutcome(StepStatus.TIMED_OUT, 137),
    DocumentStatus.CANCELLED: StepOutcome(StepStatus.CANCELLED, 137),
    DocumentStatus.SUCCESS_AND_REBOOT: StepOutcome(StepStatus.SUCCESS_AND_REBOOT, 194),
}


class DocumentNotRead(Exception):
    """The document to run cannot be had or cannot be read."""


async def run(run: StepRun) -> StepOutcome:
    """Run the steps of the named document; their outputs become this step's, one after another.

    Ours: a reboot inside makes the whole of it run again, since what it has done is not kept step by step.
    """
    if run.depth >= DEEPEST:
        return run.fail(f"documents may run documents {DEEPEST} deep, not deeper")
    try:
        content = await _content(run)
        document = parse(content)
        values = bind_wire(document, _parameters(run.inputs.get("documentParameters")))
    except (DocumentNotRead, DocumentFault, ParameterFault, SubstitutionFault) as fault:
        return run.fail(f"step {run.step.name}: {fault}")
    platform_type = run.node.platform.platform_type
    steps = plan(document, values, platform_type, ACTIONS)
    flow = Flow(steps, platform_type)
    variables = {**run.environment, **environment_parameters(document, values)}
    failed = StepOutcome(StepStatus.FAILED, 1)
    while (step := flow.next()) is not None:
        outcome = await _run_one(run, step, variables)
        flow.after(step, outcome)
        if outcome.status is StepStatus.FAILED:
            failed = outcome
        if flow.document_status() is DocumentStatus.SUCCESS_AND_REBOOT:
            break
    return _STATUSES.get(flow.document_status(), failed)


async def _run_one(run: StepRun, step: PlannedStep, variables: Mapping[str, str]) -> StepOutcome:
    if step.skip_reason is not None:
        run.output.stdout.write(f"{step.skip_reason}\n".encode())
        return StepOutcome(StepStatus.SKIPPED, 0)
    if step.fail_reason is not None:
        return run.fail(step.fail_reason)
    return await run_step(
        run.node,
        run.command_id,
        step,
        run.folder / folder_name(step.name),
        run.downloads,
        run.output,
        run.stop,
        variables,
        depth=run.depth + 1,
        association_id=run.association_id,
    )


async def fetch_document(run: StepRun, name: str, *, as_json: bool = True) -> dict[str, Any]:
    """GetDocument of `name` or `name:version`, also by ARN; DocumentNotRead when it is refused."""
    head, slash, tail = name.rpartition("/") if name.startswith("arn:") else ("", "", name)
    short, _, version = tail.partition(":")
    members = {"Name": f"{head}{slash}{short}"}
    if version:
        members["DocumentVersion"] = version
    if as_json:
        members["DocumentFormat"] = "JSON"
    try:
        answer = await run.node.client.ssm("GetDocument", members)
    except (ServiceFault, HttpFault) as error:
        raise DocumentNotRead(f"document {name} cannot be read: {error}") from error
    if not isinstance(answer.get("Content"), str):
        raise DocumentNotRead(f"document {name} has no content")
    return answer


async def _content(run: StepRun) -> dict[str, Any]:
    kind, path = run.inputs.get("documentType"), run.inputs.get("documentPath")
    if not isinstance(path, str) or not path:
        raise DocumentNotRead("documentPath is missing")
    if kind == "SSMDocument":
        text = str((await fetch_document(run, path))["Content"])
    elif kind == "LocalPath":
        text = _read_file(run.downloads / path)
    else:
        raise DocumentNotRead(f"documentType must be SSMDocument or LocalPath, not {kind!r}")
    content = _object(text)
    if content is None and kind == "LocalPath":
        content = _object(await _yaml_as_json(text, path))
    if content is None:
        raise DocumentNotRead(f"{path} is not a document")
    return content


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
        if len(data) > LARGEST_FILE_BYTES:
            raise DocumentNotRead(f"{path} is longer than {LARGEST_FILE_BYTES} bytes")
        return data.decode()
    except OSError as error:
        raise DocumentNotRead(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise DocumentNotRead(f"{path} is not UTF-8") from None


def _object(text: str) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


async def _yaml_as_json(text: str, path: str) -> str:
    """By a child, since PyYAML need not be there and need not stay."""
    code, output, errors = await run_program([sys.executable, "-P", "-m", __name__], text.encode())
    if code == YAML_IS_MISSING:
        raise DocumentNotRead(f"{path} is not JSON, and YAML needs PyYAML on this node")
    if code != 0:
        reason = errors.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise DocumentNotRead(f"{path} is neither JSON nor YAML: {reason}")
    return output.decode()


def _parameters(value: Any) -> dict[str, Any]:
    """`documentParameters`, which documents write as JSON text or as an object."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        value = _object(value)
    if not isinstance(value, dict):
        raise DocumentNotRead("documentParameters must be an object")
    return value


def main() -> int:
    """The child: YAML on standard input, JSON on standard output."""
    try:
        import yaml
    except ImportError:
        return YAML_IS_MISSING
    if sys.platform != "win32":
        import resource

        # Aliases can make a small text very large.
        resource.setrlimit(resource.RLIMIT_AS, (CHILD_MEMORY_BYTES, CHILD_MEMORY_BYTES))
    sys.stdout.write(json.dumps(yaml.safe_load(sys.stdin.buffer.read()), default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main())
