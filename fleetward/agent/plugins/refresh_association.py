"""aws:refreshAssociation: read the node's associations and begin those that are released (AP 10.4, 16.1).

The control plane decides what runs and when, so the ids that the step names change nothing (Ours).
"""

from __future__ import annotations

from fleetward.agent.steps import StepRun
from fleetward.protocol.document import StepOutcome
from fleetward.protocol.status import StepStatus


async def run(run: StepRun) -> StepOutcome:
    """Done once they are read; how they go is reported by themselves."""
    fault = await run.node.refresh.ask()
    return run.fail(f"the associations cannot be read: {fault}") if fault else StepOutcome(StepStatus.SUCCESS, 0)
