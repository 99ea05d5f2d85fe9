"""The worker with real scripts: order, cancel, time-outs, limits, reboots, and what a killed agent leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from fleetward.agent import worker as worker_module
from fleetward.agent.journal import Journal
from fleetward.protocol.control_channel import SEND_COMMAND, AckCode
from tests.agent.machine import (
    NODE_ID,
    Machine,
    RebootingLinux,
    alive,
    content,
    document,
    new_command_id,
    perform,
    run,
    script,
    until,
)


def test_a_command_is_acknowledged_told_and_ended(tmp_path: Path) -> None:
    async def work() -> None:
        async with Machine(tmp_path).running() as machine:
            command_id, ack = machine.send(content(document(script("echo hello; echo oops >&2; exit 3"))))
            assert ack.code is AckCode.SUCCESSFUL
            ended = await machine.result(command_id)
            told = machine.told(command_id)
        assert [reply["documentStatus"] for reply in told] == ["InProgress", "InProgress", "Failed"]
        assert told[0]["runtimeStatus"] is None
        assert set(told[1]["runtimeStatus"]) == set(told[2]["runtimeStatus"]) == {"step"}
        step = ended["steps"]["step"]
        assert (step["status"], step["code"], step["standardOutput"]) == ("Failed", 3, "hello\n")
        assert step["standardError"] == "oops\nfailed to run commands: exit status 3"

    run(work())


def test_the_final_reply_of_several_steps_names_none(tmp_path: Path) -> None:
    ended = perform(
        tmp_path, document(script("true", name="one"), script("false", name="two"), script("true", name="three"))
    )
    assert ended["runtimeStatus"] == {}
    assert ended["documentStatus"] == "Failed"
    assert {name: step["status"] for name, step in ended["steps"].items()} == {
        "one": "Success",
        "two": "Failed",
        "three": "Success",
    }


@pytest.mark.parametrize(("code", "first", "status"), [(168, "Success", "Success"), (169, "Failed", "Failed")])
def test_a_script_may_end_the_document(tmp_path: Path, code: int, first: str, status: str) -> None:
    ended = perform(tmp_path, document(script(f"exit {code}", name="one"), script("touch x", name="two")))
    assert ended["documentStatus"] == status
    assert [step["status"] for step in ended["steps"].values()] == [first, "Skipped"]


def test_scripts_see_what_the_protocol_promises(tmp_path: Path) -> None:
    lines = ["echo $AWS_SSM_INSTANCE_ID $AWS_SSM_REGION_NAME $SSM_COMMAND_ID", "echo $OWN", "pwd", "echo {{ word }}"]
    doc = document(
        script(*lines, environment={"OWN": "mine"}, workingDirectory=str(tmp_path)),
        parameters={"word": {"type": "String"}},
    )
    ended = perform(tmp_path / "state", doc, {"word": "given"})
    seen = ended["steps"]["step"]["standardOutput"].splitlines()
    assert seen[0].startswith(f"{NODE_ID} us-east-1 ")
    assert seen[1:] == ["mine", str(tmp_path), "given"]


def test_time_out_ends_a_step_with_137(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("fleetward.protocol.document.plan"), "MIN_TIMEOUT_SECONDS", 1)
    ended = perform(tmp_path, document(script("echo begun; sleep 100", timeoutSeconds=1)))
    step = ended["steps"]["step"]
    assert (ended["documentStatus"], step["status"], step["code"]) == ("TimedOut", "TimedOut", 137)
    assert step["standardOutput"] == "begun\n"


def test_cancel_ends_the_running_step_and_those_after_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with Machine(tmp_path).running() as machine:
            doc = document(script(f"touch {tmp_path}/begun; sleep 100", name="one"), script("true", name="two"))
            command_id, _ = machine.send(content(doc))
            await until((tmp_path / "begun").exists)
            assert machine.cancel(command_id).code is AckCode.SUCCESSFUL
            ended = await machine.result(command_id)
            assert ended["documentStatus"] == "Cancelled"
            assert [(step["status"], step["code"]) for step in ended["steps"].values()] == [("Cancelled", 137)] * 2

    run(work())


def test_a_cancelled_command_that_waited_never_starts(tmp_path: Path) -> None:
    async def work() -> None:
        async with Machine(tmp_path).running() as machine:
            long = [machine.send(content(document(script("sleep 100"))))[0] for _ in range(5)]
            waiting, _ = machine.send(content(document(script(f"touch {tmp_path}/ran"))))
            machine.cancel(waiting)
            for command_id in long:
                machine.cancel(command_id)
            assert (await machine.result(waiting))["documentStatus"] == "Cancelled"
            assert not (tmp_path / "ran").exists()

    run(work())


def test_a_command_cancelled_before_it_came_is_reported_so_and_does_not_run(tmp_path: Path) -> None:
    """Also after the agent was started anew; what ended before its cancel is not told of again."""

    async def cancel_first() -> str:
        async with Machine(tmp_path).running() as machine:
            done, _ = machine.send(content(document(script("true"))))
            await machine.result(done)
            told = len(machine.told(done))
            machine.cancel(done)
            command_id = new_command_id()
            assert machine.cancel(command_id).code is AckCode.SUCCESSFUL
            ended = await machine.result(command_id)
            assert (ended["documentStatus"], ended["steps"]) == ("Cancelled", {})
            assert len(machine.told(done)) == told
            return command_id

    async def send_it(command_id: str) -> None:
        async with Machine(tmp_path).running() as machine:
            _, ack = machine.send(content(document(script(f"touch {tmp_path}/ran"))), command_id=command_id)
            assert ack.code is AckCode.DUPLICATE_COMMAND

    asyncio.run(send_it(asyncio.run(cancel_first())))
    assert not (tmp_path / "ran").exists()


def test_five_run_five_wait_and_no_more_are_taken(tmp_path: Path) -> None:
    async def work() -> None:
        async with Machine(tmp_path).running() as machine:
            taken = [machine.send(content(document(script("sleep 100")))) for _ in range(10)]
            assert {ack.code for _, ack in taken} == {AckCode.SUCCESSFUL}
            refused, ack = machine.send(content(document(script("true"))))
            assert ack.code is AckCode.PROCESSOR_BUFFER_FULL
            for command_id, _ in taken:
                machine.cancel(command_id)
            for command_id, _ in taken:
                await machine.result(command_id)
            await until(lambda: machine.worker.is_idle)
            _, ack = machine.send(content(document(script("true"))), refused)
            assert ack.code is AckCode.SUCCESSFUL
            assert (await machine.result(refused))["documentStatus"] == "Success"

    run(work())


def test_no_command_runs_twice_even_long_after_it_ended(tmp_path: Path) -> None:
    text = content(document(script(f"echo ran >> {tmp_path}/runs")))

    async def work(command_id: str | None) -> str:
        async with Machine(tmp_path / "state").running() as machine:
            sent, ack = machine.send(text, command_id)
            if command_id is None:
                assert ack.code is AckCode.SUCCESSFUL
                assert machine.send(text, sent)[1].code is AckCode.DUPLICATE_COMMAND
                await machine.result(sent)
            assert machine.send(text, sent)[1].code is AckCode.DUPLICATE_COMMAND
            return sent

    run(work(run(work(None))))
    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("{}", "no document"),
        (content({"schemaVersion": "9.9", "mainSteps": []}), "schemaVersion"),
        (content(document(script("true")), {"unknown": "x"}), "unknown"),
        (
            content(document(script("true"), parameters={"p": {"type": "String", "allowedValues": ["a"]}}), {"p": "b"}),
            "p",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(tmp_path: Path, text: str, words: str) -> None:
    async def work() -> None:
        async with Machine(tmp_path).running() as machine:
            command_id, ack = machine.send(text)
            assert ack.code is AckCode.AGENT_JOB_MESSAGE_PARSE_ERROR
            ended = await machine.result(command_id)
            assert ended["documentStatus"] == "Failed"
            assert words in ended["documentTraceOutput"]

    run(work())


@pytest.mark.parametrize("job_id", ["aws.ssm.../../x.mi-1", "aws.ssm.a/b.mi-1", "x", "aws.ssm.a b.mi-1"])
def test_a_command_id_never_becomes_a_path_elsewhere(tmp_path: Path, job_id: str) -> None:
    async def work() -> None:
        async with Machine(tmp_path).running() as machine:
            ack = machine.worker.receive(job_id, SEND_COMMAND, content(document(script("true"))))
            assert ack.code is AckCode.AGENT_JOB_MESSAGE_PARSE_ERROR

    run(work())


def test_a_reboot_runs_the_same_step_again_and_then_goes_on(tmp_path: Path) -> None:
    doc = document(
        script(f"echo one >> {tmp_path}/runs", name="one"),
        script(f"echo two >> {tmp_path}/runs; test $(grep -c two {tmp_path}/runs) = 2 || exit 194", name="two"),
        script(f"echo three >> {tmp_path}/runs", name="three"),
    )
    platform = RebootingLinux()
    command_id = new_command_id()

    async def before() -> None:
        async with Machine(tmp_path / "state", platform).running() as machine:
            machine.send(content(doc), command_id)
            await until(lambda: platform.reboots)
            assert machine.told(command_id)[-1]["runtimeStatus"]["two"]["status"] == "SuccessAndReboot"
            assert machine.send(content(doc))[1].code is AckCode.CLOSED_PROCESSOR

    async def same_boot() -> None:
        async with Machine(tmp_path / "state", platform).running():
            await until(lambda: platform.reboots == 2)

    async def after() -> None:
        async with Machine(tmp_path / "state", platform).running() as machine:
            ended = await machine.result(command_id)
            assert ended["documentStatus"] == "Success"
            assert ended["steps"]["two"]["status"] == "Success"

    run(before())
    run(same_boot())  # an agent that starts before the machine has gone down asks once more
    platform.boots = 1
    run(after())
    assert (tmp_path / "runs").read_text().split() == ["one", "two", "two", "three"]
    assert platform.reboots == 2


def test_a_reboot_waits_for_the_steps_of_others(tmp_path: Path) -> None:
    platform = RebootingLinux()

    async def work() -> None:
        async with Machine(tmp_path, platform).running() as machine:
            other, _ = machine.send(content(document(script(f"touch {tmp_path}/begun; sleep 0.4; echo done"))))
            await until((tmp_path / "begun").exists)
            machine.send(content(document(script("exit 194"))))
            ended = await machine.result(other)
            assert ended["steps"]["step"]["standardOutput"] == "done\n"
            await until(lambda: platform.reboots)

    run(work())


def test_a_step_cannot_reboot_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetward.agent.execution.MOST_REBOOTS", 2)
    platform = RebootingLinux()
    command_id = new_command_id()

    async def boot() -> None:
        async with Machine(tmp_path, platform).running() as machine:
            if not platform.boots:
                machine.send(content(document(script("exit 194"))), command_id)
            await until(lambda: platform.reboots > platform.boots or machine.ended(command_id))
            if platform.boots == 2:
                assert "asked for a reboot" in (await machine.result(command_id))["steps"]["step"]["standardError"]

    for number in range(3):
        platform.boots = number
        run(boot())
    assert platform.reboots == 2


KILLED = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from tests.agent.machine import Machine

    async def main() -> None:
        async with Machine(Path(sys.argv[1])).running() as machine:
            if len(sys.argv) > 2:
                machine.send(Path(sys.argv[3]).read_text(), sys.argv[2])
            await asyncio.sleep(60)

    asyncio.run(main())
    """
)


def kill_in(folder: Path, command_id: str, text: str, ready: Callable[[], object]) -> None:
    """Give a worker in a process of its own a command and kill that process once it is `ready`."""
    (folder / "content").write_text(text)
    command = [sys.executable, "-c", KILLED, str(folder / "state"), command_id, str(folder / "content")]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 20
        while not ready():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def after_restart(folder: Path, command_id: str) -> dict[str, object]:
    async with Machine(folder / "state").running() as machine:
        return await machine.result(command_id)


def test_a_step_interrupted_by_kill_is_failed_said_so_and_not_run_again(tmp_path: Path) -> None:
    doc = document(
        script(f"echo kept; echo $$ > {tmp_path}/pid; echo 1 >> {tmp_path}/runs; sleep 100", name="one"),
        script(f"echo 2 >> {tmp_path}/runs", name="two"),
    )
    command_id = new_command_id()
    stdout = tmp_path / "state" / "orchestration" / command_id / "steps" / "one" / "stdout"
    kill_in(tmp_path, command_id, content(doc), lambda: (tmp_path / "runs").exists() and stdout.stat().st_size)
    ended = run(after_restart(tmp_path, command_id))
    steps = ended["steps"]
    assert isinstance(steps, dict)
    assert (ended["documentStatus"], steps["one"]["status"], steps["two"]["status"]) == ("Failed", "Failed", "Skipped")
    assert steps["one"]["code"] == 1
    assert "not run again" in steps["one"]["standardError"]
    assert steps["one"]["standardOutput"] == "kept\n"
    assert (tmp_path / "runs").read_text() == "1\n"
    run(until(lambda: not alive(int((tmp_path / "pid").read_text()))))


def test_steps_done_before_a_kill_are_kept_and_told(tmp_path: Path) -> None:
    doc = document(script("echo first", name="one"), script(f"touch {tmp_path}/begun; sleep 100", name="two"))
    command_id = new_command_id()
    kill_in(tmp_path, command_id, content(doc), (tmp_path / "begun").exists)
    (record,) = Journal(tmp_path / "state" / "journal").open_records()
    acknowledged = tmp_path / "state" / "journal" / f"{command_id}.jsonl"
    lines = [line for line in acknowledged.read_text().splitlines() if '"acknowledged"' not in line]
    acknowledged.write_text("\n".join([*lines, ""]))  # as if the server had not got anything
    (told_before,) = [event["message_ids"]["one"] for event in record.of_kind("ended")]

    async def work() -> None:
        async with Machine(tmp_path / "state").running() as machine:
            ended = await machine.result(command_id)
            assert ended["steps"]["one"]["standardOutput"] == "first\n"
            (again,) = [reply for reply in machine.heard if "first" in reply.content]
            assert str(again.message_id) == told_before

    run(work())


def test_accepted_commands_that_had_not_begun_run_after_a_kill(tmp_path: Path) -> None:
    journal = Machine(tmp_path / "state")
    command_id = new_command_id()
    Journal(journal.state.journal).accept(
        command_id,
        {
            "job_id": f"aws.ssm.{command_id}.{NODE_ID}",
            "topic": SEND_COMMAND,
            "content": content(document(script("echo late"))),
            "at": time.time(),
        },
    )
    ended = run(after_restart(tmp_path, command_id))
    steps = ended["steps"]
    assert isinstance(steps, dict)
    assert steps["step"]["standardOutput"] == "late\n"


def test_a_result_that_was_never_acknowledged_is_told_again(tmp_path: Path) -> None:
    command_id = new_command_id()

    async def deaf() -> None:
        machine = Machine(tmp_path / "state")
        machine.send(content(document(script("echo kept"))), command_id)
        await until(lambda: machine.worker.is_idle)
        await machine.worker.stop(0)

    run(deaf())
    ended = run(after_restart(tmp_path, command_id))
    steps = ended["steps"]
    assert isinstance(steps, dict)
    assert steps["step"]["standardOutput"] == "kept\n"
    assert (tmp_path / "state" / "journal" / "finished" / command_id).exists()


def test_stopping_lets_a_step_end_within_its_grace(tmp_path: Path) -> None:
    async def work() -> None:
        async with Machine(tmp_path).running() as machine:
            command_id, _ = machine.send(content(document(script(f"touch {tmp_path}/begun; sleep 0.3; echo done"))))
            await until((tmp_path / "begun").exists)
            stopping = asyncio.create_task(machine.worker.stop(20))
            await asyncio.sleep(0)
            assert machine.send(content(document(script("true"))))[1].code is AckCode.CLOSED_PROCESSOR
            await stopping
            ended = await machine.result(command_id)
            assert ended["steps"]["step"]["standardOutput"] == "done\n"

    run(work())


def test_old_folders_go_and_new_ones_stay(tmp_path: Path) -> None:
    async def work() -> None:
        async with Machine(tmp_path).running() as machine:
            old, _ = machine.send(content(document(script("true"))))
            new, _ = machine.send(content(document(script("true"))))
            await machine.result(old)
            await machine.result(new)
            await until(lambda: machine.worker.is_idle)
            past = time.time() - worker_module.KEEP_FOLDERS_SECONDS - 60
            os.utime(machine.state.orchestration / old, (past, past))
            machine.worker.clean()
            assert [path.name for path in machine.state.orchestration.iterdir()] == [new]

    run(work())


def test_the_full_output_stays_on_the_node(tmp_path: Path) -> None:
    ended = perform(tmp_path, document(script("seq 1 20000")))
    assert ended["steps"]["step"]["standardOutput"].endswith("--output truncated--")
    (kept,) = tmp_path.glob("orchestration/*/steps/step/stdout")
    assert kept.read_text().split() == [str(number) for number in range(1, 20001)]
    assert kept.stat().st_mode & 0o077 == 0


def test_schema_1_2_runs_every_property_and_is_told_by_its_plugin(tmp_path: Path) -> None:
    properties = [{"id": "0.aws:runShellScript", "runCommand": ["echo a"]}, {"id": "1", "runCommand": ["echo b"]}]
    doc = {"schemaVersion": "1.2", "runtimeConfig": {"aws:runShellScript": {"properties": properties}}}
    ended = perform(tmp_path, doc)
    assert ended["runtimeStatus"]["aws:runShellScript"]["standardOutput"] == "a\nb\n"
    assert json.dumps(ended)
