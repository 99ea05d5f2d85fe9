"""Link: the WebSocket between two servers that stands, at each of them, for the end that the other one holds.

```
   client ==> client's end -- Session -- NodeLink  ==>  ClientLink -- Session -- node's end <== agent
              `------- server the client came to       server of the node, which owns the session
```

One link carries one session. Frames are copied as they are, and who cannot take more holds the other side back, through
the link as well.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fleetward.server.call import service_context
from fleetward.server.edge.session_end import SessionEnd
from fleetward.server.ssm.session_manager.ends import End
from fleetward.server.ssm.session_manager.table import Key

if TYPE_CHECKING:
    from fleetward.server.edge.data_channels import DataChannels

PING_AFTER = 5.0
DROP_AFTER = 15.0
"""Seconds without a sign of life: between servers a link that is silent is soon replaced."""


class Link(SessionEnd):
    """One side of it."""

    is_far = True
    ping_after = PING_AFTER
    drop_after = DROP_AFTER

    def __init__(self, channels: DataChannels, which: End, key: Key, server_id: str, node_epoch: int) -> None:
        super().__init__(channels, which, key.session_id, service_context(key.account, key.region))
        self.key = key
        self.server_id = server_id
        """The server at the other side."""
        self.node_epoch = node_epoch
        """The connection of the node that was the newest when the link was made."""
        self._told_at = time.monotonic()

    def keep_alive(self) -> None:
        """Ping; also while nothing is read, as the other side could not tell that from a link that has gone."""
        if self._transport is not None and self._is_paused:
            if time.monotonic() - self._told_at >= self.ping_after:
                self._told_at = time.monotonic()
                self._transport.send_ping()
        else:
            super().keep_alive()
