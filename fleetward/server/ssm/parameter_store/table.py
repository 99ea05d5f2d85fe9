"""Parameters as rows: the current version of each, all that are kept, and their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_or_keep

from fleetward.server.call import Call, Resource
from fleetward.server.schema import Json, UtcDateTime, in_tenant, metadata, same_tenant, tenant
from fleetward.server.ssm import tags
from fleetward.server.ssm.parameter_store import names

RESOURCE_TYPE = "Parameter"
SECURE, TEXT = "SecureString", "String"
STANDARD, ADVANCED = "Standard", "Advanced"


def _content() -> tuple[Column[Any], ...]:
    """What each version has; a SecureString's value is its ciphertext, base64."""
    return (
        Column("type", String(16), nullable=False),
        Column("value", Text, nullable=False),
        Column("key_id", String(256)),
        Column("tier", String(20), nullable=False),
        Column("data_type", String(128), nullable=False),
        Column("description", String(1024), nullable=False),
        Column("allowed_pattern", String(1024), nullable=False),
        Column("policies", Json, nullable=False),  # [{"PolicyText", "PolicyType", "PolicyStatus"}]
        Column("changed_at", UtcDateTime, nullable=False),
        Column("changed_by", Text, nullable=False),  # ARN
    )


parameters = Table(
    "parameter_store_parameters",
    metadata,
    *tenant(),
    Column("name", String(1011), primary_key=True),
    Column("version", Integer, nullable=False),
    *_content(),
    Column("folder", String(1011), nullable=False),
    Column("due_at", UtcDateTime),  # when one of its policies asks for something; null: never
    Index("parameter_store_parameters_folder", "account_id", "region", "folder", "name"),
    Index("parameter_store_parameters_tier", "account_id", "region", "tier"),
    Index("parameter_store_parameters_due", "due_at"),
)

versions = Table(
    "parameter_store_versions",
    metadata,
    *tenant(),
    Column("name", String(1011), primary_key=True),
    Column("version", Integer, primary_key=True),
    *_content(),
)

labels = Table(
    "parameter_store_labels",
    metadata,
    *tenant(),
    Column("name", String(1011), primary_key=True),
    Column("label", String(100), primary_key=True),
    Column("version", Integer, nullable=False),
)

CONTENT = tuple(column.name for column in _content())
_NAME: BindParameter[Any] = bindparam("named")
THIS = (*in_tenant(parameters), parameters.c.name == _NAME)
_VERSIONS = (*in_tenant(versions), versions.c.name == _NAME)
_LABELS = (*in_tenant(labels), labels.c.name == _NAME)
SAME_VERSION = (
    *same_tenant(versions, labels),
    versions.c.name == labels.c.name,
    versions.c.version == labels.c.version,
)

FIND = select(parameters).where(*THIS)
LOCK = FIND.with_for_update()
FIND_MANY = select(parameters).where(*in_tenant(parameters), parameters.c.name.in_(bindparam("names", expanding=True)))
FIND_VERSION = select(versions).where(*_VERSIONS, versions.c.version == bindparam("number"))
FIND_LABELLED = (
    select(versions)
    .join(labels, SAME_VERSION[0] & SAME_VERSION[1] & SAME_VERSION[2] & SAME_VERSION[3])
    .where(*_LABELS, labels.c.label == bindparam("of_label"))
)
COUNT = select(func.count()).select_from(parameters).where(*in_tenant(parameters), parameters.c.tier == bindparam("of"))
ADD = insert_or_keep(parameters).on_conflict_do_nothing()
ADD_VERSION = insert(versions)
CHANGE = (
    update(parameters)
    .where(*THIS)
    .values({name: bindparam(f"to_{name}", type_=parameters.c[name].type) for name in (*CONTENT, "version", "due_at")})
)
OLDEST = select(func.min(versions.c.version)).where(*_VERSIONS)
VERSION_COUNT = select(func.count()).select_from(versions).where(*_VERSIONS)
DROP_VERSION = delete(versions).where(*_VERSIONS, versions.c.version == bindparam("number"))
LABELS_OF = select(labels.c.label, labels.c.version).where(*_LABELS).order_by(labels.c.label)
REMOVE = delete(parameters).where(*THIS)
REMOVE_VERSIONS = delete(versions).where(*_VERSIONS)
REMOVE_LABELS = delete(labels).where(*_LABELS)


@dataclass(frozen=True, slots=True)
class ParameterChanged:
    """Event: a parameter has another value, or is gone."""

    name: str


def key(call: Call, name: str) -> dict[str, Any]:
    """The parameters of statements about one parameter."""
    return {**call.here, "named": name}


def find(call: Call, name: str) -> Row[Any] | None:
    """The current version of a parameter, or None."""
    return call.db.first(FIND, **key(call, name))


def exists(call: Call, name: str) -> bool:
    """Whether there is such a parameter."""
    return find(call, name) is not None


def arn(call: Call, name: str) -> str:
    """`arn:aws:ssm:R:A:parameter/a/b`; a leading slash of the name is the ARN's. Public ones belong to no account."""
    return call.arn(f"parameter/{name.removeprefix('/')}", owned_by_aws=name.startswith("/aws/service/"))


def resource(call: Call, given: str) -> Resource:
    """What IAM decides on for a name or ARN of a request."""
    named = names.read(given, call.account, call.region)
    if given.startswith("arn:"):
        known = next((name for name in named.names if exists(call, name)), None)
        if named.is_foreign or known is None:
            return Resource(given.removesuffix(f":{named.selector}"))
        return tagged(call, known)
    return tagged(call, named.names[0])


def tagged(call: Call, name: str) -> Resource:
    """A parameter with its tags."""
    return Resource(arn(call, name), tags.of(call, RESOURCE_TYPE, [name])[name])


def named_one(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """`resources` of operations with a Name."""
    return (resource(call, request["Name"]),)


def named_many(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """`resources` of operations with Names."""
    return [resource(call, name) for name in request["Names"]]


def remove(call: Call, name: str) -> bool:
    """Take a parameter away with all that belongs to it; whether it was there. Tells by ParameterChanged."""
    if not call.db.run(REMOVE, key(call, name)):
        return False
    call.db.run(REMOVE_VERSIONS, key(call, name))
    call.db.run(REMOVE_LABELS, key(call, name))
    tags.drop(call, RESOURCE_TYPE, name)
    call.emit(ParameterChanged(name))
    return True


tags.taggable(RESOURCE_TYPE, exists=exists, arn=arn)
