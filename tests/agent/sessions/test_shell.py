"""Shells and interactive commands in a real terminal of a real session process."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from fleetward.agent.sessions.shell import read_size
from fleetward.protocol.data_channel.handshake import OUR_TERMS, Terms
from fleetward.protocol.frame import PayloadType
from tests.agent.machine import alive
from tests.agent.sessions.far_end import FarEnd, commands, content, with_session

ENDS = pytest.mark.parametrize("terms", [OUR_TERMS, None], ids=["ours", "official"])


@ENDS
def test_the_size_is_seen_and_the_exit_ends_the_session(tmp_path: Path, terms: Terms | None) -> None:
    async def work(far: FarEnd) -> None:
        await far.begun()
        far.type(b"stty size\n")
        await far.expect(b"24 80\r\n")
        far.resize(111, 33)
        far.type(b"stty size; echo $TERM\n")
        await far.expect(b"33 111\r\nxterm-256color\r\n")
        far.resize(90, 25)
        far.type(b"stty size\n")
        await far.expect(b"25 90\r\n")
        far.type(b"exit 3\n")
        assert (await far.ended())["status"] == "Success"

    far = with_session(tmp_path, content(commands("exec sh")), work, terms)
    assert far.states == ["Connected", "Terminating"]
    codes = [payload for kind, payload in far.seen if kind == PayloadType.EXIT_CODE]
    assert codes == ([] if terms is None else [b"EXIT_CODE: 3"])


@ENDS
def test_ctrl_c_interrupts_what_runs(tmp_path: Path, terms: Terms | None) -> None:
    async def work(far: FarEnd) -> None:
        await far.begun()
        far.type(b"sh -c 'echo ready; exec sleep 100'\n")
        await far.expect(b"ready\r\n")
        far.type(b"\x03")
        far.type(b"echo rc $?\n")
        await far.expect(b"rc 130\r\n")

    with_session(tmp_path, content(commands("exec sh")), work, terms)


@ENDS
def test_five_megabytes_arrive_as_they_were_printed(tmp_path: Path, terms: Terms | None) -> None:
    size = 5_000_000 if terms else 1_000_000
    text = "".join(f"line {number}\n" for number in range(size // 10))[:size]
    (tmp_path / "printed").write_text(text)

    async def work(far: FarEnd) -> None:
        await far.ended()

    far = with_session(tmp_path, content(commands(f"stty -opost; cat {tmp_path}/printed")), work, terms)
    assert far.digest == hashlib.sha256(text.encode()).hexdigest()


def test_frames_for_official_clients_end_between_characters(tmp_path: Path) -> None:
    text = "añ€😀" * 20_000
    (tmp_path / "printed").write_text(text)

    async def work(far: FarEnd) -> None:
        await far.ended()

    far = with_session(tmp_path, content(commands(f"stty -opost; cat {tmp_path}/printed")), work, None)
    assert far.printed.decode() == text
    payloads = far.payloads(1)
    assert max(map(len, payloads)) <= 1024
    assert "".join(payload.decode() for payload in payloads) == text


def test_five_thousand_lines_are_pasted_whole(tmp_path: Path) -> None:
    lines = b"".join(b"line %05d of a long paste, with some words in it\n" % number for number in range(5000))

    async def work(far: FarEnd) -> None:
        await far.begun()
        far.type(f"cat > {tmp_path}/pasted; echo sa''ved\n".encode())
        await far.send_all(lines, 4000)
        far.type(b"\x04")
        await far.expect(b"saved\r\n")

    with_session(tmp_path, content(commands("exec sh")), work)
    assert (tmp_path / "pasted").read_bytes() == lines


def test_who_does_not_read_what_is_typed_holds_the_client(tmp_path: Path) -> None:
    data = b"x" * 79 + b"\n"

    async def work(far: FarEnd) -> None:
        await far.begun()
        far.type(b"stty raw -echo; echo go; sleep 1; head -c 4000000 | sha256sum; echo over\n")
        await far.expect(b"go\n")
        await far.send_all(data * 50_000)
        await far.expect(b"over\n")

    far = with_session(tmp_path, content(commands("exec sh")), work)
    assert hashlib.sha256(data * 50_000).hexdigest().encode() in far.printed


def test_a_profile_is_typed_first_and_can_ask_for_the_login_shell(tmp_path: Path) -> None:
    profile = {"linux": 'exec "$SHELL" -c "echo this is \\$0 of \\$HOME"'}
    document = {
        "schemaVersion": "1.0",
        "sessionType": "Standard_Stream",
        "inputs": {"runAsEnabled": True, "runAsDefaultUser": "nobody", "shellProfile": profile},
    }

    async def work(far: FarEnd) -> None:
        await far.ended()

    far = with_session(tmp_path, content(document), work)
    assert b"this is /usr/sbin/nologin" in far.printed or b"not available" in far.printed


def test_a_session_that_is_closed_hangs_up_on_all_of_it(tmp_path: Path) -> None:
    script = f"echo shell $$; (trap '' HUP; echo $$ > {tmp_path}/stubborn; exec sleep 100)"

    async def work(far: FarEnd) -> None:
        await far.expect(b"shell ")
        await far.until(lambda: re.search(rb"shell (\d+)", far.printed))
        assert far.process is not None
        far.process.close()
        assert (await far.ended())["status"] == "Success"

    far = with_session(tmp_path, content(commands(script)), work)
    found = re.search(rb"shell (\d+)", far.printed)
    assert found is not None
    assert not alive(int(found[1]))


def test_sizes_that_make_no_sense_are_passed_over() -> None:
    assert read_size(b'{"cols":111,"rows":33}') == (111, 33)
    for payload in (
        b"",
        b"[]",
        b'{"cols":0,"rows":1}',
        b'{"cols":"1","rows":1}',
        b'{"cols":1e9,"rows":1}',
        b"[" * 9000,
    ):
        assert read_size(payload) is None
