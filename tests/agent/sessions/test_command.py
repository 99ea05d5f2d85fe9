"""Commands without a terminal: no shell, both streams apart or as one, signals, exit codes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fleetward.protocol.data_channel.handshake import OUR_TERMS, Terms
from fleetward.protocol.frame import PayloadType
from tests.agent.machine import alive
from tests.agent.sessions.far_end import FarEnd, commands, content, with_session

SCRIPT = "sh -c 'echo out; echo wrong >&2; exit 3'"


async def to_the_end(far: FarEnd) -> None:
    """Do nothing but wait."""
    assert (await far.ended())["status"] == "Success"


@pytest.mark.parametrize("terms", [OUR_TERMS, None], ids=["ours", "official"])
def test_streams_come_apart_and_the_exit_code_last(tmp_path: Path, terms: Terms | None) -> None:
    document = commands(SCRIPT, interactive=False, separateOutputStream="true")
    far = with_session(tmp_path, content(document), to_the_end, terms)
    assert far.payloads(PayloadType.OUTPUT) == [b"out\n"]
    assert far.payloads(PayloadType.STANDARD_ERROR) == [b"wrong\n"]
    assert far.seen[-1] == (PayloadType.EXIT_CODE, b"EXIT_CODE: 3")


def test_prefixes_go_before_lines(tmp_path: Path) -> None:
    prefixes = {"stdOutSeparatorPrefix": "OUT:", "stdErrSeparatorPrefix": "ERR:\n"}
    document = commands(SCRIPT, interactive=False, separateOutputStream=True, **prefixes)
    far = with_session(tmp_path, content(document), to_the_end)
    assert far.payloads(PayloadType.OUTPUT) == [b"OUT:out\n"]
    assert far.payloads(PayloadType.STANDARD_ERROR) == [b"ERR:\nwrong\n"]


def test_a_prefix_that_is_not_allowed_ends_the_session(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        result = await far.ended()
        assert result["status"] == "Failed"
        assert "stdOutSeparatorPrefix" in result["output"]

    document = commands(SCRIPT, interactive=False, separateOutputStream=True, stdOutSeparatorPrefix="$(id)")
    with_session(tmp_path, content(document), work)


@pytest.mark.parametrize("terms", [OUR_TERMS, None], ids=["ours", "official"])
def test_as_one_stream_only_our_own_client_is_told_the_exit_code(tmp_path: Path, terms: Terms | None) -> None:
    far = with_session(tmp_path, content(commands(SCRIPT, interactive=False)), to_the_end, terms)
    assert far.printed == b"out\nwrong\n"
    told = [(kind, payload) for kind, payload in far.seen if kind != PayloadType.OUTPUT]
    assert [kind for kind, _ in told] == [PayloadType.EXIT_CODE] * (terms is not None)


def test_no_shell_reads_the_words(tmp_path: Path) -> None:
    document = commands("""printf '%s|' "$HOME" ';' `id` a\\ b 'c  d'""", interactive=False)
    far = with_session(tmp_path, content(document), to_the_end)
    assert far.printed == b"$HOME|;|`id`|a b|c  d|"


def test_bytes_of_control_keys_are_signals_and_nothing_is_typed(tmp_path: Path) -> None:
    script = """sh -c 'trap "echo int" INT; trap "echo quit; exit 4" QUIT; echo go; while :; do sleep 0.05; done'"""

    async def work(far: FarEnd) -> None:
        await far.expect(b"go\n")
        far.type(b"typed\x03")
        await far.expect(b"int\n")
        far.type(b"\x1c")
        await to_the_end(far)

    far = with_session(tmp_path, content(commands(script, interactive=False, separateOutputStream=True)), work)
    assert far.printed == b"go\nint\nquit\n"
    assert far.seen[-1] == (PayloadType.EXIT_CODE, b"EXIT_CODE: 4")


def test_what_a_killed_session_started_is_gone(tmp_path: Path) -> None:
    async def work(far: FarEnd) -> None:
        await far.expect(b"\n")
        assert far.process is not None
        far.process.close()
        await to_the_end(far)

    far = with_session(tmp_path, content(commands("sh -c 'sleep 100 & echo $!; wait'", interactive=False)), work)
    assert not alive(int(far.printed))


def test_a_slow_reader_stops_the_command_and_loses_nothing(tmp_path: Path) -> None:
    data = bytes(range(256)) * 80_000
    (tmp_path / "data").write_bytes(data)
    script = f"sh -c 'cat {tmp_path}/data; touch {tmp_path}/written'"

    async def work(far: FarEnd) -> None:
        await far.begun()
        await far.until(lambda: far.printed)
        far.stop_reading()
        for _ in range(20):
            await far.turn()
        assert not (tmp_path / "written").exists()
        far.read_on()
        await to_the_end(far)

    far = with_session(tmp_path, content(commands(script, interactive=False)), work)
    assert far.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("text", ["/no/such/program", "echo 'unended"])
def test_what_cannot_be_started_says_so(tmp_path: Path, text: str) -> None:
    async def work(far: FarEnd) -> None:
        result = await far.ended()
        assert result["status"] == "Failed"
        assert "command" in result["output"]

    with_session(tmp_path, content(commands(text, interactive=False)), work)
