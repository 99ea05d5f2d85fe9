"""aws:softwareInventory: tell the control plane what is on this node (AP 18)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetward.agent import chance
from fleetward.agent.client import ServiceFault
from fleetward.agent.http import HttpFault
from fleetward.agent.process import Ending, run_process
from fleetward.agent.state import read_json, write_json
from fleetward.agent.steps import StepRun
from fleetward.protocol.document import StepOutcome
from fleetward.protocol.status import StepStatus

LONGEST_PAUSE_SECONDS = 30.0
LARGE_REPORT_BYTES = 1024 * 1024
NOT_AN_ASSOCIATION = "aws:softwareInventory runs only as an association of State Manager, not by Run Command"
FORGOTTEN = frozenset({"ItemContentMismatchException", "InvalidItemContentException"})


async def run(run: StepRun) -> StepOutcome:
    """Gather in a child, then send what has changed, or everything if the control plane lost what it had."""
    if not run.association_id:
        return run.fail(NOT_AN_ASSOCIATION)
    state = run.node.state
    state.custom_inventory.mkdir(mode=0o700, parents=True, exist_ok=True)
    asked = {
        "node_id": run.node.node_id,
        "folder": str(run.folder),
        "custom_folder": str(state.custom_inventory),
        "inputs": dict(run.inputs),
        "hashes": read_json(state.inventory_hashes) or {},
    }
    output, errors = bytearray(), bytearray()
    ended = await run_process(
        [sys.executable, "-P", "-m", "fleetward.agent.inventory"],
        folder=None,
        environment=os.environ,
        on_output=output.extend,
        on_errors=errors.extend,
        seconds=run.step.timeout_seconds,
        stop=run.stop,
        given=json.dumps(asked).encode(),
    )
    if ended.how is Ending.CANCELLED:
        return StepOutcome(StepStatus.CANCELLED, ended.exit_code)
    if ended.how is Ending.TIMED_OUT:
        return StepOutcome(StepStatus.TIMED_OUT, ended.exit_code)
    if ended.exit_code != 0:
        reason = errors.decode(errors="replace").strip().rpartition("\n")[2][:300]
        return run.fail(f"inventory could not be gathered: {reason}")
    return await _send(run, json.loads(output))


async def _send(run: StepRun, report: Mapping[str, Any]) -> StepOutcome:
    changed, full = ([Path(path) for path in report[name]] for name in ("changed", "full"))
    try:
        await _pause(run, changed)
        if run.stop.is_set:
            return StepOutcome(StepStatus.CANCELLED, 137)
        try:
            await _put(run, changed)
        except ServiceFault as fault:
            if fault.code not in FORGOTTEN:
                raise
            await _put(run, full)
    except (ServiceFault, HttpFault) as error:
        return run.fail(f"inventory was not sent: {error}")
    finally:
        for path in {*changed, *full}:
            path.unlink(missing_ok=True)
    known = read_json(run.node.state.inventory_hashes) or {}
    write_json(run.node.state.inventory_hashes, {**known, **report["hashes"]})
    run.output.stdout.write(f"{len(report['hashes'])} inventory types are sent\n".encode())
    if report["faults"]:
        return run.fail("\n".join(report["faults"]))
    return StepOutcome(StepStatus.SUCCESS, 0)


async def _put(run: StepRun, files: list[Path]) -> None:
    for file in files:
        await run.node.client.ssm_file("PutInventory", file)


async def _pause(run: StepRun, files: list[Path]) -> None:
    """Wait at random before a large report, so that many nodes asked at once do not answer at once.

    Ours: at most 30 seconds for 1 MB and less for less, so that hashes alone go at once.
    """
    share = min(1.0, sum(file.stat().st_size for file in files) / LARGE_REPORT_BYTES)
    try:
        async with asyncio.timeout(chance.between(0.0, LONGEST_PAUSE_SECONDS * share)):
            await run.stop.wait()
    except TimeoutError:
        pass
