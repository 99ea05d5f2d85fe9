"""The rows of State Manager: associations, their versions, how each stands on each node, and their executions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Boolean, Column, Index, Integer, Row, String, Table, bindparam, insert, select, update

from fleetward.protocol.status import InvocationStatus
from fleetward.server.call import Call
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, tenant
from fleetward.server.ssm.errors import AssociationDoesNotExist

CARRIER = "association"
"""As what associations' commands are known to Run Command."""

associations = Table(
    "state_manager_associations",
    metadata,
    *tenant(),
    Column("association_id", String(36), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("name", String(128), nullable=False),  # of the document, as asked
    Column("document", String(128), nullable=False),  # its name alone; empty: owned by AWS
    Column("follows", String(8), nullable=False),  # $DEFAULT, $LATEST or empty: a fixed version
    Column("node_id", String(40)),  # of the legacy form
    Column("association_name", String(128)),
    Column("definition", Json, nullable=False),  # as asked, AWS's names
    Column("live", Boolean, nullable=False),  # its targets may come and go
    Column("inventory", Boolean, nullable=False),  # collects inventory
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime),  # when its schedule starts it next
    Column("told_status", Json),  # by UpdateAssociationStatus
    # what it came to
    Column("counts", Json, nullable=False),  # how many nodes stand how: detailed status -> number
    Column("open_executions", Integer, nullable=False, default=0),
    Column("status", String(24), nullable=False),
    Column("detailed_status", String(24), nullable=False),
    Column("last_command_id", String(36)),  # of the last execution on all targets
    Column("last_executed_at", UtcDateTime),
    Column("last_succeeded_at", UtcDateTime),
    Index("state_manager_associations_due", "due_at"),
    Index("state_manager_associations_node", "account_id", "region", "node_id", "name"),
    Index("state_manager_associations_document", "account_id", "region", "document"),
    Index("state_manager_associations_live", "account_id", "region", "live", "association_id"),
)

versions = Table(
    "state_manager_versions",
    metadata,
    *tenant(),
    Column("association_id", String(36), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

executions = Table(
    "state_manager_executions",
    metadata,
    *tenant(),
    Column("association_id", String(36), primary_key=True),
    Column("execution_id", String(36), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("document_version", String(16), nullable=False),  # the number that nodes are told
    Column("cause", String(16), nullable=False),
    Column("command_id", String(36)),  # null: the agent started it, or nothing could be started
    Column("told", Json),  # what a node told of a run that its agent started
    Column("created_at", UtcDateTime, nullable=False),
    Column("status", String(24), nullable=False),
    Column("detailed_status", String(24), nullable=False),
    Column("ended_at", UtcDateTime),
    Index("state_manager_executions_newest", "account_id", "region", "association_id", "created_at", "execution_id"),
    Index("state_manager_executions_command", "account_id", "region", "command_id"),
    Index("state_manager_executions_age", "created_at"),
)

releases = Table(
    "state_manager_releases",  # one row for each node and association: its last run, or the one that is open
    metadata,
    *tenant(),
    Column("node_id", String(40), primary_key=True),
    Column("association_id", String(36), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("execution_id", String(36), nullable=False),
    Column("command_id", String(36)),
    Column("open", Boolean, nullable=False),
    Column("detailed_status", String(24), nullable=False),
    Column("released_at", UtcDateTime, nullable=False),
    Column("announced_as", String(36)),  # the id of its refresh message
    Column("executed_at", UtcDateTime),  # by the node's clock
    Column("summary", String(512), nullable=False, default=""),
    Column("error_code", String(64), nullable=False, default=""),
    Column("output_url", String(1024), nullable=False, default=""),
    Column("following", Json),  # the release that waits behind the open one
    Index("state_manager_releases_association", "account_id", "region", "association_id", "node_id"),
)

THIS = (*in_tenant(associations), associations.c.association_id == bindparam("association"))
FIND = select(associations).where(*THIS)
LOCK = (
    select(associations)
    .where(*in_tenant(associations), associations.c.association_id.in_(bindparam("ids", expanding=True)))
    .order_by(associations.c.association_id)
    .with_for_update()
)
SUM_UP = (
    update(associations)
    .where(*THIS)
    .values(
        counts=bindparam("to_counts", type_=Json),
        open_executions=bindparam("to_open"),
        status=bindparam("to_status"),
        detailed_status=bindparam("to_detailed"),
        last_executed_at=bindparam("executed"),
        last_succeeded_at=bindparam("succeeded"),
    )
)
THIS_RELEASE = (
    *in_tenant(releases),
    releases.c.node_id == bindparam("node"),
    releases.c.association_id == bindparam("association"),
)
OF_PAIRS = select(releases).where(
    *in_tenant(releases),
    releases.c.node_id.in_(bindparam("nodes", expanding=True)),
    releases.c.association_id.in_(bindparam("ids", expanding=True)),
)
ADD_RELEASE = insert(releases)
EXECUTION_OF = select(executions).where(*in_tenant(executions), executions.c.command_id == bindparam("command"))

PENDING, IN_PROGRESS, SUCCESS, SKIPPED, FAILED = "Pending", "InProgress", "Success", "Skipped", "Failed"
_OPEN = frozenset({PENDING, IN_PROGRESS, "Associated", "Creating"})
_GOOD = frozenset({SUCCESS, SKIPPED})
_DETAILED: Mapping[InvocationStatus, str] = {
    InvocationStatus.PENDING: PENDING,
    InvocationStatus.DELAYED: PENDING,
    InvocationStatus.IN_PROGRESS: IN_PROGRESS,
    InvocationStatus.CANCELLING: IN_PROGRESS,
    InvocationStatus.SUCCESS: SUCCESS,
    InvocationStatus.FAILED: FAILED,
    InvocationStatus.DELIVERY_TIMED_OUT: "TimedOut",
    InvocationStatus.EXECUTION_TIMED_OUT: "TimedOut",
    InvocationStatus.CANCELLED: "Cancelled",
    InvocationStatus.TERMINATED: "RateExceeded",
    InvocationStatus.INVALID_PLATFORM: SKIPPED,  # Ours: an association of a mixed fleet is not failed by it
    InvocationStatus.UNDELIVERABLE: "Undeliverable",
    InvocationStatus.ACCESS_DENIED: FAILED,
}


def detailed(status: InvocationStatus | str) -> str:
    """An association's DetailedStatus on a node, for the status of the invocation."""
    return _DETAILED[InvocationStatus(status)]


def in_detail(ended: Mapping[str, int]) -> dict[str, int]:
    """How many nodes stand how, by DetailedStatus, from a command's counts of invocations that have ended."""
    counts: Counter[str] = Counter()
    for status, number in ended.items():
        counts[detailed(status)] += number
    return dict(counts)


def coarse(detailed_status: str) -> str:
    """The Status that goes with a DetailedStatus: Pending, Success or Failed."""
    if detailed_status in _OPEN:
        return PENDING
    return SUCCESS if detailed_status in _GOOD else FAILED


def roll_up(counts: Mapping[str, int], *, running: bool) -> tuple[str, str]:
    """Status and DetailedStatus of many nodes: Failed before Pending before Success (SEM: 4.4)."""
    present = {status for status, number in counts.items() if number > 0}
    if any(coarse(status) == FAILED for status in present):
        return FAILED, FAILED
    if running or present & _OPEN:
        return PENDING, IN_PROGRESS if running or IN_PROGRESS in present else PENDING
    return (SUCCESS, SUCCESS) if present else (PENDING, "Associated")


def key(call: Call, association_id: str, **more: Any) -> dict[str, Any]:
    """The bind values of one association."""
    return {**call.here, "association": association_id, **more}


def find(call: Call, association_id: str) -> Row[Any]:
    """An association's row; AssociationDoesNotExist when there is none."""
    row = call.db.first(FIND, **key(call, association_id.lower()))
    if row is None:
        raise AssociationDoesNotExist(f"There is no association {association_id}.")
    return row


def lock(call: Call, association_ids: Iterable[str]) -> dict[str, Row[Any]]:
    """Rows of associations, locked in one order; whoever changes releases holds them."""
    ids = sorted(set(association_ids))
    return {row.association_id: row for row in call.db.all(LOCK, **call.here, ids=ids)} if ids else {}


class Overview:
    """What an association came to, while an entry that holds its row changes that; `store` writes it."""

    def __init__(self, row: Row[Any]) -> None:
        self.row = row
        self.counts: Counter[str] = Counter(row.counts)
        self.open_executions: int = row.open_executions
        self.executed_at = row.last_executed_at
        self.succeeded_at = row.last_succeeded_at

    def move(self, old: str | None, new: str | None) -> None:
        """Count that a node's status changed; None: it has, or had, none."""
        if old is not None:
            self.counts[old] -= 1
        if new is not None:
            self.counts[new] += 1

    def store(self, call: Call) -> None:
        """Write the counters and the status that follows."""
        counts = {status: number for status, number in self.counts.items() if number > 0}
        status, detailed_status = roll_up(counts, running=self.open_executions > 0)
        call.db.run(
            SUM_UP,
            key(
                call,
                self.row.association_id,
                to_counts=counts,
                to_open=max(self.open_executions, 0),
                to_status=status,
                to_detailed=detailed_status,
                executed=self.executed_at,
                succeeded=self.succeeded_at,
            ),
        )
