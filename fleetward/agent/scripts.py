"""Run the script of a step: its file, folder, environment and time, and what its exit code means (AP 10.3)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fleetward.agent.platforms import Platform
from fleetward.agent.process import Ended, Ending, run_process
from fleetward.agent.steps import StepRun
from fleetward.protocol.document import StepOutcome
from fleetward.protocol.document.flow import EXIT_WITH_SUCCESS, REBOOT, REBOOT_ON_WINDOWS
from fleetward.protocol.status import StepStatus

KILLED = 137
PROCESS_FILE = "process"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


async def run_script(
    run: StepRun, name: str, command_for: Callable[[Path, Mapping[str, str]], list[str]]
) -> StepOutcome:
    """Write `runCommand` to the file `name` and run the command that `command_for` (script, environment) gives."""
    try:
        text = script_text(run.inputs.get("runCommand"))
        environment = script_environment(run)
    except ValueError as error:
        return run.fail(f"step {run.step.name}: {error}")
    script = run.folder / name
    script.write_text(text, encoding="utf-8", newline="")
    command = command_for(script, environment)
    ended = await run_process(
        command,
        folder=working_folder(run),
        environment=environment,
        on_output=run.output.stdout.write,
        on_errors=run.output.stderr.write,
        seconds=run.step.timeout_seconds,
        stop=run.stop,
        on_started=lambda pid: _remember(run, pid),
    )
    return judge(run, ended)


def judge(run: StepRun, ended: Ended) -> StepOutcome:
    """What an ending means for the step; adds the words that go with it to its errors."""
    code = ended.exit_code
    reboot_code = REBOOT_ON_WINDOWS if run.node.platform.platform_type == "Windows" else REBOOT
    if ended.how is Ending.CANCELLED:
        return StepOutcome(StepStatus.CANCELLED, KILLED)
    if ended.how is Ending.TIMED_OUT or code == KILLED:
        return StepOutcome(StepStatus.TIMED_OUT, KILLED)
    if code in (0, EXIT_WITH_SUCCESS):
        return StepOutcome(StepStatus.SUCCESS, code)
    if code == reboot_code:
        return StepOutcome(StepStatus.SUCCESS_AND_REBOOT, code)
    run.output.add_error(f"failed to run commands: exit status {code}")
    return StepOutcome(StepStatus.FAILED, code)


def script_text(lines: Any) -> str:
    """The script of a step's `runCommand`: lines, or one text; ValueError for anything else."""
    if isinstance(lines, str):
        lines = [lines]
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError("runCommand must be a list of lines")
    return "\n".join([*lines, ""])


def script_environment(run: StepRun) -> dict[str, str]:
    """The agent's own environment, what the protocol adds, and the step's; ValueError for names that are none."""
    name, version = run.node.platform.name_and_version()
    environment = {
        **os.environ,
        "AWS_SSM_INSTANCE_ID": run.node.node_id,
        "AWS_SSM_REGION_NAME": run.node.region,
        "AWS_SSM_PLATFORM_NAME": name,
        "AWS_SSM_PLATFORM_VERSION": version,
        "SSM_COMMAND_ID": run.command_id,
        "AWS_SHARED_CREDENTIALS_FILE": str(run.node.state.credentials),
        **run.environment,
    }
    own = run.inputs.get("environment") or {}
    if not isinstance(own, Mapping):
        raise ValueError("environment must be an object")
    for variable, value in own.items():
        if not _VARIABLE.fullmatch(variable) or not isinstance(value, str | int | float):
            raise ValueError(f"{variable!r} cannot be a variable of the environment")
        environment[variable] = str(value)
    return environment


def working_folder(run: StepRun) -> Path | None:
    """The folder asked for, below the downloads unless absolute; else the downloads, if any; else the agent's own."""
    asked = run.inputs.get("workingDirectory")
    if isinstance(asked, str) and asked:
        folder = Path(asked)
        if not folder.is_absolute():
            run.downloads.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = run.downloads / folder
        return folder
    return run.downloads if run.downloads.is_dir() else None


def _remember(run: StepRun, pid: int) -> None:
    """Note the process, so that a later agent can end it if this one is killed."""
    path = run.output.stdout.path.parent / PROCESS_FILE
    path.write_text(f"{pid} {run.node.platform.process_mark(pid)}")


def end_leftover(folder: Path, platform: Platform) -> None:
    """End what an agent that was killed left running of the step whose folder this is."""
    try:
        pid, _, mark = (folder / PROCESS_FILE).read_text().partition(" ")
        if mark and platform.process_mark(int(pid)) == mark:
            platform.kill_tree(int(pid))
    except (OSError, ValueError):
        pass
