"""aws:runPowerShellScript: run lines of PowerShell, on Linux and macOS where PowerShell 7 is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fleetward.agent.scripts import run_script
from fleetward.agent.steps import StepRun
from fleetward.protocol.document import StepOutcome


async def run(run: StepRun) -> StepOutcome:
    """Run `runCommand` by PowerShell; the step fails where there is none."""

    def command_for(script: Path, environment: Mapping[str, str]) -> list[str]:
        command = run.node.platform.powershell_command(script, environment)
        if command is None:
            raise OSError("PowerShell (pwsh) is not installed on this node")
        return command

    return await run_script(run, "_script.ps1", command_for)
