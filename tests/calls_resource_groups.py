"""Valid calls of Resource Groups: groups by tags and by list, which hold the stage's node."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fleetward.protocol.api.model import load_service
from tests.serving import ACCOUNT, REGION, Answer, ServerProcess

Make = Callable[[Any], dict[str, Any]]
SERVICE = "resource-groups"


def query(**tags: str) -> dict[str, str]:
    """A query for nodes with these tags."""
    filters = [{"Key": key, "Values": [value]} for key, value in tags.items()]
    content = {"ResourceTypeFilters": ["AWS::SSM::ManagedInstance"], "TagFilters": filters}
    return {"Type": "TAG_FILTERS_1_0", "Query": json.dumps(content)}


def group_arn(name: str) -> str:
    """The ARN of a group."""
    return f"arn:aws:resource-groups:{REGION}:{ACCOUNT}:group/{name}"


def send_rest(server: ServerProcess, operation: str, request: Mapping[str, Any], by: Any, **options: Any) -> Answer:
    """A call of this service: method and path by its model, the other members in the body."""
    model = load_service(SERVICE).operations[operation]
    assert model.input is not None
    where = {name: member for name, member in model.input.members.items() if member.location}
    path = model.uri
    for name, member in where.items():
        path = path.replace(f"{{{member.wire_name}}}", quote(str(request.get(name)), safe=""))
    asked = {member.wire_name: request[name] for name, member in where.items() if member.location == "querystring"
             and request.get(name) is not None}  # fmt: skip
    body = json.dumps({name: value for name, value in request.items() if name not in where}).encode()
    path = f"{path}?{urlencode(sorted(asked.items()), quote_via=quote)}" if asked else path
    headers = {"Content-Type": "application/json"}
    return server.send(
        model.method, path, b"" if model.method == "GET" else body, headers, by, service=SERVICE, **options
    )


def _call(stage: Any, operation: str, **request: Any) -> Any:
    answer = send_rest(stage.server, operation, request, stage.server.root)
    assert answer.status == 200, answer.body
    return answer.json


def _create(stage: Any) -> dict[str, Any]:
    return {
        "Name": f"Calls.{stage.name()}",
        "Description": "a call",
        "ResourceQuery": query(calls="group"),
        "Tags": {"a": "b"},
        "Criticality": 3,
        "Owner": "me",
        "DisplayName": "Calls",
    }


def group(stage: Any) -> str:
    """The name of a new group by query."""
    return str(_call(stage, "CreateGroup", **_create(stage))["Group"]["Name"])


def list_group(stage: Any) -> str:
    """The name of a new group by list."""
    return str(_call(stage, "CreateGroup", Name=f"Calls.{stage.name()}")["Group"]["Name"])


def node_arn(stage: Any) -> str:
    """The ARN of the stage's node."""
    return f"arn:aws:ssm:{REGION}:{ACCOUNT}:managed-instance/{stage.node.node_id}"


def _grouped(stage: Any) -> dict[str, Any]:
    request = {"Group": list_group(stage), "ResourceArns": [node_arn(stage)]}
    _call(stage, "GroupResources", **request)
    return request


def _named(stage: Any) -> dict[str, Any]:
    return {"Group": group(stage)}


def _tagged(stage: Any, **more: Any) -> dict[str, Any]:
    return {"Arn": group_arn(group(stage)), **more}


_TYPE = [{"Name": "resource-type", "Values": ["AWS::SSM::ManagedInstance"]}]

RESOURCE_GROUPS_CALLS: Mapping[str, Make] = {
    f"{SERVICE}:{name}": make
    for name, make in {
        "CreateGroup": _create,
        "GetGroup": lambda stage: {"GroupName": group(stage)},
        "GetGroupQuery": _named,
        "GetGroupConfiguration": _named,
        "UpdateGroup": lambda stage: {**_named(stage), "Description": "another", "Criticality": 1},
        "UpdateGroupQuery": lambda stage: {**_named(stage), "ResourceQuery": query(calls="other")},
        "DeleteGroup": _named,
        "ListGroups": lambda stage: {"Filters": _TYPE, "MaxResults": 5},
        "SearchResources": lambda stage: {"ResourceQuery": query(calls="group"), "MaxResults": 5},
        "ListGroupResources": lambda stage: {**_named(stage), "Filters": _TYPE, "MaxResults": 5},
        "GroupResources": _grouped,
        "UngroupResources": _grouped,
        "Tag": lambda stage: _tagged(stage, Tags={"c": "d"}),
        "Untag": lambda stage: _tagged(stage, Keys=["a"]),
        "GetTags": _tagged,
    }.items()
}
