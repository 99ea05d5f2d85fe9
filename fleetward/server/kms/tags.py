"""Tags of keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, update

from fleetward.server.call import Call
from fleetward.server.iam.context import Conditions, requested_tags, tag_keys_of
from fleetward.server.kms import kms
from fleetward.server.kms.errors import LimitExceededException, TagException
from fleetward.server.kms.table import (
    THIS_KEY,
    keys,
    marker,
    of_key,
    page,
    search,
    search_changeable,
)
from fleetward.server.schema import Json

MOST_TAGS = 50
SET_TAGS = update(keys).where(*THIS_KEY).values(tags=bindparam("content", type_=Json))


def tag_mapping(listed: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Tags of a request as a dict; TagException for reserved and repeated keys, or more than 50."""
    content: dict[str, str] = {}
    for tag in listed:
        key = tag["TagKey"]
        if key.lower().startswith("aws:"):
            raise TagException(f"The tag key {key!r} begins with 'aws:', which is reserved.")
        if key in content:
            raise TagException(f"The tag key {key!r} is given twice.")
        content[key] = tag["TagValue"]
    if len(content) > MOST_TAGS:
        raise TagException(f"A key can have {MOST_TAGS} tags at most; {len(content)} were given.")
    return content


def tags_asked_for(call: Call, request: Mapping[str, Any]) -> Conditions:
    """The condition keys of the tags in a request."""
    return requested_tags(request.get("Tags", ()), key="TagKey", value="TagValue")


@kms.operation("TagResource", resources=of_key, resource_policies=True, conditions=tags_asked_for)
def tag_resource(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Add or overwrite tags of a key."""
    found = search_changeable(call, request["KeyId"])
    merged = {**found.row.tags, **tag_mapping(request["Tags"])}
    if len(merged) > MOST_TAGS:
        raise LimitExceededException(f"A key can have {MOST_TAGS} tags at most; this one would have {len(merged)}.")
    call.db.run(SET_TAGS, {**call.here, "key": found.row.key_id, "content": merged})
    return {}


@kms.operation("UntagResource", resources=of_key, resource_policies=True, conditions=tag_keys_of("TagKeys"))
def untag_resource(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Remove tags of a key; those that are not there change nothing."""
    found = search_changeable(call, request["KeyId"])
    kept = {key: value for key, value in found.row.tags.items() if key not in request["TagKeys"]}
    call.db.run(SET_TAGS, {**call.here, "key": found.row.key_id, "content": kept})
    return {}


@kms.operation("ListResourceTags", resources=of_key, resource_policies=True, reads=True)
def list_resource_tags(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """A key's tags in order of key."""
    tags = search(call, request["KeyId"], by_alias=False).row.tags
    limit = request.get("Limit", MOST_TAGS)
    (after,) = marker("ListResourceTags", request) or [""]
    rows = [{"TagKey": key, "TagValue": tags[key]} for key in sorted(tags) if key > after]
    shown, more = page("ListResourceTags", rows, limit, lambda tag: [tag["TagKey"]])
    return {"Tags": shown, **more}
