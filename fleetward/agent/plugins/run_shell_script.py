"""aws:runShellScript: run lines of shell."""

from __future__ import annotations

from fleetward.agent.scripts import run_script
from fleetward.agent.steps import StepRun
from fleetward.protocol.document import StepOutcome


async def run(run: StepRun) -> StepOutcome:
    """Run `runCommand` by `sh`."""
    return await run_script(run, "_script.sh", lambda script, environment: run.node.platform.shell_command(script))
