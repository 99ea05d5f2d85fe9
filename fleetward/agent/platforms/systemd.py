"""systemd: writing, enabling and removing the unit of a service; the command line uses it for the server too."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")


def is_running() -> bool:
    """Whether systemd runs this machine (sd_booted)."""
    return BOOTED.is_dir()


def install(name: str, text: str) -> str:
    """Write, enable and (re)start a unit; a sentence that says what was done. OSError when that is not possible."""
    if not is_running():
        raise OSError("systemd does not run this machine: start the service by what starts services here")
    unit = FOLDER / name
    unit.write_text(text)
    unit.chmod(0o644)
    for arguments in (["daemon-reload"], ["enable", name], ["restart", name]):
        done = subprocess.run(["systemctl", *arguments], check=False, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise OSError(f"{unit} is written, but systemctl {' '.join(arguments)} failed: {done.stderr.strip()[:300]}")
    return f"{unit} is enabled and running"


def remove(name: str) -> None:
    """Stop and disable a unit and remove its file."""
    subprocess.run(["systemctl", "disable", "--now", name], check=False, capture_output=True, timeout=120)
    (FOLDER / name).unlink(missing_ok=True)
    subprocess.run(["systemctl", "daemon-reload"], check=False, capture_output=True, timeout=120)


def command_line(words: Sequence[str]) -> str:
    """Words as ExecStart wants them."""
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """One word as ExecStart wants it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'
