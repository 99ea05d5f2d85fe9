"""aws:runDocument: documents in documents, from files, to a depth of three."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.agent.machine import document, perform, script


def nested(path: Path, name: str = "step", **inputs: Any) -> dict[str, Any]:
    return {
        "action": "aws:runDocument",
        "name": name,
        "inputs": {"documentType": "LocalPath", "documentPath": str(path), **inputs},
    }


def test_a_file_is_run_with_its_parameters_and_outputs_become_one(tmp_path: Path) -> None:
    inner = document(
        script("echo {{ word }}", name="one"),
        script("echo {{ word }} again", name="two"),
        parameters={"word": {"type": "String", "default": "none"}},
    )
    (tmp_path / "inner.json").write_text(json.dumps(inner))
    step = nested(tmp_path / "inner.json", documentParameters='{"word": "given"}')
    ended = perform(tmp_path / "state", document(step))
    assert ended["documentStatus"] == "Success"
    assert ended["steps"]["step"]["standardOutput"] == "given\ngiven again\n"
    assert ended["steps"]["step"]["name"] == "aws:runDocument"


def test_yaml_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "inner.yaml").write_text(
        "schemaVersion: '2.2'\ndescription: x\nmainSteps:\n"
        "- {action: 'aws:runShellScript', name: one, inputs: {runCommand: ['echo from yaml']}}\n"
    )
    ended = perform(tmp_path / "state", document(nested(tmp_path / "inner.yaml")))
    assert ended["steps"]["step"]["standardOutput"] == "from yaml\n"


def test_a_failure_inside_fails_the_step_with_its_code(tmp_path: Path) -> None:
    (tmp_path / "inner.json").write_text(
        json.dumps(document(script("exit 5", name="one"), script("echo on", name="two")))
    )
    step = perform(tmp_path / "state", document(nested(tmp_path / "inner.json")))["steps"]["step"]
    assert (step["status"], step["code"], step["standardOutput"]) == ("Failed", 5, "on\n")


def test_documents_go_three_deep_and_no_deeper(tmp_path: Path) -> None:
    (tmp_path / "3.json").write_text(json.dumps(document(script("echo bottom"))))
    for depth in (2, 1):
        (tmp_path / f"{depth}.json").write_text(json.dumps(document(nested(tmp_path / f"{depth + 1}.json"))))
    ended = perform(tmp_path / "state", document(nested(tmp_path / "1.json")))
    assert ended["steps"]["step"]["standardOutput"] == "bottom\n"
    (tmp_path / "3.json").write_text(json.dumps(document(nested(tmp_path / "3.json"))))
    ended = perform(tmp_path / "state2", document(nested(tmp_path / "1.json")))
    assert ended["documentStatus"] == "Failed"
    assert "3 deep" in ended["steps"]["step"]["standardError"]


def test_what_cannot_be_read_fails_the_step_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("[1, 2")
    for path, words in ((tmp_path / "none.json", "cannot be read"), (tmp_path / "broken", "neither JSON nor YAML")):
        step = perform(tmp_path / f"{path.name}-state", document(nested(path)))["steps"]["step"]
        assert step["status"] == "Failed"
        assert words in step["standardError"]
