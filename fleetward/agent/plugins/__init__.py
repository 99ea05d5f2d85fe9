"""What documents can do on this node: one file per action, imported when a document first uses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetward.agent.steps import StepRun
    from fleetward.protocol.document import StepOutcome

ACTIONS: Mapping[str, str] = {
    "aws:downloadContent": "download_content",
    "aws:refreshAssociation": "refresh_association",
    "aws:runDocument": "run_document",
    "aws:runPowerShellScript": "run_powershell_script",
    "aws:runShellScript": "run_shell_script",
    "aws:softwareInventory": "software_inventory",
}


def plugin_for(action: str) -> Callable[[StepRun], Awaitable[StepOutcome]]:
    """The function that performs an action; KeyError for one that is not ours."""
    run: Callable[[StepRun], Awaitable[StepOutcome]] = import_module(f"{__name__}.{ACTIONS[action]}").run
    return run
