"""The rows of groups and of their members by list, and what every operation on one group needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Index, Integer, Row, String, Table, Text, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or_keep

from fleetward.server import paging
from fleetward.server.call import Call, Resource
from fleetward.server.resource_groups import queries
from fleetward.server.resource_groups.errors import BadRequestException, NotFoundException
from fleetward.server.schema import Json, in_tenant, metadata, tenant
from fleetward.server.ssm import tags

TAGGED_AS = "ResourceGroup"
"""Groups' own tags are kept under this type."""
NAMED_BY = ("Group", "GroupName")
"""Members of requests that name the group; the second is AWS's old one."""

groups = Table(
    "resource_groups",
    metadata,
    *tenant(),
    Column("name", String(300), primary_key=True),
    Column("description", String(1024), nullable=False),
    Column("owner", String(300)),
    Column("display_name", String(300)),
    Column("criticality", Integer),
    Column("query", Text),  # of TAG_FILTERS_1_0, as it was given; null: by list
    Column("configuration", Json, nullable=False),
)

members = Table(
    "resource_groups_members",
    metadata,
    *tenant(),
    Column("name", String(300), primary_key=True),
    Column("resource_type", String(32), primary_key=True),  # as tags call it
    Column("resource_id", String(2048), primary_key=True),
    Index("resource_groups_members_resource", "account_id", "region", "resource_type", "resource_id"),
)

HERE = in_tenant(groups)
_THIS = (*HERE, groups.c.name == bindparam("group"))
ADD = insert(groups)
FIND = select(groups).where(*_THIS)
LOCK = FIND.with_for_update()
COUNT = select(func.count()).select_from(groups).where(*HERE)
CHANGE = (
    update(groups)
    .where(*_THIS)
    .values({name: bindparam(f"to_{name}") for name in ("description", "owner", "display_name", "criticality")})
)
CHANGE_QUERY = update(groups).where(*_THIS).values(query=bindparam("to_query"))
REMOVE = delete(groups).where(*_THIS)

OF_GROUP = (*in_tenant(members), members.c.name == bindparam("group"))
ADD_MEMBERS = insert_or_keep(members).on_conflict_do_nothing()
COUNT_MEMBERS = select(func.count()).select_from(members).where(*OF_GROUP)
REMOVE_MEMBER = delete(members).where(
    *OF_GROUP, members.c.resource_type == bindparam("kind"), members.c.resource_id == bindparam("resource")
)
REMOVE_MEMBERS = delete(members).where(*OF_GROUP)
FORGET = delete(members).where(
    *in_tenant(members), members.c.resource_type == bindparam("kind"), members.c.resource_id == bindparam("resource")
)


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """Event: other resources may be in this group now, by another query or list; or it is gone."""

    name: str


def arn(call: Call, name: str) -> str:
    """The ARN of a group."""
    return call.arn(f"group/{name}", service="resource-groups")


def name_of(call: Call, request: Mapping[str, Any]) -> str:
    """The name in a request's Group or GroupName, a name or an ARN; raises BadRequestException without either."""
    given = next((request[member] for member in NAMED_BY if member in request), None)
    if given is None:
        raise BadRequestException("Name the group in Group.")
    return name_in(call, given)


def name_in(call: Call, given: str) -> str:
    """The name of a group given by name or ARN; raises NotFoundException for ARNs of elsewhere."""
    if not given.startswith("arn:"):
        return given
    name = given.partition(":group/")[2]
    if given != arn(call, name):
        raise NotFoundException(f"There is no group {given} in this account and Region.")
    return name


def resource(call: Call, name: str) -> Resource:
    """A group as what IAM decides on, with its tags."""
    return Resource(arn(call, name), tags.of(call, TAGGED_AS, [name])[name])


def named(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """`resources=` of the operations on one group."""
    return (resource(call, name_of(call, request)),)


def find(call: Call, name: str, *, to_change: bool = False) -> Row[Any]:
    """The row of a group, held until the end of the transaction where it is to be changed; or NotFoundException."""
    row = call.db.first(LOCK if to_change else FIND, **call.here, group=name)
    if row is None:
        raise NotFoundException(f"There is no group named {name!r}.")
    return row


def exists(call: Call, name: str) -> bool:
    """Whether there is such a group."""
    return call.db.first(FIND, **call.here, group=name) is not None


def query_of(call: Call, name: str) -> queries.Query | None:
    """The query of a group; None for one by list, and where there is no such group."""
    row = call.db.first(FIND, **call.here, group=name)
    return None if row is None else read_query(row)


def read_query(row: Row[Any]) -> queries.Query | None:
    """The query of a row."""
    return None if row.query is None else queries.read({"Type": queries.TAG_FILTERS, "Query": row.query})


def after(operation: str, request: Mapping[str, Any]) -> list[Any] | None:
    """The key in a request's NextToken."""
    token = request.get("NextToken", "").replace("+", "-").replace("/", "_")
    try:
        return paging.decode(operation, token)
    except paging.InvalidNextToken as fault:
        raise BadRequestException(fault.message) from fault


def token(operation: str, key: Iterable[Any]) -> dict[str, str]:
    """The NextToken to go on after `key`, in the letters that this service's tokens have."""
    return {"NextToken": paging.encode(operation, list(key)).replace("-", "+").replace("_", "/")}
