"""What Linux and macOS share: process groups, locks, shells."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any


class Posix:
    """A system with process groups."""

    def session_options(self) -> dict[str, Any]:
        """A session of its own, killed as one, and the umask that scripts expect instead of the agent's."""
        return {"start_new_session": True, "umask": 0o022}

    def kill_tree(self, pid: int) -> None:
        """SIGKILL to the whole process group, as the official agent does it (AP 10.3)."""
        if sys.platform != "win32":
            try:
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass

    def lock(self, path: Path) -> IO[bytes] | None:
        """An exclusive flock."""
        file = path.open("ab")
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                return None
        return file

    def shell_command(self, script: Path) -> list[str]:
        """`sh -c <path>`: the script's own first line chooses its interpreter (AP 10.3)."""
        script.chmod(0o700)
        quoted = "'" + str(script).replace("'", "'\\''") + "'"
        return ["sh", "-c", quoted]

    def powershell_command(self, script: Path, environment: Mapping[str, str]) -> list[str] | None:
        """PowerShell 7, where it is installed."""
        import shutil  # costs memory; few nodes need it

        program = shutil.which("pwsh", path=environment.get("PATH"))
        return [program, "-NoProfile", "-NonInteractive", "-File", str(script)] if program else None


def hashed(text: str) -> str:
    """The hash under which a fact about this machine leaves it."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def output_of(*command: str) -> str:
    """What a system's own program prints; empty when it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
