"""`fleetward session start` at a real terminal: keys, sizes, exit codes, outages, and the terminal left as it was."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pexpect
import pytest

from fleetward.protocol.frame import PayloadType
from tests.client.far_end import NODE, SESSION, FarEnd, served
from tests.client.test_bridge import environment
from tests.serving import FLEETWARD, eventually


def shell(end: FarEnd, payload_type: int, payload: bytes) -> None:
    """Echoes keys; `q` ends it with 7, and Ctrl-D with 0."""
    if payload_type != PayloadType.OUTPUT:
        return
    end.send(PayloadType.OUTPUT, payload.replace(b"\x03", b"^C"))
    for key, code in ((b"q", 7), (b"\x04", 0)):
        if key in payload:
            end.send(PayloadType.EXIT_CODE, b"EXIT_CODE: %d" % code)
            end.end()


@contextmanager
def at_terminal(end: FarEnd, *words: str) -> Iterator[Any]:
    """The command at a terminal of 24 rows and 80 columns, below a shell that shows how it left the terminal."""
    with served(end):
        command = (
            f"'{FLEETWARD}' session start {NODE} {' '.join(words)}; echo rc=$?; stty -a | tr ';' '\\n' | grep icanon"
        )
        child = pexpect.spawn("/bin/sh", ["-c", command], env=dict(environment(end)), timeout=20, dimensions=(24, 80))
        try:
            yield child
        finally:
            child.close(force=True)


def is_open(end: FarEnd) -> None:
    """Wait until the shell is there: from then on the terminal is raw, and nothing is echoed but by the shell."""
    eventually(end.sizes)


def left(child: Any, code: int) -> bool:
    """Whether it ended with this code and left the terminal as it was."""
    child.expect_exact(f"rc={code}\r\n")
    child.expect(pexpect.EOF)
    return b"-icanon" not in child.before and b"icanon" in child.before


def test_keys_go_as_they_are_and_the_exit_code_comes_back() -> None:
    end = FarEnd(shell, customer_message="Be kind.\x1b[5m")
    with at_terminal(end, "--reason", "why", "--parameter", "a=1") as child:
        child.expect_exact(f"Starting session with SessionId: {SESSION}\r\n")
        child.expect_exact("Be kind.?[5m\r\n")
        is_open(end)
        child.send("ls\x03")
        child.expect_exact("ls^C")
        child.send("q")
        child.expect_exact(f"Exiting session with sessionId: {SESSION}.")
        assert left(child, 7)
    assert end.typed() == b"ls\x03q"
    (asked,) = end.called("StartSession")
    assert asked == {"Target": NODE, "Reason": "why", "Parameters": {"a": ["1"]}}


def test_the_node_is_told_the_size_at_first_and_when_it_changes() -> None:
    end = FarEnd(shell)
    with at_terminal(end) as child:
        eventually(lambda: end.sizes() == [{"cols": 80, "rows": 24}])
        child.setwinsize(33, 111)
        eventually(lambda: end.sizes() == [{"cols": 80, "rows": 24}, {"cols": 111, "rows": 33}])
        child.send("q")
        assert left(child, 7)


@pytest.mark.parametrize(("is_ours", "code"), [(True, 1), (False, 0)])
def test_a_session_that_is_ended_elsewhere_says_why(is_ours: bool, code: int) -> None:
    """With our agent it is known that the program had not ended; an official one never tells."""
    end = FarEnd(shell, is_ours=is_ours)
    with at_terminal(end) as child:
        child.expect_exact(SESSION)
        is_open(end)
        end.end("Terminated by \x1b]0;mallory\x07.")
        child.expect_exact(f"SessionId: {SESSION} : Terminated by ?]0;mallory?.")
        assert left(child, code)


def test_a_failure_is_one_line_and_exit_code_1() -> None:
    end = FarEnd(shell, session_type="Port", properties={"portNumber": "1"})
    with at_terminal(end) as child:
        child.expect_exact("fleetward: the document forwards a port: use fleetward tunnel or ssh-proxy\r\n")
        assert left(child, 1)


def test_ctrl_c_while_the_node_does_not_come_ends_it() -> None:
    end = FarEnd(shell, answers=False)
    with at_terminal(end) as child:
        child.expect_exact(SESSION)
        eventually(lambda: end.openings == 1)
        child.send("\x03")
        child.expect_exact("interrupted")
    assert end.called("TerminateSession")


def test_an_outage_is_told_after_a_while_and_can_be_given_up() -> None:
    end = FarEnd(shell)
    with at_terminal(end) as child:
        is_open(end)
        child.send("a")
        child.expect_exact("a")
        end.refuse["ResumeSession"] = (503, "ServiceUnavailableException")
        end.cut()
        child.expect_exact("the connection is lost, trying again; Ctrl-C gives up")
        end.refuse.clear()
        child.expect_exact("connected again")
        child.send("b")
        child.expect_exact("b")
        end.refuse["ResumeSession"] = (503, "ServiceUnavailableException")
        end.cut()
        child.expect_exact("Ctrl-C gives up")
        child.send("\x03")
        child.expect_exact("given up")
        assert left(child, 1)


@pytest.mark.parametrize("kill", [lambda pid: os.kill(pid, 15), lambda pid: os.kill(pid, 1)], ids=["TERM", "HUP"])
def test_a_signal_ends_the_session_and_restores_the_terminal(kill: Callable[[int], None]) -> None:
    end = FarEnd(shell)
    with at_terminal(end) as child:
        is_open(end)
        child.send("a")
        child.expect_exact("a")
        (pid,) = subprocess.check_output(["pgrep", "-P", str(child.pid)]).split()
        kill(int(pid))
        assert left(child, 129)
    assert end.called("TerminateSession")


def test_input_from_a_file_is_typed_and_ends_the_shell() -> None:
    end = FarEnd(shell)
    with served(end):
        done = subprocess.run(
            [str(FLEETWARD), "session", "start", NODE],
            input=b"line\n" * 20_000,
            env=environment(end),
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, b"line\n" * 20_000 + b"\x04")
    assert b"Exiting session" in done.stderr
    assert end.sizes() == [{"cols": 300, "rows": 100}]


def test_bulk_output_reaches_a_pipe_that_is_read_slowly() -> None:
    size = 20 * 1024 * 1024

    def floods(end: FarEnd, payload_type: int, payload: bytes) -> None:
        if payload_type == PayloadType.SIZE:
            for _ in range(size // 65536):
                end.send(PayloadType.OUTPUT, bytes(65536))
            end.send(PayloadType.EXIT_CODE, b"EXIT_CODE: 0")
            end.end()

    end = FarEnd(floods)
    with served(end):
        command = [str(FLEETWARD), "session", "start", NODE]
        with subprocess.Popen(
            command, env=environment(end), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as child:
            assert child.stdout is not None
            is_open(end)
            time.sleep(0.5)
            assert len(child.stdout.read()) == size
            assert child.wait(10) == 0
