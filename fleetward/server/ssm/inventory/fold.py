"""Fold: take changes into the catalogue, whose rows hold a bitmap of the nodes that have one item.

One job per tenant does it, a bounded number of items at a time, so that two servers never write one bitmap at once.
A node's change row goes when all its digests are folded; until then queries look at the node's own blob.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from pyroaring import BitMap
from sqlalchemy import Row, bindparam, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_or_change

from fleetward.server import jobs
from fleetward.server.call import Call
from fleetward.server.jobs import Job, Next
from fleetward.server.schema import in_tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.inventory import rows
from fleetward.server.ssm.inventory.table import blobs, catalogue, changes, items

KIND = "inventory-fold"
MOST_CHANGES = 24
MOST_ITEMS = 500
"""Catalogue rows that one step writes."""
MOST_OPENED = 4
"""Nodes whose content one step unpacks to learn what new digests stand for, which costs more than all the rest."""
IDLE = timedelta(days=1)

TENANTS_WITH_CHANGES = select(changes.c.account_id, changes.c.region).where(changes.c.at <= bindparam("now")).distinct()
WAITING = (
    select(changes.c.type_name, changes.c.node_id, changes.c.ordinal)
    .where(*in_tenant(changes))
    .order_by(changes.c.type_name, changes.c.node_id)
    .limit(bindparam("most"))
    .with_for_update()
)
_KEYS: Any = bindparam("keys", expanding=True)
BLOBS = select(blobs.c.node_id, blobs.c.type_name, blobs.c.digests, blobs.c.folded).where(
    *in_tenant(blobs), tuple_(blobs.c.node_id, blobs.c.type_name).in_(_KEYS)
)
CONTENTS = select(blobs.c.node_id, blobs.c.type_name, blobs.c.content).where(
    *in_tenant(blobs), tuple_(blobs.c.node_id, blobs.c.type_name).in_(_KEYS)
)
FOUND = select(catalogue.c.digest, catalogue.c.nodes).where(
    *in_tenant(catalogue),
    catalogue.c.type_name == bindparam("type"),
    catalogue.c.digest.in_(bindparam("digests", expanding=True)),
)
_ADD = insert_or_change(catalogue)
PUT = _ADD.on_conflict_do_update(
    index_elements=["account_id", "region", "type_name", "digest"],
    set_={name: _ADD.excluded[name] for name in ("number", "nodes")},
)
_THIS = (
    *in_tenant(catalogue),
    catalogue.c.type_name == bindparam("type"),
    catalogue.c.digest == bindparam("of_digest"),
)
CHANGE = update(catalogue).where(*_THIS).values(number=bindparam("new_number"), nodes=bindparam("new_nodes"))
REMOVE = delete(catalogue).where(*_THIS)
FOLDED = (
    update(blobs)
    .where(*in_tenant(blobs), blobs.c.node_id == bindparam("node"), blobs.c.type_name == bindparam("type"))
    .values(folded=bindparam("now_folded"))
)
DONE = delete(changes).where(
    *in_tenant(changes), changes.c.node_id == bindparam("node"), changes.c.type_name == bindparam("type")
)
GONE = select(items.c.node_id, items.c.type_name).where(
    *in_tenant(items), items.c.gone, tuple_(items.c.node_id, items.c.type_name).in_(_KEYS)
)
REMOVE_ITEM = delete(items).where(
    *in_tenant(items), items.c.node_id == bindparam("node"), items.c.type_name == bindparam("type")
)
REMOVE_BLOB = delete(blobs).where(
    *in_tenant(blobs), blobs.c.node_id == bindparam("node"), blobs.c.type_name == bindparam("type")
)


class Step(NamedTuple):
    """What one step does to the catalogue of one type, and to the nodes."""

    added: dict[int, list[int]]
    removed: dict[int, list[int]]
    folded: list[tuple[str, bytes]]
    done: list[str]
    first: dict[int, str]
    """Of each digest added: a node that has it."""


@ssm.timer(every=timedelta(seconds=1), due=TENANTS_WITH_CHANGES)
def fold_changes(call: Call) -> None:
    """Have the tenant's job run; it is made at the first change and rests when there are none."""
    jobs.keep(call, KIND, "")


@ssm.job(KIND)
def fold(call: Call, job: Job) -> Next:
    """One step: some changes of one type."""
    waiting = call.db.all(WAITING, **call.here, most=MOST_CHANGES)
    if not waiting:
        return Next("start", due_at=call.now + IDLE)
    type_name = waiting[0].type_name
    chosen = {row.node_id: row.ordinal for row in waiting if row.type_name == type_name}
    keys = [(node_id, type_name) for node_id in chosen]
    step = planned(call.db.all(BLOBS, **call.here, keys=keys), chosen)
    _write_catalogue(call, type_name, step)
    here = {**call.here, "type": type_name}
    call.db.run(FOLDED, [{**here, "node": node_id, "now_folded": folded} for node_id, folded in step.folded])
    if step.done:
        _finish(call, type_name, step.done)
    return Next("start")


def planned(found: Iterable[Row[Any]], ordinals: Mapping[str, int]) -> Step:
    """What to fold of these blobs: of each what concerns the same MOST_ITEMS items; a node may be left half done.

    MOST_OPENED nodes bring items that no node before them has; of the others only what they share with these is folded.
    """
    step = Step(defaultdict(list), defaultdict(list), [], [], {})
    touched: set[int] = set()
    opened = 0
    for blob in found:
        node_id, ordinal = blob.node_id, ordinals[blob.node_id]
        old, new = set(rows.read_digests(blob.folded)), set(rows.read_digests(blob.digests))
        before = len(touched)
        news = _fitting(new - old, touched, MOST_ITEMS - before if opened < MOST_OPENED else 0)
        opened += len(touched) > before
        olds = _fitting(old - new, touched, MOST_ITEMS - len(touched))
        for digest in news:
            step.added[digest].append(ordinal)
            step.first.setdefault(digest, node_id)
        for digest in olds:
            step.removed[digest].append(ordinal)
        folded = (old | news) - olds
        if news or olds:
            step.folded.append((node_id, rows.write_digests(folded)))
        if folded == new:
            step.done.append(node_id)
    return step


def _fitting(digests: set[int], touched: set[int], room: int) -> set[int]:
    """Those digests that are touched already and as many more as there is room for, which are touched from now on."""
    more = sorted(digests - touched)[:room] if room else []
    touched.update(more)
    return digests & touched


def _write_catalogue(call: Call, type_name: str, step: Step) -> None:
    digests = sorted(step.added.keys() | step.removed.keys())
    if not digests:
        return
    found = {
        row.digest: BitMap.deserialize(row.nodes)
        for row in call.db.all(FOUND, **call.here, type=type_name, digests=digests)
    }
    unknown = [digest for digest in step.added if digest not in found]
    identities = _identities(call, type_name, unknown, step.first)
    new, changed, removed = [], [], []
    for digest in digests:
        nodes = found.get(digest, BitMap())
        nodes.update(step.added.get(digest, ()))
        nodes -= BitMap(step.removed.get(digest, ()))
        if digest in identities:
            row = {"type_name": type_name, "digest": digest, "identity": identities[digest]}
            new.append({**call.tenant, **row, "number": len(nodes), "nodes": nodes.serialize()})
        elif digest not in found:
            continue
        elif nodes:
            values = {"new_number": len(nodes), "new_nodes": nodes.serialize()}
            changed.append({**call.here, "type": type_name, "of_digest": digest, **values})
        else:
            removed.append({**call.here, "type": type_name, "of_digest": digest})
    call.db.run(PUT, new)
    call.db.run(CHANGE, changed)
    call.db.run(REMOVE, removed)


def _identities(
    call: Call, type_name: str, digests: Iterable[int], first: Mapping[int, str]
) -> dict[int, dict[str, str]]:
    """What digests that the catalogue does not know stand for, from the blobs of nodes that have them."""
    wanted = set(digests)
    found: dict[int, dict[str, str]] = {}
    keys = [(node_id, type_name) for node_id in sorted({first[digest] for digest in wanted})]
    if not keys:
        return found
    for blob in call.db.all(CONTENTS, **call.here, keys=keys):
        found.update(rows.identities(type_name, rows.unpack(blob.content), wanted))
    return found


def _finish(call: Call, type_name: str, node_ids: Sequence[str]) -> None:
    """These nodes are in the catalogue as they are; what was deleted of them is gone for good."""
    keys = [{**call.here, "node": node_id, "type": type_name} for node_id in node_ids]
    call.db.run(DONE, keys)
    gone = call.db.all(GONE, **call.here, keys=[(node_id, type_name) for node_id in node_ids])
    removed = [{**call.here, "node": row.node_id, "type": row.type_name} for row in gone]
    call.db.run(REMOVE_ITEM, removed)
    call.db.run(REMOVE_BLOB, removed)
