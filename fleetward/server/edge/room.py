"""Room: whether the disk has enough of it; below 5 % or 1 GiB what makes it fuller is refused, heartbeats go on."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

FREE_SHARE = 0.05
FREE_BYTES = 1024**3
LOOK_EVERY = 5.0


class Room:
    """Free space of the data folder's disk, looked at no more than every five seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._looked_at = -LOOK_EVERY
        self._enough = True

    def enough(self) -> bool:
        """Whether there is room for new work."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            usage = shutil.disk_usage(self._folder)
            self._enough = has_room(usage.total, usage.free)
        return self._enough


def has_room(total_bytes: int, free_bytes: int) -> bool:
    """Neither below 5 % nor below 1 GiB; a disk that is smaller than 20 GiB has only the share to keep."""
    return free_bytes >= total_bytes * FREE_SHARE and (
        free_bytes >= FREE_BYTES or total_bytes < FREE_BYTES / FREE_SHARE
    )
