"""A server and, played by the test, another one beside it: the rows that the other would write, its certificates."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from fleetward.server.keys import KeyRing, load_ring
from fleetward.server.peer_trust import PeerTrust
from tests.serving import Node, ServerProcess, eventually

OTHER = "ZZZZYYYYXXXXWWWW"
"""The id of the server that the test is."""
FAR_AWAY = 4_000_000_000_000_000
"""A moment in the next century, as the store keeps times."""


class ServerWithPeers:
    """A server on SQLite, seen from its neighbour."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        ((self.server_id, self.address),) = eventually(lambda: self.rows("SELECT server_id, peer_address", "servers"))

    def rows(self, select: str, table: str, where: str = "1 = 1") -> list[tuple[Any, ...]]:
        """Rows of one of presence's tables, or of the sessions."""
        name = "session_manager_sessions" if table == "sessions" else f"presence_{table}"
        with contextlib.closing(sqlite3.connect(self.process.data / "fleetward.db", timeout=10)) as database:
            return list(database.execute(f"{select} FROM {name} WHERE {where}"))

    def await_row(self, session_id: str, condition: str) -> None:
        """Wait until a session's row is so."""
        eventually(lambda: self.rows("SELECT 1", "sessions", f"session_id = '{session_id}' AND {condition}"))

    def set_row(self, session_id: str, **columns: Any) -> None:
        """Write to a session's row what another server would."""
        changes = ", ".join(f"{name} = ?" for name in columns)
        self._write(
            f"UPDATE session_manager_sessions SET {changes} WHERE session_id = ?", (*columns.values(), session_id)
        )

    def add_other(self, address: str) -> None:
        """The other server lives, and is reached there."""
        self._write(
            "INSERT OR REPLACE INTO presence_servers (server_id, peer_address, lease_until) VALUES (?, ?, ?)",
            (OTHER, address, FAR_AWAY),
        )

    def forget_other(self) -> None:
        """The other server has died."""
        self._write("DELETE FROM presence_servers WHERE server_id = ?", (OTHER,))

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with contextlib.closing(sqlite3.connect(self.process.data / "fleetward.db", timeout=10)) as database:
            database.execute(statement, values)
            database.commit()

    def trust(self, server_id: str = OTHER, ring: KeyRing | None = None) -> PeerTrust:
        """Certificates under the server's ring."""
        return PeerTrust(ring or load_ring(self.process.data), server_id, Path(tempfile.gettempdir()))

    def connected(self, node: Node) -> None:
        """Wait until the node's control channel counts."""
        eventually(
            lambda: self.rows("SELECT 1", "connections", f"node_id = '{node.node_id}' AND server_id IS NOT NULL")
        )
