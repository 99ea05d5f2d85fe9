"""Ephemeral: a server whose data need not outlive it, and how all of it is emptied but for root's key."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Delete, delete

from fleetward.server.call import Call
from fleetward.server.iam import principals
from fleetward.server.schema import metadata
from fleetward.server.settings import NOWHERE, Settings, SettingsFault
from fleetward.server.ssm import nodes

MARK = "ephemeral"
KEPT = frozenset(
    {
        "iam_access_keys",  # root's; others are deleted one by one
        "iam_epochs",  # or the keys of nodes that are gone would be good again
        "key_rotation_rings",
        "key_rotation_states",
        "presence_servers",
        "timer_leases",
    }
)
"""Tables that outlive a reset: what the running server needs to go on."""


@contextlib.contextmanager
def placed(settings: Settings) -> Iterator[Settings]:
    """The settings with a data folder: a temporary one, removed at the end, for an ephemeral server without one.

    SettingsFault when the folder of an ephemeral server holds what another kind of server made: a reset would empty it.
    """
    if not settings.ephemeral:
        yield settings
    elif settings.data != NOWHERE:
        _mark(settings.data)
        yield settings
    else:
        with tempfile.TemporaryDirectory(prefix="fleetward-", ignore_cleanup_errors=True) as folder:
            _mark(Path(folder))
            yield replace(settings, data=Path(folder))


def keep(folder: Path) -> None:
    """From now on the folder holds what is to last: no ephemeral server takes it again."""
    (folder / MARK).unlink(missing_ok=True)


def _mark(folder: Path) -> None:
    mark = folder / MARK
    if (folder / "fleetward.db").exists() and not mark.exists():
        raise SettingsFault(
            f"{folder} holds the data of a server that was not ephemeral; choose another folder, or none"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark.touch(mode=0o600)


def empty(call: Call) -> None:
    """Delete every row but root's key, and void the keys of all nodes. Ours: in one transaction, however many.

    Temporary keys of roles end too: the roles that every account has are made anew.
    """
    for account, region, node_id in nodes.everywhere(call):
        principals.revoke(call, principals.node_arn(account, region, node_id))
    for statement in _deletions():
        call.db.run(statement)
    principals.keep_root_alone(call)
    call.wake(principals.EPOCHS_TOPIC)


@functools.cache
def _deletions() -> tuple[Delete, ...]:
    return tuple(delete(table) for table in reversed(metadata.sorted_tables) if table.name not in KEPT)
