"""aws:runPowerShellScript: runs where PowerShell is, and says so where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.agent.machine import document, perform


def test_powershell_runs_or_is_said_to_be_missing(tmp_path: Path) -> None:
    step = {"action": "aws:runPowerShellScript", "name": "step", "inputs": {"runCommand": ["Write-Output (6*7)"]}}
    result = perform(tmp_path, document(step))["steps"]["step"]
    if shutil.which("pwsh"):
        assert result["standardOutput"].strip() == "42"
    else:
        assert result["status"] == "Failed"
        assert "pwsh" in result["standardError"]
