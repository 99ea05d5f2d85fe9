"""`fleetward session list|play|export|terminate` and the wrong uses of its kin, against an API of the test's own."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.client.far_end import NODE, SESSION, FarEnd, served
from tests.client.test_bridge import environment
from tests.serving import FLEETWARD

RECORDING = (
    b'{"version": 2, "width": 80, "height": 24}\n[0.01, "o", "$ ls\\r\\n"]\n[60.0, "o", "\\u001b[1mf\\u00fcnf\\r\\n"]\n'
)


def fleetward(end: FarEnd, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A command of ours, to its end."""
    with served(end):
        command = [str(FLEETWARD), *words]
        return subprocess.run(command, env=environment(end), capture_output=True, timeout=30, check=False)


def sessions(first: int, number: int, **members: Any) -> list[dict[str, Any]]:
    """Rows as DescribeSessions gives them."""
    rows = range(first, first + number)
    return [{"SessionId": f"alice-{row}", "Target": NODE, "Status": "Connected", **members} for row in rows]


def test_lists_are_read_to_their_end_or_limit_and_cannot_drive_the_terminal() -> None:
    end = FarEnd()
    odd = {"Owner": "arn:aws:iam::1:user/\x1b]0;x\x07", "Reason": "line\nbreak", "StartDate": 0.0}
    end.answers["DescribeSessions"] = [
        {"Sessions": sessions(0, 200), "NextToken": "more"},
        {"Sessions": sessions(200, 1, **odd)},
    ]
    done = fleetward(end, "session", "list", "--node", NODE, "--owner", "arn")
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, len(lines)) == (0, 202)
    assert "arn:aws:iam::1:user/?]0;x?  line?break" in lines[-1]
    first, second = end.called("DescribeSessions")
    wanted = [{"key": "Target", "value": NODE}, {"key": "Owner", "value": "arn"}]
    assert first == {"State": "Active", "Filters": wanted, "MaxResults": 200}
    assert second["NextToken"] == "more"


def test_programs_get_json() -> None:
    end = FarEnd()
    end.answers["DescribeSessions"] = [{"Sessions": sessions(0, 3), "NextToken": "more"}]
    done = fleetward(end, "session", "list", "--history", "--limit", "3", "--json")
    assert [each["SessionId"] for each in json.loads(done.stdout)] == ["alice-0", "alice-1", "alice-2"]
    assert end.called("DescribeSessions") == [{"State": "History", "MaxResults": 3}]


def test_one_session_is_shown_with_its_target_and_traffic() -> None:
    shown = {"SessionId": SESSION, "Host": "db\x1b[2J", "Port": "5432", "BytesIn": 7, "StartDate": 0.0, "Details": ""}
    end = FarEnd()
    end.answers["DescribeSession"] = [shown]
    lines = fleetward(end, "session", "show", SESSION).stdout.decode().splitlines()
    assert lines[0] == f"SessionId     {SESSION}"
    assert "Host          db?[2J" in lines
    assert "BytesIn       7" in lines
    end = FarEnd()
    end.answers["DescribeSession"] = [shown]
    assert json.loads(fleetward(end, "session", "show", SESSION, "--json").stdout) == shown


def test_a_recording_is_played_as_it_was_seen_and_long_pauses_are_short() -> None:
    end = FarEnd()
    end.recording = RECORDING
    done = fleetward(end, "session", "play", SESSION, "--idle", "0.1", "--speed", "2")
    assert (done.returncode, done.stdout) == (0, "$ ls\r\n\x1b[1mfünf\r\n".encode())
    assert end.called("GET")[0]["path"].startswith(f"/_fleetward/sessions/{SESSION}/recording")


def test_a_recording_is_exported_for_its_owner_only(tmp_path: Path) -> None:
    end = FarEnd()
    end.recording = RECORDING
    assert fleetward(end, "session", "export", SESSION).stdout == RECORDING
    end = FarEnd()
    end.recording = RECORDING
    file = tmp_path / "shell.cast"
    assert fleetward(end, "session", "export", SESSION, "-o", str(file)).returncode == 0
    assert file.read_bytes() == RECORDING
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_session_without_a_recording_is_a_failure_and_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "shell.cast"
    done = fleetward(FarEnd(), "session", "export", SESSION, "-o", str(file))
    assert (done.returncode, file.exists()) == (1, False)
    end = FarEnd()
    end.recording = b"GIF89a"
    done = fleetward(end, "session", "play", SESSION)
    assert (done.returncode, done.stderr) == (1, b"fleetward: this is no asciicast v2 recording\n")


def test_a_session_is_terminated_by_its_id() -> None:
    end = FarEnd()
    done = fleetward(end, "session", "terminate", SESSION)
    assert (done.returncode, done.stdout) == (0, f"Ended {SESSION}.\n".encode())
    assert end.called("TerminateSession") == [{"SessionId": SESSION}]


@pytest.mark.parametrize(
    "words",
    [
        ("tunnel", NODE),
        ("tunnel", NODE, "0"),
        ("tunnel", NODE, "65536"),
        ("tunnel", NODE, "5432:"),
        ("tunnel", NODE, "db:5432"),
        ("tunnel", NODE, "5432", "--local", "1", "--local", "2"),
        ("tunnel", NODE, "5432", "--local", "70000"),
        ("ssh-proxy", NODE, "ssh"),
        ("session", "start", NODE, "--parameter", "command"),
        ("session", "play", SESSION, "--speed", "0"),
    ],
)
def test_wrong_use_is_exit_code_2_and_calls_nobody(words: tuple[str, ...]) -> None:
    end = FarEnd()
    assert fleetward(end, *words).returncode == 2
    assert end.calls == []
