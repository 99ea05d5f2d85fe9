"""Tags of log groups, by the operations of today and by those of old."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, update

from fleetward.server.call import Call, Resource
from fleetward.server.iam.context import tag_keys_of, tags_of
from fleetward.server.logs import logs
from fleetward.server.logs.errors import (
    InvalidParameterException,
    TooManyTagsException,
)
from fleetward.server.logs.table import THIS_GROUP, find_group, group_resource, groups, name_of
from fleetward.server.schema import Json

MOST_TAGS = 50
SET_TAGS = update(groups).where(*THIS_GROUP).values(tags=bindparam("content", type_=Json))


def _by_arn(call: Call, request: Mapping[str, Any]) -> Sequence[Resource]:
    """What policies decide on: the group's ARN without `:*`."""
    return (group_resource(call, _named(call, request), ""),)


def _by_name(call: Call, request: Mapping[str, Any]) -> Sequence[Resource]:
    return (group_resource(call, request["logGroupName"], ""),)


def _named(call: Call, request: Mapping[str, Any]) -> str:
    arn: str = request["resourceArn"]
    if not arn.startswith("arn:"):
        raise InvalidParameterException(f"{arn[:200]!r} is not an ARN.")
    return name_of(call, arn)


@logs.operation("TagResource", resources=_by_arn, conditions=tags_of("tags"))
def tag_resource(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Add or overwrite tags of a group."""
    _add(call, _named(call, request), request["tags"])
    return {}


@logs.operation("UntagResource", resources=_by_arn, conditions=tag_keys_of("tagKeys"))
def untag_resource(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove tags of a group."""
    _take(call, _named(call, request), request["tagKeys"])
    return {}


@logs.operation("ListTagsForResource", resources=_by_arn, reads=True)
def list_tags_for_resource(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The tags of a group."""
    return {"tags": find_group(call, _named(call, request)).tags}


@logs.operation("TagLogGroup", resources=_by_name, conditions=tags_of("tags"))
def tag_log_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Add or overwrite tags of a group, by its name."""
    _add(call, request["logGroupName"], request["tags"], InvalidParameterException)
    return {}


@logs.operation("UntagLogGroup", resources=_by_name, conditions=tag_keys_of("tags"))
def untag_log_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove tags of a group, by its name."""
    _take(call, request["logGroupName"], request["tags"])
    return {}


@logs.operation("ListTagsLogGroup", resources=_by_name, reads=True)
def list_tags_log_group(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The tags of a group, by its name."""
    return {"tags": find_group(call, request["logGroupName"]).tags}


def _add(
    call: Call,
    name: str,
    tags: Mapping[str, str],
    too_many: type[TooManyTagsException] | type[InvalidParameterException] = TooManyTagsException,
) -> None:
    row = find_group(call, name, lock=True)
    reserved = sorted(key for key in tags if key.lower().startswith("aws:"))
    if reserved:
        raise InvalidParameterException(f"The tag key {reserved[0]!r} begins with 'aws:', which is reserved.")
    merged = {**row.tags, **tags}
    if len(merged) > MOST_TAGS:
        raise too_many(f"A log group can have {MOST_TAGS} tags at most; this one would have {len(merged)}.")
    call.db.run(SET_TAGS, {**call.here, "group": name, "content": merged})


def _take(call: Call, name: str, keys: Sequence[str]) -> None:
    row = find_group(call, name, lock=True)
    kept = {key: value for key, value in row.tags.items() if key not in keys}
    call.db.run(SET_TAGS, {**call.here, "group": name, "content": kept})
