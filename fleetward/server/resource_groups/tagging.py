"""Tag, Untag and GetTags: the tags of groups themselves, by the group's ARN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fleetward.server.call import Call, Resource
from fleetward.server.iam import context as keys_of
from fleetward.server.resource_groups import resource_groups, table
from fleetward.server.resource_groups.errors import BadRequestException
from fleetward.server.ssm import tags


def check_tags(wanted: Mapping[str, str], present: Mapping[str, str] | None = None) -> dict[str, str]:
    """Tags of a request beside those present; raises BadRequestException for reserved keys and too many."""
    reserved = sorted(key for key in wanted if key.lower().startswith(tags.RESERVED_PREFIX))
    if reserved:
        raise BadRequestException(f"The tag key {reserved[0]!r} begins with {tags.RESERVED_PREFIX!r}: it is reserved.")
    if len({**(present or {}), **wanted}) > tags.MOST_TAGS:
        raise BadRequestException(f"A group can have {tags.MOST_TAGS} tags at most.")
    return dict(wanted)


def _by_arn(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (table.resource(call, table.name_in(call, request["Arn"])),)


@resource_groups.operation("Tag", resources=_by_arn, conditions=keys_of.tags_of("Tags"))
def tag(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Add or overwrite tags of a group; the others stay."""
    name = table.find(call, table.name_in(call, request["Arn"]), to_change=True).name
    present = tags.of(call, table.TAGGED_AS, [name])[name]
    tags.put(call, table.TAGGED_AS, name, check_tags(request["Tags"], present))
    return {"Arn": request["Arn"], "Tags": request["Tags"]}


@resource_groups.operation("Untag", resources=_by_arn, conditions=keys_of.tag_keys_of("Keys"))
def untag(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove tags of a group by key; a key that is not there is no error."""
    name = table.find(call, table.name_in(call, request["Arn"]), to_change=True).name
    tags.remove(call, table.TAGGED_AS, name, request["Keys"])
    return {"Arn": request["Arn"], "Keys": request["Keys"]}


@resource_groups.operation("GetTags", resources=_by_arn, reads=True)
def get_tags(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The tags of a group."""
    name = table.find(call, table.name_in(call, request["Arn"])).name
    return {"Arn": request["Arn"], "Tags": tags.of(call, table.TAGGED_AS, [name])[name]}
