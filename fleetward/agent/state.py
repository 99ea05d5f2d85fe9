"""The state folder of a node: what lies where, and writes that are whole or not there at all."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths below one folder that belongs to one node; everything in it is readable by its owner alone."""

    root: Path

    @property
    def vault(self) -> Path:
        """Keys: identity.json, fingerprint.json, token.json."""
        return self.root / "vault"

    @property
    def ca(self) -> Path:
        """The only certificates trusted for the control plane."""
        return self.root / "ca.pem"

    @property
    def credentials(self) -> Path:
        """The node's temporary keys in the form of an AWS shared credentials file, for scripts."""
        return self.root / "credentials"

    @property
    def journal(self) -> Path:
        """Commands in progress and the ids of those that ended."""
        return self.root / "journal"

    @property
    def orchestration(self) -> Path:
        """Scripts, downloads and outputs, one folder for each command."""
        return self.root / "orchestration"

    @property
    def sessions(self) -> Path:
        """One file for each session whose end the control plane does not know yet."""
        return self.root / "sessions"

    @property
    def transcripts(self) -> Path:
        """What sessions printed, until it is handed in."""
        return self.root / "transcripts"

    @property
    def inventory(self) -> Path:
        """What this node last said of itself, and the types that its owner adds."""
        return self.root / "inventory"

    @property
    def custom_inventory(self) -> Path:
        """Inventory types of the owner's own, one JSON file for each."""
        return self.inventory / "custom"

    @property
    def inventory_hashes(self) -> Path:
        """By type, the hash of what the control plane took last."""
        return self.inventory / "hashes.json"

    @property
    def lock(self) -> Path:
        """Held by the agent that runs on this folder."""
        return self.root / "agent.lock"

    def remove(self) -> None:
        """Remove what join and agent made, and the folder itself if nothing else is in it."""
        import shutil  # costs memory, and the resident process never does this

        own = (self.vault, self.journal, self.orchestration, self.sessions, self.transcripts, self.inventory)
        for folder in own:
            if folder.is_dir():
                shutil.rmtree(folder)
        for path in (self.ca, self.credentials, self.lock):
            path.unlink(missing_ok=True)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()

    def prepare(self) -> None:
        """Make the folders that must be there."""
        for folder in (self.root, self.vault, self.journal, self.orchestration, self.sessions, self.transcripts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.vault.chmod(0o700)


def write_whole(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file by all of `data`, durably, or leave it as it was."""
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write_whole` of a JSON value."""
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None when there is none or it cannot be read as one."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; Windows does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
