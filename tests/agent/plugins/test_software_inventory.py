"""aws:softwareInventory: what is sent, what is sent again, and what a node remembers between two reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent import chance
from fleetward.agent.output import StepOutput
from fleetward.agent.plugins import software_inventory
from fleetward.agent.process import Stop
from fleetward.agent.steps import StepRun
from fleetward.protocol.document import PlannedStep, StepOutcome
from fleetward.protocol.status import StepStatus
from tests.agent.control_plane import ControlPlane, Members, Refusal, answering
from tests.agent.machine import NODE_ID, Machine, run

ASSOCIATION_ID = "0f0f0f0f-1111-2222-3333-444444444444"
INPUTS = {"networkConfig": "Enabled", "customInventory": "Enabled", "applications": "Disabled"}


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with answering() as plane:
        yield plane


class Node:
    """A node whose custom inventory a test writes."""

    def __init__(self, folder: Path, plane: ControlPlane) -> None:
        self.machine = Machine(folder, url=plane.url)
        self.custom = self.machine.state.custom_inventory
        self.plane = plane
        self.stop: Stop | None = None

    def write(self, rack: str) -> None:
        self.custom.mkdir(parents=True, exist_ok=True)
        text = {"SchemaVersion": "1.0", "TypeName": "Custom:Rack", "Content": {"Rack": rack}}
        (self.custom / "rack.json").write_text(json.dumps(text))

    def report(self, association_id: str = ASSOCIATION_ID, **inputs: Any) -> tuple[StepOutcome, list[Members], str]:
        """Run the step: how it went, what PutInventory was called with, and what it said went wrong."""
        before = len(self.plane.called("PutInventory"))

        async def work() -> StepOutcome:
            folder = self.machine.state.orchestration / "step"
            step = PlannedStep("collect", "aws:softwareInventory", ({**INPUTS, **inputs},))
            output = StepOutput(folder)
            (folder / "stderr").write_bytes(b"")
            outcome = await software_inventory.run(
                StepRun(self.machine.node, "run", step, step.inputs, folder, folder / "downloads", output,
                        Stop(), association_id=association_id)
            )  # fmt: skip
            output.close()
            assert sorted(path.name for path in folder.iterdir()) == ["stderr", "stdout"]
            return outcome

        outcome = run(work())
        errors = (self.machine.state.orchestration / "step" / "stderr").read_text()
        return outcome, self.plane.called("PutInventory")[before:], errors


@pytest.fixture
def node(tmp_path: Path, plane: ControlPlane) -> Node:
    return Node(tmp_path, plane)


def contents(call: Members) -> dict[str, Any]:
    """By type, what was sent of it; None for the hash alone."""
    return {item["TypeName"]: item.get("Content") for item in call["Items"]}


def test_a_report_is_sent_whole_first_and_then_by_what_has_changed(node: Node) -> None:
    node.write("r1")
    outcome, (call,), _ = node.report()
    assert outcome == StepOutcome(StepStatus.SUCCESS, 0)
    assert call["InstanceId"] == NODE_ID
    assert contents(call)["Custom:Rack"] == [{"Rack": "r1"}]
    assert contents(call)["AWS:Network"]

    _, (again,), _ = node.report()
    assert contents(again) == {"AWS:Network": None, "Custom:Rack": None}
    assert [item["ContentHash"] for item in again["Items"]] == [item["ContentHash"] for item in call["Items"]]

    node.write("r2")
    _, (changed,), _ = node.report()
    assert contents(changed) == {"AWS:Network": None, "Custom:Rack": [{"Rack": "r2"}]}


@pytest.mark.parametrize("code", ["ItemContentMismatchException", "InvalidItemContentException"])
def test_everything_is_sent_to_a_control_plane_that_lost_it(node: Node, code: str) -> None:
    node.write("r1")
    node.report()

    def forgotten(members: Members) -> Members:
        if any("Content" not in item for item in members["Items"]):
            raise Refusal(code)
        return {}

    node.plane.answers["PutInventory"] = forgotten
    outcome, (hashes, whole), _ = node.report()
    assert outcome.status is StepStatus.SUCCESS
    assert contents(hashes) == {"AWS:Network": None, "Custom:Rack": None}
    assert contents(whole)["Custom:Rack"] == [{"Rack": "r1"}]


def test_what_was_refused_is_sent_whole_the_next_time(node: Node) -> None:
    node.write("r1")

    def refuse(members: Members) -> Members:
        raise Refusal("TotalSizeLimitExceededException")

    node.plane.answers["PutInventory"] = refuse
    outcome, calls, errors = node.report()
    assert outcome == StepOutcome(StepStatus.FAILED, 1)
    assert len(calls) == 1
    assert "TotalSizeLimitExceededException" in errors
    del node.plane.answers["PutInventory"]
    _, (call,), _ = node.report()
    assert contents(call)["Custom:Rack"] == [{"Rack": "r1"}]


def test_a_type_that_cannot_be_gathered_fails_the_step_and_keeps_the_others(node: Node) -> None:
    outcome, (call,), errors = node.report(files="not a filter")
    assert outcome == StepOutcome(StepStatus.FAILED, 1)
    assert list(contents(call)) == ["AWS:Network"]
    assert "AWS:File: the filter is not JSON" in errors


def test_nothing_asked_is_nothing_sent(node: Node) -> None:
    outcome, calls, _ = node.report(networkConfig="Disabled", customInventory="")
    assert outcome.status is StepStatus.SUCCESS
    assert calls == []


def test_by_run_command_it_refuses(node: Node) -> None:
    outcome, calls, errors = node.report(association_id="")
    assert outcome == StepOutcome(StepStatus.FAILED, 1)
    assert calls == []
    assert "only as an association" in errors


def test_large_reports_wait_at_random_and_hashes_do_not(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def between(least: float, most: float) -> float:
        waits.append(most)
        return 0.0

    monkeypatch.setattr(chance, "between", between)
    for name in ("a", "b"):
        rows = [{"Value": f"{name}{number}" + "x" * 4000} for number in range(300)]
        node.custom.mkdir(parents=True, exist_ok=True)
        text = {"SchemaVersion": "1.0", "TypeName": f"Custom:{name}", "Content": rows}
        (node.custom / f"{name}.json").write_text(json.dumps(text))
    node.report()
    node.report()
    assert waits[0] == 30.0
    assert waits[1] < 0.1
