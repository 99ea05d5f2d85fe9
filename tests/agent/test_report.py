"""Replies: their form and size, and that each is sent until it is stored."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

import pytest

from fleetward.agent import report
from fleetward.agent.report import LARGEST_CONTENT_BYTES, Replies, Reply, iso, reply_content, step_result
from fleetward.protocol.status import DocumentStatus, StepStatus
from tests.agent.machine import run, until


def test_a_step_is_told_as_the_official_agent_tells_it() -> None:
    result = step_result("aws:runShellScript", StepStatus.FAILED, 3, 1_795_377_882.425, b"hello\n", b"oops\nfailed")
    told = json.loads(reply_content("linux", DocumentStatus.FAILED, {"step": result}))
    assert told["documentStatus"] == "Failed"
    assert told["additionalInfo"]["runtimeStatusCounts"] == {"Failed": 1}
    assert set(told) == {"additionalInfo", "documentStatus", "documentTraceOutput", "runtimeStatus"}
    step = told["runtimeStatus"]["step"]
    assert step.pop("endDateTime") > step["startDateTime"] == "2026-11-22T20:04:42.425Z"
    assert step == {
        "status": "Failed",
        "code": 3,
        "name": "aws:runShellScript",
        "output": "hello\n\n----------ERROR-------\noops\nfailed",
        "startDateTime": iso(1_795_377_882.425),
        "outputS3BucketName": "",
        "outputS3KeyPrefix": "",
        "stepName": "",
        "standardOutput": "hello\n",
        "standardError": "oops\nfailed",
    }


@pytest.mark.parametrize("byte", [b"x", b"\0", b'"', b"\\", b"\xff", "é".encode()])
def test_no_output_makes_a_reply_too_long_to_send(byte: bytes) -> None:
    stream = byte * 30_000
    result = step_result("aws:runShellScript", StepStatus.SUCCESS, 0, 0.0, stream, stream)
    text = reply_content("linux", DocumentStatus.IN_PROGRESS, {"step": result})
    assert len(json.dumps(text, ensure_ascii=False).encode()) <= LARGEST_CONTENT_BYTES
    assert json.loads(text)["runtimeStatus"]["step"]["standardOutput"].endswith("--output truncated--")


def reply() -> Reply:
    return Reply("aws.ssm.c.n", "aws.ssm.sendCommand", "{}", uuid.uuid4())


def test_a_reply_is_sent_again_with_its_id_until_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "AGAIN_AFTER_SECONDS", (0.01,))
    replies, sent, waiting = Replies(), [], reply()

    async def send(one: Reply) -> bool:
        sent.append(one.message_id)
        return False

    async def work() -> None:
        replies.add(waiting)
        delivering = asyncio.create_task(replies.deliver(send))
        await until(lambda: len(sent) >= 3)
        replies.stored(waiting.message_id)
        assert await replies.wait_empty(1)
        count = len(sent)
        await asyncio.sleep(0.05)
        assert len(sent) == count
        delivering.cancel()

    run(work())
    assert set(sent) == {waiting.message_id}


def test_what_one_road_did_not_bring_the_next_does(tmp_path: Path) -> None:
    replies, stored = Replies(), []
    waiting = reply()
    waiting.on_stored = lambda: stored.append(True)

    async def breaks(one: Reply) -> bool:
        raise ConnectionResetError

    async def arrives(one: Reply) -> bool:
        return True

    async def work() -> None:
        replies.add(waiting)
        with pytest.raises(ConnectionResetError):
            await replies.deliver(breaks)
        delivering = asyncio.create_task(replies.deliver(arrives))
        assert await replies.wait_empty(5)
        delivering.cancel()

    run(work())
    assert stored == [True]


def test_waiting_for_an_empty_queue_gives_up() -> None:
    async def work() -> bool:
        replies = Replies()
        replies.add(reply())
        return await replies.wait_empty(0.01)

    assert run(work()) is False
