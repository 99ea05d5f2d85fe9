"""Tags: keys and values on any resource, and the resources that carry them.

Besides one row per tag (for selecting resources), equal sets of tags are kept once and each resource points to its
set: so reading a resource's tags is one row, and a tag condition is decided per distinct set, not per resource.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import (
    Column,
    Index,
    Integer,
    Row,
    Select,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy import exists as any_of
from sqlalchemy.dialects.postgresql import insert as insert_or_keep

from fleetward.server.call import ANY, Call, Resource
from fleetward.server.errors import ValidationException
from fleetward.server.iam import context as keys_of
from fleetward.server.schema import Json, in_tenant, metadata, same_tenant, tenant
from fleetward.server.ssm import ssm
from fleetward.server.ssm.errors import InvalidResourceId, InvalidResourceType, TooManyTagsError

MOST_TAGS = 50
RESERVED_PREFIX = "aws:"
NO_SET = ""

tags = Table(
    "tags",
    metadata,
    *tenant(),
    Column("resource_type", String(32), primary_key=True),
    Column("resource_id", String(2048), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("value", String(256), nullable=False),
    Index("tags_key_value", "account_id", "region", "resource_type", "key", "value", "resource_id"),
)

tag_sets = Table(
    "tags_sets",
    metadata,
    *tenant(),
    Column("set_id", String(32), primary_key=True),  # hash of the content
    Column("content", Json, nullable=False),
    Column("users", Integer, nullable=False),  # resources that carry it
)

carriers = Table(
    "tags_carriers",
    metadata,
    *tenant(),
    Column("resource_type", String(32), primary_key=True),
    Column("resource_id", String(2048), primary_key=True),
    Column("set_id", String(32), nullable=False),
    Index("tags_carriers_set", "account_id", "region", "set_id"),
)

_CARRIER = (*in_tenant(carriers), carriers.c.resource_type == bindparam("of_type"))
_SET_OF_CARRIER = (
    *same_tenant(tag_sets, carriers),
    tag_sets.c.set_id == carriers.c.set_id,
)
_TAGS = (*in_tenant(tags), tags.c.resource_type == bindparam("of_type"), tags.c.resource_id == bindparam("resource"))
OF = (
    select(carriers.c.resource_id, tag_sets.c.content)
    .join(tag_sets, _SET_OF_CARRIER[0] & _SET_OF_CARRIER[1] & _SET_OF_CARRIER[2])
    .where(*_CARRIER, carriers.c.resource_id.in_(bindparam("resources", expanding=True)))
)
EVERY = (
    select(carriers.c.resource_id, tag_sets.c.content)
    .join(tag_sets, _SET_OF_CARRIER[0] & _SET_OF_CARRIER[1] & _SET_OF_CARRIER[2])
    .where(*_CARRIER)
)
SET_OF = select(carriers.c.set_id).where(*_CARRIER, carriers.c.resource_id == bindparam("resource")).with_for_update()
ADD_TAGS = insert(tags)
REMOVE_TAGS = delete(tags).where(*_TAGS)
ADD_SET = insert_or_keep(tag_sets).on_conflict_do_update(
    index_elements=["account_id", "region", "set_id"], set_={"users": tag_sets.c.users + 1}
)
ADD_CARRIER = insert_or_keep(carriers).on_conflict_do_nothing()
_ONE_CARRIER = (*_CARRIER, carriers.c.resource_id == bindparam("resource"))
POINT = update(carriers).where(*_ONE_CARRIER).values(set_id=bindparam("to_set"))
REMOVE_CARRIER = delete(carriers).where(*_ONE_CARRIER)
_SET = (*in_tenant(tag_sets), tag_sets.c.set_id == bindparam("old_set"))
LEAVE_SET = update(tag_sets).where(*_SET).values(users=tag_sets.c.users - 1)
REMOVE_UNUSED_SET = delete(tag_sets).where(*_SET, tag_sets.c.users <= 0)


@dataclass(frozen=True, slots=True)
class Taggable:
    """How one ResourceType's resources are found and named."""

    exists: Callable[[Call, str], bool]
    arn: Callable[[Call, str], str]


@dataclass(frozen=True, slots=True)
class TagSet:
    """One distinct set of tags and how many of the asked resources carry exactly this set."""

    content: Mapping[str, str]
    count: int


@dataclass(frozen=True, slots=True)
class TagsChanged:
    """Event: a resource's tags are now `content`; empty when they are gone."""

    resource_type: str
    resource_id: str
    content: Mapping[str, str]


_taggable: dict[str, Taggable] = {}


def taggable(resource_type: str, *, exists: Callable[[Call, str], bool], arn: Callable[[Call, str], str]) -> None:
    """Register a ResourceType of AddTagsToResource: whether an id exists, and its ARN for IAM."""
    _taggable[resource_type] = Taggable(exists, arn)


def exists(call: Call, resource_type: str, resource_id: str) -> bool:
    """Whether there is such a resource; the type need not be one that can be tagged here."""
    kind = _taggable.get(resource_type)
    return kind is not None and kind.exists(call, resource_id)


def arn_of(call: Call, resource_type: str, resource_id: str) -> str:
    """The ARN of a resource of a type that can be tagged here."""
    return _taggable[resource_type].arn(call, resource_id)


def locate(call: Call, arn: str) -> tuple[str, str] | None:
    """The type and id of the resource with this ARN, of those that can be tagged here; None when there is none."""
    for resource_type, kind in _taggable.items():
        prefix = kind.arn(call, "x").removesuffix("x")
        if arn.startswith(prefix):
            end = arn.removeprefix(prefix)
            for resource_id in (end, f"/{end}"):  # a parameter's ARN lacks its name's first slash
                if kind.arn(call, resource_id) == arn and kind.exists(call, resource_id):
                    return resource_type, resource_id
    return None


def mapping(listed: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Tags `[{"Key", "Value"}]` of a request as a dict; a key given twice keeps its last value (Ours).

    Raises ValidationException for keys under `aws:`, TooManyTagsError for more than 50.
    """
    content = {tag["Key"]: tag["Value"] for tag in listed}
    reserved = sorted(key for key in content if key.lower().startswith(RESERVED_PREFIX))
    if reserved:
        raise ValidationException(f"The tag key {reserved[0]!r} begins with {RESERVED_PREFIX!r}, which is reserved.")
    if len(content) > MOST_TAGS:
        raise TooManyTagsError(f"A resource can have {MOST_TAGS} tags at most; {len(content)} were given.")
    return content


def shape(content: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as AWS lists them, in order of key."""
    return [{"Key": key, "Value": content[key]} for key in sorted(content)]


def put(call: Call, resource_type: str, resource_id: str, content: Mapping[str, str]) -> None:
    """Add tags to a resource; those with the same key are overwritten. Raises TooManyTagsError beyond 50 in all.

    The caller has checked that the resource exists, and the keys by `mapping`.
    """
    if not content:
        return
    call.db.run(ADD_CARRIER, {**_identity(call, resource_type, resource_id), "set_id": NO_SET})
    old_set = _lock(call, resource_type, resource_id) or NO_SET
    merged = {**of(call, resource_type, [resource_id])[resource_id], **content}
    if len(merged) > MOST_TAGS:
        raise TooManyTagsError(f"A resource can have {MOST_TAGS} tags at most; this one would have {len(merged)}.")
    _replace(call, resource_type, resource_id, old_set, merged)


def remove(call: Call, resource_type: str, resource_id: str, keys: Iterable[str]) -> None:
    """Remove single tags; keys that are not there change nothing."""
    gone = set(keys)
    old_set = _lock(call, resource_type, resource_id)
    if old_set is None:
        return
    before = of(call, resource_type, [resource_id])[resource_id]
    after = {key: value for key, value in before.items() if key not in gone}
    if after != before:
        _replace(call, resource_type, resource_id, old_set, after)


def drop(call: Call, resource_type: str, resource_id: str) -> None:
    """Remove every tag of a resource that is going away."""
    old_set = _lock(call, resource_type, resource_id)
    if old_set is not None:
        _replace(call, resource_type, resource_id, old_set, {})


def of(call: Call, resource_type: str, resource_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """The tags of each of the resources; an empty dict for those without any."""
    found: dict[str, dict[str, str]] = {resource_id: {} for resource_id in resource_ids}
    if found:
        rows = call.db.all(OF, **_scope(call, resource_type), resources=list(found))
        found.update({row.resource_id: row.content for row in rows})
    return found


def every(call: Call, resource_type: str) -> dict[str, dict[str, str]]:
    """The tags of all resources of a type that have any."""
    return {row.resource_id: row.content for row in call.db.all(EVERY, **_scope(call, resource_type))}


def having(resource_type: str, key: str, values: Sequence[str] | None = None) -> Select[tuple[str]]:
    """A select of the ids of resources with this tag key and, unless None, one of the values; case counts.

    For `column.in_(…)` in a statement that is run with the parameters `account` and `in_region`.
    """
    matching = select(tags.c.resource_id).where(
        *in_tenant(tags), tags.c.resource_type == resource_type, tags.c.key == key
    )
    return matching if values is None else matching.where(tags.c.value.in_(values))


def tagged_with(
    call: Call,
    resource_types: Sequence[str],
    filters: Sequence[tuple[str, Sequence[str]]],
    after: Sequence[str] | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """The next resources (type, id) of types that can be tagged here, with every key and one of its values, if any.

    In order of type and id, at most `limit` of those behind `after`.
    """
    kinds = [each for each in resource_types if each in _taggable]
    key = (carriers.c.resource_type, carriers.c.resource_id)
    conditions = [*in_tenant(carriers), carriers.c.resource_type.in_(kinds)]
    for tag_key, values in filters:
        tag = tags.alias()
        fits = (tag.c.resource_type == key[0], tag.c.resource_id == key[1], tag.c.key == tag_key)
        found = select(tag.c.key).where(
            tag.c.account_id == bindparam("account"), tag.c.region == bindparam("in_region")
        )
        found = found.where(*fits)
        conditions.append(any_of(found.where(tag.c.value.in_(values)) if values else found))
    if after is not None:
        conditions.append(tuple_(*key) > tuple_(*map(literal, after)))
    return call.db.all(select(*key).where(*conditions).order_by(*key).limit(limit), **call.here)


def distinct_sets(call: Call, resource_type: str, resource_ids: Select[Any]) -> list[TagSet]:
    """The distinct tag sets among resources that a select of their ids names, the empty set included.

    The select may use the parameters `account` and `in_region`.
    """
    chosen = resource_ids.subquery()
    identity = next(iter(chosen.c))
    counted = (
        select(carriers.c.set_id, func.count().label("number"))
        .where(*_CARRIER, carriers.c.resource_id.in_(select(identity)))
        .group_by(carriers.c.set_id)
        .subquery()
    )
    statement = select(tag_sets.c.content, counted.c.number).where(
        *in_tenant(tag_sets), tag_sets.c.set_id == counted.c.set_id
    )
    scope = _scope(call, resource_type)
    found = [TagSet(row.content, row.number) for row in call.db.all(statement, **scope)]
    total = call.db.value(select(func.count()).select_from(chosen), **call.here)
    untagged = total - sum(each.count for each in found)
    return [*found, TagSet({}, untagged)] if untagged else found


def _lock(call: Call, resource_type: str, resource_id: str) -> str | None:
    """Hold the resource's row until the end of the transaction; its present set, None when it has no tags."""
    held: str | None = call.db.value(SET_OF, **_scope(call, resource_type), resource=resource_id)
    return held


def _replace(call: Call, resource_type: str, resource_id: str, old_set: str, content: Mapping[str, str]) -> None:
    """Exchange all tags of a resource whose row is held."""
    scope = {**_scope(call, resource_type), "resource": resource_id}
    identity = _identity(call, resource_type, resource_id)
    call.db.run(REMOVE_TAGS, scope)
    call.db.run(ADD_TAGS, [{**identity, "key": key, "value": value} for key, value in content.items()])
    if content:
        ordered = {key: content[key] for key in sorted(content)}
        set_id = hashlib.sha256(orjson.dumps(ordered)).hexdigest()[:32]
        call.db.run(ADD_SET, {**call.tenant, "set_id": set_id, "content": ordered, "users": 1})
        call.db.run(POINT, {**scope, "to_set": set_id})
    else:
        call.db.run(REMOVE_CARRIER, scope)
    old = {**call.here, "old_set": old_set}
    call.db.run(LEAVE_SET, old)
    call.db.run(REMOVE_UNUSED_SET, old)
    call.emit(TagsChanged(resource_type, resource_id, dict(content)))


def _identity(call: Call, resource_type: str, resource_id: str) -> dict[str, str]:
    return {**call.tenant, "resource_type": resource_type, "resource_id": resource_id}


def _scope(call: Call, resource_type: str) -> dict[str, str]:
    return {**call.here, "of_type": resource_type}


def _tagged_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    """What IAM decides on: the resource's own ARN with its tags; any, for types that cannot be tagged here."""
    kind = _taggable.get(request["ResourceType"])
    if kind is None:
        return ANY
    resource_id = request["ResourceId"]
    return [Resource(kind.arn(call, resource_id), of(call, request["ResourceType"], [resource_id])[resource_id])]


def _require(call: Call, request: Mapping[str, Any]) -> tuple[str, str]:
    resource_type, resource_id = request["ResourceType"], request["ResourceId"]
    kind = _taggable.get(resource_type)
    if kind is None:
        allowed = ", ".join(sorted(_taggable))
        raise InvalidResourceType(f"Resources of the type {resource_type} cannot be tagged here; allowed: {allowed}.")
    if not kind.exists(call, resource_id):
        raise InvalidResourceId(f"There is no {resource_type} with the id {resource_id!r}.")
    return resource_type, resource_id


@ssm.operation("AddTagsToResource", resources=_tagged_resource, conditions=keys_of.tags_of("Tags"))
def add_tags_to_resource(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Add or overwrite tags; the others stay."""
    resource_type, resource_id = _require(call, request)
    put(call, resource_type, resource_id, mapping(request["Tags"]))
    return {}


@ssm.operation("RemoveTagsFromResource", resources=_tagged_resource, conditions=keys_of.tag_keys_of("TagKeys"))
def remove_tags_from_resource(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove tags by key; a key that is not there is no error."""
    resource_type, resource_id = _require(call, request)
    remove(call, resource_type, resource_id, request["TagKeys"])
    return {}


@ssm.operation("ListTagsForResource", resources=_tagged_resource, reads=True)
def list_tags_for_resource(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A resource's tags."""
    resource_type, resource_id = _require(call, request)
    return {"TagList": shape(of(call, resource_type, [resource_id])[resource_id])}
