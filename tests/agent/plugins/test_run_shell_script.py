"""aws:runShellScript: what its exit codes mean and what its inputs may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.agent.machine import document, perform, script


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (0, "Success", ""),
        (1, "Failed", "failed to run commands: exit status 1"),
        (137, "TimedOut", ""),
        (255, "Failed", "failed to run commands: exit status 255"),
    ],
)
def test_exit_codes_mean_what_the_protocol_says(tmp_path: Path, code: int, status: str, words: str) -> None:
    step = perform(tmp_path, document(script(f"exit {code}")))["steps"]["step"]
    assert (step["status"], step["code"], step["standardError"]) == (status, code, words)


def test_the_first_line_may_choose_another_interpreter(tmp_path: Path) -> None:
    step = perform(tmp_path, document(script("#!/usr/bin/env python3", "print(6 * 7)")))["steps"]["step"]
    assert step["standardOutput"] == "42\n"


def test_a_relative_folder_is_below_the_downloads(tmp_path: Path) -> None:
    step = perform(tmp_path, document(script("pwd", workingDirectory=".")))["steps"]["step"]
    assert step["standardOutput"].strip().endswith("/downloads")


@pytest.mark.parametrize("inputs", [{"workingDirectory": "/no/such/folder"}, {"environment": {"A=B": "x"}}])
def test_inputs_that_cannot_be_used_fail_the_step(tmp_path: Path, inputs: dict[str, Any]) -> None:
    step = perform(tmp_path, document(script("true", **inputs)))["steps"]["step"]
    assert (step["status"], step["code"]) == ("Failed", 1)
    assert step["standardError"]


def test_script_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    perform(tmp_path, document(script("true")))
    (path,) = tmp_path.glob("orchestration/*/steps/step/_script.sh")
    assert path.parent.stat().st_mode & 0o077 == 0
