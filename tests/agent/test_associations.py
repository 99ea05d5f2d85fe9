"""Associations: what is released runs once, one after another, and its end is told until the control plane took it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fleetward.agent import chance
from fleetward.agent.associations import Associations, read_summary
from tests.agent.control_plane import ControlPlane, Members, Refusal, answering
from tests.agent.machine import NODE_ID, Machine, content, document, run, script, until

FINAL = ("Success", "Failed", "TimedOut", "Skipped", "Cancelled")


class Scheduler:
    """The scheduling half of a control plane: lists what is released or running, and hears how it goes (AP 16.1)."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.documents: dict[str, dict[str, Any]] = {}
        self.listed: dict[str, Members] = {}
        plane.answers["ListInstanceAssociations"] = lambda members: {"Associations": list(self.listed.values())}
        plane.answers["GetDocument"] = self._document
        plane.answers["UpdateInstanceAssociationStatus"] = self.hear

    def release(self, doc: dict[str, Any], **members: Any) -> str:
        """Release an association of a document; its id."""
        association_id = str(uuid.uuid4())
        self.documents[association_id] = doc
        self.again(association_id, **members)
        return association_id

    def again(self, association_id: str, **members: Any) -> None:
        """Release it once more."""
        self.listed[association_id] = {
            "AssociationId": association_id,
            "Name": association_id,
            "InstanceId": NODE_ID,
            "DocumentVersion": "1",
            "Checksum": "c",
            "DetailedStatus": "Pending",
            **members,
        }

    def hear(self, members: Members) -> Members:
        """Take a report: the first one makes it InProgress, a final one ends it."""
        association_id = members["AssociationId"]
        if members["ExecutionResult"]["Status"] in FINAL:
            self.listed.pop(association_id, None)
        elif association_id in self.listed:
            self.listed[association_id]["DetailedStatus"] = "InProgress"
        return {}

    def told(self, association_id: str) -> list[str]:
        """The states that were told of an association."""
        return [result["Status"] for result in self.results(association_id)]

    def results(self, association_id: str) -> list[Members]:
        """What was told of an association."""
        called = self.plane.called("UpdateInstanceAssociationStatus")
        return [each["ExecutionResult"] for each in called if each["AssociationId"] == association_id]

    def has_ended(self, association_id: str) -> bool:
        """Whether the control plane knows the end."""
        return association_id not in self.listed

    def _document(self, members: Members) -> Members:
        if members["Name"] not in self.documents:
            raise Refusal("InvalidDocument")
        return {"Name": members["Name"], "Content": json.dumps(self.documents[members["Name"]])}


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with answering() as plane:
        yield plane


@pytest.fixture
def scheduler(plane: ControlPlane) -> Scheduler:
    return Scheduler(plane)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chance, "between", lambda least, most: 0.0)


@asynccontextmanager
async def applying(folder: Path, plane: ControlPlane) -> AsyncIterator[Machine]:
    """A machine that reads its associations."""
    machine = Machine(folder, url=plane.url)
    async with machine.running():
        work = asyncio.create_task(Associations(machine.node, machine.worker, machine.reports).run())
        try:
            yield machine
        finally:
            work.cancel()


def test_a_released_association_runs_and_tells_its_end(
    tmp_path: Path, plane: ControlPlane, scheduler: Scheduler
) -> None:
    done = tmp_path / "done"
    doc = document(
        script(f"echo {{{{ word }}}} {{{{ words }}}} >> {done}"),
        parameters={"word": {"type": "String"}, "words": {"type": "StringList"}},
    )
    association = scheduler.release(doc, Parameters={"word": ["one"], "words": ["two", "three"]})

    async def work() -> None:
        async with applying(tmp_path / "state", plane) as machine:
            await until(lambda: scheduler.has_ended(association))
            assert await machine.node.refresh.ask() == ""
            assert machine.worker.is_idle
            assert list((machine.state.journal).glob("*.jsonl")) == []

    run(work())
    assert done.read_text() == "one [two,three]\n"
    assert scheduler.told(association) == ["InProgress", "Success"]
    assert plane.called("ListInstanceAssociations")[0] == {"InstanceId": NODE_ID, "MaxResults": 20}
    first, last = scheduler.results(association)
    assert first["ExecutionSummary"] == "Executing association"
    assert last["ExecutionSummary"] == "1 out of 1 plugin processed, 1 success, 0 failed, 0 timedout, 0 skipped. "


def test_only_what_is_pending_runs(tmp_path: Path, plane: ControlPlane, scheduler: Scheduler) -> None:
    quiet = [
        scheduler.release(document(script("true")), DetailedStatus=status) for status in ("InProgress", "Success", "")
    ]

    async def work() -> None:
        async with applying(tmp_path, plane) as machine:
            await machine.node.refresh.ask()

    run(work())
    assert [scheduler.told(association) for association in quiet] == [[], [], []]
    assert plane.called("GetDocument") == []


def test_released_again_it_runs_again(tmp_path: Path, plane: ControlPlane, scheduler: Scheduler) -> None:
    done = tmp_path / "done"
    association = scheduler.release(document(script(f"echo run >> {done}")))

    async def work() -> None:
        async with applying(tmp_path / "state", plane) as machine:
            await until(lambda: scheduler.has_ended(association))
            scheduler.again(association)
            await machine.node.refresh.ask()
            await until(lambda: scheduler.has_ended(association))

    run(work())
    assert done.read_text() == "run\nrun\n"


def test_associations_run_one_after_another_beside_commands(
    tmp_path: Path, plane: ControlPlane, scheduler: Scheduler
) -> None:
    order = tmp_path / "order"
    doc = document(script(f"echo begin >> {order}; sleep 0.2; echo end >> {order}"))
    first, second = scheduler.release(doc), scheduler.release(doc)

    async def work() -> None:
        async with applying(tmp_path / "state", plane) as machine:
            await until(order.exists)
            command, _ = machine.send(content(document(script("true"))))
            await machine.result(command)
            assert not scheduler.has_ended(second)
            await until(lambda: scheduler.has_ended(first) and scheduler.has_ended(second))

    run(work())
    assert order.read_text() == "begin\nend\n" * 2
    assert scheduler.told(second)[0] == "Pending"
    assert scheduler.told(second)[-2:] == ["InProgress", "Success"]


def test_while_a_run_is_open_it_is_not_begun_again(tmp_path: Path, plane: ControlPlane, scheduler: Scheduler) -> None:
    done, go_on = tmp_path / "done", tmp_path / "go-on"
    association = scheduler.release(document(script(f"echo run >> {done}; until test -e {go_on}; do sleep 0.02; done")))
    plane.answers["UpdateInstanceAssociationStatus"] = lambda members: {}  # it stays Pending in the list

    async def work() -> None:
        async with applying(tmp_path / "state", plane) as machine:
            await until(done.exists)
            await machine.node.refresh.ask()
            plane.answers["UpdateInstanceAssociationStatus"] = scheduler.hear
            go_on.touch()
            await until(lambda: scheduler.has_ended(association))

    run(work())
    assert done.read_text() == "run\n"


def test_an_end_that_came_while_the_list_was_under_way_is_not_begun_again(
    tmp_path: Path, plane: ControlPlane, scheduler: Scheduler
) -> None:
    done = tmp_path / "done"
    association = scheduler.release(document(script(f"echo run >> {done}")))
    stale = {"Associations": [dict(scheduler.listed[association])]}

    async def work() -> None:
        machine = Machine(tmp_path / "state", url=plane.url)
        async with machine.running():
            associations = Associations(machine.node, machine.worker, machine.reports)
            telling = asyncio.create_task(machine.reports.run())
            await associations.read()

            async def late(members: Members) -> Members:
                await until(lambda: scheduler.has_ended(association) and machine.worker.is_idle)
                return stale

            loop = asyncio.get_running_loop()
            plane.answers["ListInstanceAssociations"] = lambda members: asyncio.run_coroutine_threadsafe(
                late(members), loop
            ).result(20)
            await associations.read()
            assert machine.worker.is_idle
            telling.cancel()

    run(work())
    assert done.read_text() == "run\n"


def test_an_end_is_told_after_an_outage_and_never_run_again(
    tmp_path: Path, plane: ControlPlane, scheduler: Scheduler
) -> None:
    done = tmp_path / "done"
    association = scheduler.release(document(script(f"echo run >> {done}; echo bad >&2; exit 3")))

    first: list[Members] = []

    def down(members: Members) -> Members:
        raise Refusal("InternalServerError", 500)

    async def work() -> None:
        plane.answers["UpdateInstanceAssociationStatus"] = down
        async with applying(tmp_path / "state", plane) as machine:
            await until(done.exists)
            await until(lambda: "Failed" in scheduler.told(association))
        # The agent dies here with the end untold; the next one begins with the control plane still showing Pending.
        assert scheduler.listed[association]["DetailedStatus"] == "Pending"
        first.extend(scheduler.results(association)[-1:])
        plane.calls.clear()
        async with applying(tmp_path / "state", plane) as machine:
            await machine.node.refresh.ask()
            plane.answers["UpdateInstanceAssociationStatus"] = scheduler.hear
            await until(lambda: scheduler.has_ended(association))
            assert list(machine.state.journal.glob("*.jsonl")) == []

    run(work())
    assert done.read_text() == "run\n"
    assert scheduler.told(association)[-1] == "Failed"
    last = scheduler.results(association)[-1]
    assert last == first[0]  # by which the control plane knows that it is told again
    assert last["ErrorCode"] == "ExecutionError"
    assert "1 failed" in last["ExecutionSummary"]
    assert "bad" in last["ExecutionSummary"]


def test_a_run_that_died_with_the_agent_is_told_as_failed_and_not_run_again(
    tmp_path: Path, plane: ControlPlane, scheduler: Scheduler
) -> None:
    done = tmp_path / "done"
    association = scheduler.release(document(script(f"echo run >> {done}; sleep 60")))

    async def work() -> None:
        async with applying(tmp_path / "state", plane):
            await until(lambda: done.exists() and scheduler.told(association))
        assert scheduler.listed[association]["DetailedStatus"] == "InProgress"
        async with applying(tmp_path / "state", plane):
            await until(lambda: scheduler.has_ended(association))

    run(work())
    assert done.read_text() == "run\n"
    assert scheduler.told(association) == ["InProgress", "Failed"]
    assert "not run again" in scheduler.results(association)[-1]["ExecutionSummary"]


@pytest.mark.parametrize(
    ("doc", "members", "code"),
    [
        (None, {}, "ListAssocError"),
        ({"schemaVersion": "9"}, {}, "InvalidAssoc"),
        (document(script("true")), {"Parameters": {"unknown": ["1"]}}, "InvalidAssoc"),
    ],
)
def test_an_association_that_cannot_run_is_told_as_failed(
    tmp_path: Path, plane: ControlPlane, scheduler: Scheduler, doc: Any, members: Members, code: str
) -> None:
    bad = scheduler.release(doc, **members)
    if doc is None:
        del scheduler.documents[bad]
    good = scheduler.release(document(script("true")))

    async def work() -> None:
        async with applying(tmp_path, plane):
            await until(lambda: scheduler.has_ended(bad) and scheduler.has_ended(good))

    run(work())
    assert scheduler.told(bad) == ["Failed"]
    assert scheduler.results(bad)[0]["ErrorCode"] == code
    assert scheduler.told(good)[-1] == "Success"


def test_all_pages_are_read_and_faults_are_told_to_who_asked(tmp_path: Path, plane: ControlPlane) -> None:
    pages = [{"Associations": [], "NextToken": "more"}, {"Associations": []}]

    def page(members: Members) -> Members:
        if not pages:
            raise Refusal("AccessDeniedException")
        return pages.pop(0)

    plane.answers["ListInstanceAssociations"] = page

    async def work() -> None:
        async with applying(tmp_path, plane) as machine:
            await until(lambda: not pages)
            assert "AccessDeniedException" in await machine.node.refresh.ask()
            refresh = {"action": "aws:refreshAssociation", "name": "refresh", "inputs": {"associationIds": ["x"]}}
            command, _ = machine.send(content(document(refresh)))
            result = await machine.result(command)
            assert "AccessDeniedException" in result["steps"]["refresh"]["standardError"]
            plane.answers["ListInstanceAssociations"] = lambda members: {"Associations": []}
            command, _ = machine.send(content(document(refresh)))
            assert (await machine.result(command))["documentStatus"] == "Success"

    run(work())
    assert [call.get("NextToken") for call in plane.called("ListInstanceAssociations")[:2]] == [None, "more"]


def test_output_goes_to_the_bucket_under_node_association_and_time(
    tmp_path: Path, plane: ControlPlane, scheduler: Scheduler
) -> None:
    place = {"S3Location": {"OutputS3BucketName": "outputs", "OutputS3KeyPrefix": "pre"}}
    association = scheduler.release(document(script("true")), OutputLocation=place)

    async def work() -> None:
        async with applying(tmp_path, plane):
            await until(lambda: scheduler.has_ended(association))

    run(work())
    url = scheduler.results(association)[-1]["OutputUrl"]["S3OutputUrl"]["OutputUrl"]
    assert url.startswith(f"outputs/pre/{NODE_ID}/{association}/")
    assert url.rpartition("/")[2].isdecimal()


def test_entries_without_what_a_run_needs_are_not_read() -> None:
    assert read_summary({"AssociationId": "a", "Name": "n"}) is not None
    for summary in ({}, {"Name": "n"}, {"AssociationId": "a"}, {"AssociationId": "a", "Name": "n", "Parameters": [1]}):
        assert read_summary(summary) is None
