"""The manual's examples of `aws ssm …` and others run against a real server, and print what they show.

An example passes when the command succeeds and its output has the shape of the one beneath it; see `differences`.
`cli/<service>.txt` names every example that does not, under its reason; the lists are exact, as `moto/` has them.
Examples of operations that are not offered are left out, and join by themselves once these are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from fleetward.server import app
from tests import aws_command
from tests.compatibility.cli_examples import NOTHING, Example, differences, examples
from tests.compatibility.cli_stage import Scene
from tests.compatibility.test_moto import named, not_run
from tests.serving import ServerProcess, StartServer

pytestmark = pytest.mark.slow

LISTS = Path(__file__).parent / "cli"
SERVICES = tuple(sorted(path.stem for path in LISTS.glob("*.txt")))


@pytest.fixture(scope="module")
def server(start_server_of_module: StartServer) -> ServerProcess:
    """One that is emptied before every example."""
    return start_server_of_module(ephemeral="true")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
def test_the_manuals_examples_run_but_for_the_named(
    service: str,
    server: ServerProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    record_property: Any,
) -> None:
    """What fails is named with its reason, and what is named fails."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level("WARNING", "awscli")
    reasons = named(LISTS / f"{service}.txt")
    offered = operations(service)
    there = [example for example in examples(service) if example.operation in offered]
    tried = [example for example in there if not not_run(reasons.get(example.name, ""))]
    with aws_command.configured(server):
        faults = {example.name: fault(example, server, tmp_path) for example in tried}
    passed = {name for name, why in faults.items() if not why}
    record_property("tally", tally(service, there, passed, reasons))
    surprises = [f"{name}: {why}" for name, why in faults.items() if why and name not in reasons]
    assert not surprises, "\n".join(["not named, and not passed:", *surprises])
    assert not passed & reasons.keys(), f"named, and passed: {sorted(passed & reasons.keys())}"
    gone = reasons.keys() - {example.name for example in there}
    assert not gone, f"named, and not there: {sorted(gone)}"
    assert not [line for line in server.logged() if line.get("level") == "error"]


def operations(service: str) -> frozenset[str]:
    """What the server offers of a service, as the command spells it."""
    names = {name.lower() for each in app.SERVICES if each.name == service for name in each.operations}
    spelled = {example.operation for example in examples(service)}
    return frozenset(each for each in spelled if each.replace("-", "") in names)


def fault(example: Example, server: ServerProcess, folder: Path) -> str:
    """Why an example does not pass; empty if it does."""
    requests.post(f"{server.url}/_fleetward/reset", verify=str(server.ca), timeout=10).raise_for_status()
    with Scene(server, folder) as scene:
        ran = aws_command.run(scene.prepare(example))
    if ran.code:
        return ran.complaints.strip() or f"exit code {ran.code}"
    if example.printed is NOTHING:
        return ""
    return "; ".join(differences(example.printed, json.loads(ran.output or "{}"), example.shape))


def tally(service: str, there: list[Example], passed: set[str], reasons: Mapping[str, str]) -> str:
    """One line for the end of the run."""
    compared = sum(example.name in passed and example.printed is not NOTHING for example in there)
    return (
        f"the manual's examples of aws {service}: {len(passed)} of {len(there)} pass, {compared} with output; "
        f"{len(reasons)} are named with a reason"
    )
