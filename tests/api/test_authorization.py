"""What operations say to policies: the resource types of AWS's table, and the condition keys that requests give.

`tests/golden/iam/resource_types.txt` holds that table (Service Authorization Reference), one action a line, `-` where
an action has no resource type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fleetward.protocol.api.model import Shape, load_service
from fleetward.protocol.sigv4 import Credentials
from fleetward.server import app, ec2messages
from fleetward.server.service import Entry, nobody_is_denied
from tests.calls import CALLS, Stage, send
from tests.serving import ACCOUNT, ServerProcess

TABLE: Mapping[str, frozenset[str]] = {
    action: frozenset(types.split()) - {"-"}
    for action, _, types in (
        line.partition(" ")
        for line in (Path(__file__).parents[1] / "golden/iam/resource_types.txt").read_text().splitlines()
    )
}
WHOLE: Mapping[str, str] = {
    "fleetward:AddRegion": "regions of the whole server",
    "fleetward:ListRegions": "regions of the whole server",
    "fleetward:Resume": "account and region as a whole",
    "fleetward:RotateKeys": "the server's own key ring",
    "fleetward:RetireKeys": "the server's own key ring",
    "fleetward:DescribeKeys": "the server's own key ring",
}
"""Operations decided as an action that has resource types, which is not about one of them here."""
NARROWER: Mapping[str, str] = {
    "fleetward:DescribeSession": "AWS's ssm:DescribeSessions lists; this is about one session",
    "fleetward:LocateSessionRecording": "AWS has no such action; the session whose recording it is",
    "fleetward:DescribeNodeTrust": "AWS's ssm:DescribeInstanceInformation lists; this is about one node",
    "fleetward:ListSignIns": "AWS has no such action; the users whose sign-ins are listed",
    "fleetward:RevokeSignIn": "AWS has no such action; the user whose sign-in it is",
}
"""Operations decided on a resource as an action that has none in AWS."""
TAG_MEMBERS = ("Tags", "tags")
TAG_KEY_MEMBERS = ("TagKeys", "tagKeys")


def offered() -> dict[str, Entry]:
    """Every operation by its name."""
    ec2messages.offer(lambda call, members: [], {})
    return {entry.name: entry for service in app.SERVICES for entry in service.operations.values()}


OFFERED = offered()


def types_of(name: str) -> frozenset[str]:
    """The resource types that AWS's table has for an operation's action; empty for actions without or unknown to it."""
    return TABLE.get(OFFERED[name].action.lower(), frozenset())


def test_the_table_is_aws_s() -> None:
    assert len(TABLE) > 1000
    assert TABLE["ssm:sendcommand"] >= {"document", "managed-instance"}
    assert TABLE["ssm:createactivation"] == frozenset()


@pytest.mark.parametrize("name", OFFERED)
def test_an_operation_with_a_resource_type_says_its_resources(name: str) -> None:
    assert not types_of(name) or OFFERED[name].resources is not None or name in WHOLE


@pytest.fixture(scope="module")
def bound(serving: ServerProcess) -> Credentials:
    """An administrator's keys that count for whatever has an ARN, and for nothing that is decided on `*`."""
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "arn:*"}}
    role = f"arn:aws:iam::{ACCOUNT}:role/Administrator"
    answer = serving.client("sts").assume_role(RoleArn=role, RoleSessionName="bound", Policy=json.dumps(policy))
    keys = answer["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


LONG_LIVED = ("sts:GetSessionToken", "sts:GetFederationToken")
"""Not for temporary keys, whatever policies say."""
OWNERS_ALONE = ("ssm:ResumeSession",)
"""For whoever opened it, whatever policies say."""
BY_OPERATORS = [
    name
    for name, call in CALLS.items()
    if call.by == "root"
    and OFFERED[name].resources is not nobody_is_denied
    and name not in (*LONG_LIVED, *OWNERS_ALONE)
]


@pytest.mark.parametrize("name", BY_OPERATORS)
def test_an_operation_is_decided_on_an_arn_exactly_where_aws_has_a_resource_type(
    stage: Stage, bound: Credentials, name: str
) -> None:
    answer = send(stage, name, CALLS[name].make(stage), signed_by=bound)
    on_all = answer.status in (400, 403) and answer.code.startswith("AccessDenied") and "resource: *" in answer.message
    has_type = (bool(types_of(name)) and name not in WHOLE) or name in NARROWER
    assert on_all is not has_type, f"{answer.status} {answer.body[:300]!r}"
    if has_type:
        assert answer.status < 500, answer.body[:500]
        assert not answer.code.startswith("AccessDenied"), answer.body[:500]


def sample(shape: Shape) -> Any:
    """One tag in the form that a member asks for: a list of structures, or a map."""
    if shape.kind == "map":
        return {"env": "prod"}
    assert shape.element is not None
    members = shape.element.shape.members
    key, value = (next(member for member in members if member.lower().endswith(end)) for end in ("key", "value"))
    return [{key: "env", value: "prod"}]


def lists_keys(shape: Shape) -> bool:
    """Whether a member holds keys of tags alone."""
    return shape.kind == "list" and shape.element is not None and shape.element.shape.kind == "string"


CHANGING = [name for name, entry in OFFERED.items() if not entry.reads and entry.audience != "anyone"]


@pytest.mark.parametrize("name", CHANGING)
def test_tags_that_a_request_asks_for_are_condition_keys(name: str) -> None:
    service, _, operation = name.partition(":")
    shape = load_service(service).operations[operation].input
    members = shape.members if shape is not None else {}
    entry = OFFERED[name]
    for member in members:
        is_keys = member in TAG_KEY_MEMBERS or (member in TAG_MEMBERS and lists_keys(members[member].shape))
        if member in TAG_MEMBERS and not is_keys:
            assert entry.conditions is not None, f"{name} takes {member}: conditions=iam.context.tags_of({member!r})"
            given = entry.conditions(None, {member: sample(members[member].shape)})  # type: ignore[arg-type]
            assert (given["aws:RequestTag/env"], given["aws:TagKeys"]) == ("prod", ("env",))
            assert "aws:TagKeys" not in entry.conditions(None, {})  # type: ignore[arg-type]
        if is_keys:
            assert entry.conditions is not None, f"{name} takes {member}: conditions=iam.context.tag_keys_of"
            assert entry.conditions(None, {member: ["env"]})["aws:TagKeys"] == ("env",)  # type: ignore[arg-type]


def keys_under(serving: ServerProcess, *statements: Mapping[str, Any]) -> Credentials:
    """An administrator's keys, bound by a session policy of these statements."""
    role = f"arn:aws:iam::{ACCOUNT}:role/Administrator"
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    answer = serving.client("sts").assume_role(RoleArn=role, RoleSessionName="bound", Policy=policy)
    keys = answer["Credentials"]
    return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def allow(action: str, **condition: Any) -> dict[str, Any]:
    """A statement that allows one action under a condition."""
    return {"Effect": "Allow", "Action": action, "Resource": "*", "Condition": condition}


@pytest.mark.parametrize(
    ("operation", "condition", "inside", "outside"),
    [
        (
            "AddTagsToResource",
            {"StringEquals": {"aws:RequestTag/env": ["dev", "test"]}},
            {"Tags": [{"Key": "env", "Value": "dev"}]},
            {"Tags": [{"Key": "env", "Value": "prod"}]},
        ),
        (
            "AddTagsToResource",
            {"ForAllValues:StringEquals": {"aws:TagKeys": ["env"]}},
            {"Tags": [{"Key": "env", "Value": "dev"}]},
            {"Tags": [{"Key": "env", "Value": "dev"}, {"Key": "team", "Value": "a"}]},
        ),
        (
            "RemoveTagsFromResource",
            {"ForAllValues:StringEquals": {"aws:TagKeys": ["env"]}},
            {"TagKeys": ["env"]},
            {"TagKeys": ["env", "team"]},
        ),
        (
            "CreateDocument",
            {"StringEquals": {"ssm:DocumentType": "Command"}},
            {"DocumentType": "Command"},
            {"DocumentType": "Automation"},
        ),
        (
            "CreateActivation",
            {"StringEquals": {"aws:RequestTag/env": "dev"}},
            {"Tags": [{"Key": "env", "Value": "dev"}]},
            {"Tags": []},
        ),
        (
            "GetDocument",
            {"StringEquals": {"ssm:DocumentType": "Command"}},
            {"Name": "AWS-RunShellScript"},
            {"Name": "NoSuchDocument"},
        ),
    ],
)
def test_what_a_request_asks_for_can_be_bound_by_conditions(
    stage: Stage, operation: str, condition: dict[str, Any], inside: dict[str, Any], outside: dict[str, Any]
) -> None:
    keys = keys_under(stage.server, allow(f"ssm:{operation}", **condition), allow("iam:PassRole"))
    given = CALLS[f"ssm:{operation}"].make(stage)
    assert send(stage, f"ssm:{operation}", {**given, **inside}, signed_by=keys).status == 200
    refused = send(stage, f"ssm:{operation}", {**CALLS[f"ssm:{operation}"].make(stage), **outside}, signed_by=keys)
    assert refused.code == "AccessDeniedException"
    assert f"because no session policy allows the ssm:{operation} action" in refused.message


ROLE = f"arn:aws:iam::{ACCOUNT}:role/SSMServiceRole"


@pytest.mark.parametrize("operation", ["CreateActivation", "UpdateManagedInstanceRole", "SendCommand"])
def test_who_hands_over_a_role_must_be_allowed_to_pass_it_to_that_service(stage: Stage, operation: str) -> None:
    more = {"ServiceRoleArn": ROLE} if operation == "SendCommand" else {}
    does = {"Effect": "Allow", "Action": f"ssm:{operation}", "Resource": "*"}
    for service, status in (("ssm.amazonaws.com", 200), ("ec2.amazonaws.com", 400)):
        passes = allow("iam:PassRole", StringEquals={"iam:PassedToService": service})
        keys = keys_under(stage.server, does, passes)
        request = {**CALLS[f"ssm:{operation}"].make(stage), **more}
        answer = send(stage, f"ssm:{operation}", request, signed_by=keys)
        assert answer.status == status, answer.body
        if status != 200:
            assert "is not authorized to perform: iam:PassRole on resource: " in answer.message


def test_denials_name_caller_action_resource_and_the_policy_that_denied(stage: Stage) -> None:
    arn = f"arn:aws:ssm:us-east-1:{ACCOUNT}:document/AWS-RunShellScript".replace(f":{ACCOUNT}:", "::")
    me = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/Administrator/bound is not authorized to perform: ssm:SendCommand"
    request = CALLS["ssm:SendCommand"].make(stage)
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "ssm:SendCommand", "Resource": "arn:aws:ssm:*:*:document/*"}
    denied = send(stage, "ssm:SendCommand", request, signed_by=keys_under(stage.server, everything, deny))
    assert denied.message == f"{me} on resource: {arn} with an explicit deny in a session policy"
    little = keys_under(stage.server, {**everything, "Action": "ssm:ListNodes"})
    missing = send(stage, "ssm:SendCommand", request, signed_by=little)
    assert missing.message == f"{me} on resource: {arn} because no session policy allows the ssm:SendCommand action"
    broken = send(stage, "ssm:SendCommand", {}, signed_by=little)
    assert broken.message == f"{me} on resource: * because no session policy allows the ssm:SendCommand action"
    unknown = send(stage, "ssm:GetServiceSetting", {"SettingId": "/none/such"}, signed_by=little)
    assert unknown.code == "AccessDeniedException"
