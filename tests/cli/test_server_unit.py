"""`fleetward server --install`: the unit that starts the server with the same options."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fleetward.agent.platforms import systemd
from fleetward.cli import server_unit
from fleetward.cli.failure import Failure

GIVEN = {
    "data": Path("data"),
    "listen": ("0.0.0.0:443", "[::]:443"),
    "name": ("fleet.example.net",),
    "trusted_proxy": ("10.0.0.0/8",),
    "proxy_protocol": True,
    "http": None,
    "ephemeral": None,
}


def test_the_unit_starts_the_server_with_the_options_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path absolute; options that were not given are not there."""
    monkeypatch.chdir(tmp_path)
    words = server_unit.command(GIVEN, Path("server.toml"), tmp_path / "data")
    assert words == [
        *[sys.executable, "-m", "fleetward.cli", "server", "--data", str(tmp_path / "data")],
        *["--config", str(tmp_path / "server.toml"), "--listen", "0.0.0.0:443", "--listen", "[::]:443"],
        *["--name", "fleet.example.net", "--trusted-proxy", "10.0.0.0/8", "--proxy-protocol"],
    ]


def test_the_server_understands_every_option_of_the_unit(tmp_path: Path) -> None:
    """Tried with the real program, which only then finds that its folder is missing an address."""
    words = server_unit.command({**GIVEN, "listen": ("nowhere",)}, None, tmp_path / "data")
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.strip()[-60:]) == (
        1,
        "fleetward: 'nowhere' is not an address of the form host:port"[-60:],
    )


def test_systemd_reads_the_unit_without_complaint(tmp_path: Path) -> None:
    """As its own checker sees it."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / server_unit.UNIT
    unit.write_text(server_unit.unit_text(server_unit.command(GIVEN, None, tmp_path), tmp_path))
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if server_unit.UNIT in line]
    assert complaints == [], done.stderr


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that systemd runs; systemctl, which is not ours, says yes to everything."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(systemd, "FOLDER", tmp_path)
    monkeypatch.setattr(systemd, "BOOTED", tmp_path)
    return tmp_path


def test_installing_says_what_was_done_and_spares_another_servers_unit(machine: Path) -> None:
    given = {**GIVEN, "data": machine / "data"}
    for _ in range(2):
        assert server_unit.install(given, None) == f"{machine / server_unit.UNIT} is enabled and running"
    assert (machine / "data").stat().st_mode & 0o077 == 0
    with pytest.raises(Failure, match="runs a server on another folder"):
        server_unit.install({**GIVEN, "data": machine / "other"}, None)


def test_what_the_service_would_not_have_is_refused(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the environment, and data that need not last."""
    with pytest.raises(Failure, match="ephemeral"):
        server_unit.install({**GIVEN, "ephemeral": True, "data": machine / "data"}, None)
    monkeypatch.setenv("FLEETWARD_DATABASE", "postgresql://u:secret@h/d")
    with pytest.raises(Failure, match="FLEETWARD_DATABASE is set here") as told:
        server_unit.install({**GIVEN, "data": machine / "data"}, None)
    assert "secret" not in str(told.value)
    assert not (machine / server_unit.UNIT).exists()


def test_without_systemd_the_command_says_so(tmp_path: Path) -> None:
    """Exit code 1, no traceback."""
    if systemd.is_running():
        pytest.skip("systemd runs this machine")
    words = [sys.executable, "-m", "fleetward.cli", "server", "--install", "--data", str(tmp_path / "data")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fleetward: systemd does not run this machine")
