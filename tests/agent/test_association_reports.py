"""Reports of associations: what a reply's content becomes, and that no late one follows a final one."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent.association_reports import TOPIC, execution_result
from fleetward.agent.report import Reply, reply_content, step_result
from fleetward.protocol.status import DocumentStatus, StepStatus
from tests.agent.machine import Machine


def result_of(status: DocumentStatus, steps: dict[str, tuple[StepStatus, str]], trace: str = "") -> dict[str, Any]:
    """The ExecutionResult of a document that ended so, with each step's state and what it said went wrong."""
    results = {
        name: step_result("aws:runShellScript", state, 0, 0.0, b"out", errors.encode())
        for name, (state, errors) in steps.items()
    }
    reply = json.loads(reply_content("linux", status, results, trace=trace))
    reply["additionalInfo"]["dateTime"] = "2026-11-22T20:07:04.157Z"
    return execution_result(reply)


@pytest.mark.parametrize(
    ("status", "steps", "told", "code"),
    [
        (DocumentStatus.SUCCESS, [StepStatus.SUCCESS, StepStatus.SKIPPED], "Success", ""),
        (DocumentStatus.SUCCESS, [StepStatus.SKIPPED, StepStatus.SKIPPED], "Skipped", ""),
        (DocumentStatus.FAILED, [StepStatus.SUCCESS, StepStatus.FAILED], "Failed", "ExecutionError"),
        (DocumentStatus.TIMED_OUT, [StepStatus.TIMED_OUT], "TimedOut", ""),
        (DocumentStatus.CANCELLED, [StepStatus.CANCELLED], "Cancelled", ""),
        (DocumentStatus.SUCCESS_AND_REBOOT, [StepStatus.SUCCESS_AND_REBOOT], "InProgress", ""),
        (DocumentStatus.IN_PROGRESS, [], "InProgress", ""),
    ],
)
def test_states_are_those_of_the_document(
    status: DocumentStatus, steps: list[StepStatus], told: str, code: str
) -> None:
    result = result_of(status, {f"s{number}": (state, "") for number, state in enumerate(steps)})
    assert (result["Status"], result["ErrorCode"]) == (told, code)
    assert result["ExecutionDate"] == 1_795_378_024.157


def test_a_summary_counts_and_says_what_went_wrong_within_its_limit() -> None:
    steps = {"one": (StepStatus.SUCCESS, "noise"), "two": (StepStatus.FAILED, "no such file")}
    summary = result_of(DocumentStatus.FAILED, steps)["ExecutionSummary"]
    assert summary == ("2 out of 2 plugins processed, 1 success, 1 failed, 0 timedout, 0 skipped. two: no such file")
    long = result_of(DocumentStatus.FAILED, {"two": (StepStatus.FAILED, "x" * 2000)})["ExecutionSummary"]
    assert len(long) == 510
    assert result_of(DocumentStatus.FAILED, {}, "no such document")["ExecutionSummary"] == "no such document"


def test_the_last_news_replaces_what_was_not_told_yet(tmp_path: Path) -> None:
    reports = Machine(tmp_path).reports
    stored: list[str] = []

    def add(association_id: str, what: str) -> None:
        reports.add(Reply(association_id, TOPIC, what, uuid.uuid4(), lambda: stored.append(what)))

    add("a", "first")
    add("b", "other")
    add("a", "final")
    assert stored == ["first"]
    assert len(reports) == 2
    assert not reports.is_free("a", 0.0)
    assert reports.is_free("c", 0.0)
