"""aws:softwareInventory: what is sent, what is sent again, and what a node remembers between two reports."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent import chance, identity, platforms
from fleetward.agent.client import Client
from fleetward.agent.identity import RoleTokens
from fleetward.agent.inventory import TYPES
from fleetward.agent.node import Node as AgentNode
from fleetward.agent.output import StepOutput
from fleetward.agent.plugins import software_inventory
from fleetward.agent.process import Stop
from fleetward.agent.steps import StepRun
from fleetward.protocol.document import PlannedStep, StepOutcome
from fleetward.protocol.status import StepStatus
from tests.agent.control_plane import ControlPlane, Members, Refusal, answering
from tests.agent.machine import NODE_ID, AgentProcess, Machine, run
from tests.serving import ServerProcess

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


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this machine has no dpkg")
def test_a_real_server_takes_the_report_and_shows_what_dpkg_says(serving: ServerProcess, tmp_path: Path) -> None:
    agent = AgentProcess(serving, tmp_path)
    agent.state.custom_inventory.mkdir(parents=True)
    rack = {"SchemaVersion": "1.0", "TypeName": "Custom:Rack", "Content": {"Rack": "r1"}}
    (agent.state.custom_inventory / "rack.json").write_text(json.dumps(rack))
    inputs = {each.parameter: "Enabled" for each in TYPES if not each.is_filter} | {"customInventory": "Enabled"}
    inputs["files"] = json.dumps([{"Path": str(agent.state.custom_inventory)}])

    async def report() -> StepOutcome:
        kept = identity.load(agent.state)
        endpoint = identity.endpoint_of(agent.state, kept.endpoint, kept.region)
        client = Client(endpoint, kept.node_id, RoleTokens(agent.state, endpoint, platforms.current()))
        node = AgentNode(kept.node_id, kept.region, agent.state, platforms.current(), client)
        step = PlannedStep("collect", "aws:softwareInventory", (inputs,))
        folder = tmp_path / "step"
        output = StepOutput(folder)
        outcome = await software_inventory.run(
            StepRun(node, "run", step, inputs, folder, folder, output, Stop(), association_id=ASSOCIATION_ID)
        )
        output.close()
        assert (folder / "stderr").read_text() == ""
        return outcome

    for _ in range(2):  # whole, then by hashes
        assert run(report()) == StepOutcome(StepStatus.SUCCESS, 0)
    said = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = sorted(line.split()[1:] for line in said.stdout.splitlines() if line.startswith("installed "))
    found = entries(serving, agent.node_id, "AWS:Application")
    assert sorted([each["Name"], each["Version"]] for each in found if each.get("PackageId", "").endswith(".deb")) == (
        installed
    )
    assert entries(serving, agent.node_id, "Custom:Rack") == [{"Rack": "r1"}]
    assert [each["Name"] for each in entries(serving, agent.node_id, "AWS:File")] == ["rack.json"]
    assert entries(serving, agent.node_id, "AWS:Network")
    assert entries(serving, agent.node_id, "AWS:InstanceDetailedInformation")


def entries(server: ServerProcess, node_id: str, type_name: str) -> list[dict[str, str]]:
    """All entries of a type, over all pages."""
    found: list[dict[str, str]] = []
    asked: dict[str, Any] = {"InstanceId": node_id, "TypeName": type_name}
    while True:
        page = server.client().list_inventory_entries(**asked)
        found += page["Entries"]
        if not page.get("NextToken"):
            return found
        asked["NextToken"] = page["NextToken"]
