"""Who is in the inventory: nodes get a place when they join, and are remembered for 30 days after they left."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import bindparam, select

from fleetward.server.call import Call
from fleetward.server.ssm import nodes, ssm
from fleetward.server.ssm.inventory.table import (
    ANY_ITEM,
    FORGOTTEN,
    ITEMS_OF_NODE,
    LEAVE,
    REMOVE_MEMBER,
    empty,
    members,
    ordinal_of,
)

KEPT = timedelta(days=30)
"""Manual, "Metadata collected by inventory": data of a node that was terminated stay for 30 days."""
AT_ONCE = 20

TENANTS_WITH_OLD = (
    select(members.c.account_id, members.c.region).where(members.c.forget_at <= bindparam("now")).distinct()
)


@ssm.reaction(nodes.NodeJoined)
def give_place(call: Call, event: nodes.NodeJoined) -> None:
    """A node gets its place in the bitmaps."""
    ordinal_of(call, event.node_id)


@ssm.reaction(nodes.NodeLeft)
def remember(call: Call, event: nodes.NodeLeft) -> None:
    """What a node told stays for 30 days, and what it was when it left."""
    ordinal_of(call, event.node_id)
    call.db.run(LEAVE, {**call.here, "node": event.node_id, "until": call.now + KEPT, "told": dict(event.facts)})


@ssm.timer(every=timedelta(minutes=10), due=TENANTS_WITH_OLD)
def forget_old(call: Call) -> None:
    """Forget nodes that left long ago: first what they told, and when the catalogue has followed, their place."""
    for node_id in call.db.values(FORGOTTEN, **call.here, now=call.now, most=AT_ONCE):
        empty(call, call.db.all(ITEMS_OF_NODE, **call.here, node=node_id, most=100))
        if call.db.value(ANY_ITEM, **call.here, node=node_id) is None:
            call.db.run(REMOVE_MEMBER, {**call.here, "node": node_id})
