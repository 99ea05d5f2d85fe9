"""Programs of the system that gatherers ask: bounded in time and size, in plain English and without a terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from fleetward.agent.inventory.rows import GatherFault

LONGEST_SECONDS = 120.0
LARGEST_OUTPUT_BYTES = 64 * 1024 * 1024


def printed_by(*command: str, given: str | None = None, seconds: float = LONGEST_SECONDS) -> str | None:
    """What a program prints; None when it is not installed, GatherFault when it fails or takes too long."""
    program = shutil.which(command[0], path=_path())
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]],
            input=given.encode() if given is not None else b"",
            capture_output=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "PATH": _path(), "LC_ALL": "C.UTF-8", "LANGUAGE": "C"},
        )
    except subprocess.TimeoutExpired:
        raise GatherFault(f"{command[0]} did not end within {seconds:.0f} seconds") from None
    except OSError as error:
        raise GatherFault(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()[:300]
        raise GatherFault(f"{command[0]} ended with exit code {done.returncode}: {reason}")
    if len(done.stdout) > LARGEST_OUTPUT_BYTES:
        raise GatherFault(f"{command[0]} printed more than {LARGEST_OUTPUT_BYTES} bytes")
    return done.stdout.decode(errors="replace")


def objects_of_powershell(script: str, given: str | None = None) -> list[Mapping[str, Any]]:
    """The objects that a PowerShell expression gives, with properties that JSON can carry."""
    whole = f"$ErrorActionPreference='Stop'; ConvertTo-Json -Compress -Depth 3 -InputObject @({script})"
    utf8 = "[Console]::OutputEncoding=[Text.Encoding]::UTF8; "
    printed = printed_by(
        "powershell",
        "-NoProfile",
        "-NonInteractive",
        "-ExecutionPolicy",
        "Bypass",
        "-Command",
        utf8 + whole,
        given=given,
    )
    if printed is None:
        raise GatherFault("PowerShell is not installed")
    return read_objects(printed)


def read_objects(printed: str) -> list[Mapping[str, Any]]:
    """The objects in a JSON list; older PowerShells print a single one without the list, and nothing for none."""
    try:
        found = json.loads(printed.lstrip("\ufeff") or "[]")
    except ValueError:
        raise GatherFault("PowerShell printed no JSON") from None
    return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]


def _path() -> str:
    """Where programs are looked for; services are often started without the folders for administrators."""
    own = os.environ.get("PATH", "")
    return own if os.name == "nt" else ":".join([*filter(None, [own]), "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"])
