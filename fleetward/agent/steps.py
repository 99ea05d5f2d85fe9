"""One step of a document: the folder, the streams and the wish to stop that its plugin works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetward.agent import plugins
from fleetward.agent.node import Node
from fleetward.agent.output import StepOutput
from fleetward.agent.process import Stop
from fleetward.protocol.document import PlannedStep, StepOutcome, combine
from fleetward.protocol.status import StepStatus


@dataclass(frozen=True, slots=True)
class StepRun:
    """One part of one step as its plugin sees it. `folder` is its own, `downloads` the command's."""

    node: Node
    command_id: str
    step: PlannedStep
    inputs: Mapping[str, Any]
    folder: Path
    downloads: Path
    output: StepOutput
    stop: Stop
    environment: Mapping[str, str] = field(default_factory=dict)
    depth: int = 0
    association_id: str = ""
    """Empty when a command runs the step, not an association."""

    def fail(self, reason: str, exit_code: int = 1) -> StepOutcome:
        """The step failed for this reason."""
        self.output.add_error(reason)
        return StepOutcome(StepStatus.FAILED, exit_code)


def folder_name(step_name: str) -> str:
    """The folder of a step; names of steps are safe for files but for the colons of schema 1.x."""
    return step_name.replace(":", "")


async def run_step(
    node: Node,
    command_id: str,
    step: PlannedStep,
    folder: Path,
    downloads: Path,
    output: StepOutput,
    stop: Stop,
    environment: Mapping[str, str],
    *,
    depth: int = 0,
    association_id: str = "",
) -> StepOutcome:
    """Run all parts of a step, one after another until one does not succeed, and say how it went."""
    outcomes: list[StepOutcome] = []
    for number, inputs in enumerate(step.parts):
        if stop.is_set:
            outcomes.append(StepOutcome(StepStatus.CANCELLED, 137))
            break
        own = folder / str(number) if len(step.parts) > 1 else folder
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        run = StepRun(node, command_id, step, inputs, own, downloads, output, stop, environment, depth, association_id)
        try:
            outcome = await plugins.plugin_for(step.action)(run)
        except OSError as error:
            outcome = run.fail(f"{step.action} could not be run: {error}")
        outcomes.append(outcome)
        if outcome.status is not StepStatus.SUCCESS:
            break
    return combine(outcomes)
