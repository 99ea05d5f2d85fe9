"""systemd: units are written, enabled, started and removed; systemctl, which is not ours, is played by a script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetward.agent.platforms import systemd

Recorder = Callable[[], list[str]]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A machine that systemd runs, whose units lie in the test's folder; what systemctl was asked, line by line."""
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n'
        'case "$*" in "restart broken.service") echo "bad unit" >&2; exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(systemd, "FOLDER", tmp_path)
    monkeypatch.setattr(systemd, "BOOTED", tmp_path)
    return lambda: (tmp_path / "asked").read_text().splitlines()


def test_a_unit_is_written_enabled_started_and_removed(calls: Recorder, tmp_path: Path) -> None:
    said = systemd.install("x.service", "[Service]\n")
    assert (tmp_path / "x.service").read_text() == "[Service]\n"
    assert calls() == ["daemon-reload", "enable x.service", "restart x.service"]
    assert said == f"{tmp_path / 'x.service'} is enabled and running"
    systemd.remove("x.service")
    assert not (tmp_path / "x.service").exists()
    assert calls()[3:] == ["disable --now x.service", "daemon-reload"]


def test_what_systemctl_refuses_is_told(calls: Recorder) -> None:
    with pytest.raises(OSError, match=r"systemctl restart broken.service failed: bad unit"):
        systemd.install("broken.service", "")
    assert len(calls()) == 3


def test_without_systemd_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "FOLDER", tmp_path)
    monkeypatch.setattr(systemd, "BOOTED", tmp_path / "absent")
    with pytest.raises(OSError, match="systemd does not run this machine"):
        systemd.install("x.service", "")
    assert list(tmp_path.iterdir()) == []
