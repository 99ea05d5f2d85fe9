"""Roles: made with a trust policy, changed, deleted; roles of services are theirs alone."""

from __future__ import annotations

import json
from typing import Any

from tests.identities import ROOT_TRUST, allow, document, fresh, keys_of, new_role, refusal, refused, trust
from tests.serving import ACCOUNT, ServerProcess, eventually


def test_a_created_role_is_shown_with_its_trust_policy(iam: Any) -> None:
    name = fresh("role")
    made = iam.create_role(
        RoleName=name,
        Path="/app/",
        AssumeRolePolicyDocument=ROOT_TRUST,
        Description="for tests",
        MaxSessionDuration=7200,
        Tags=[{"Key": "a", "Value": "b"}],
    )["Role"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/app/{name}"
    assert made["RoleId"].startswith("AROA")
    shown = iam.get_role(RoleName=name)["Role"]
    assert shown["AssumeRolePolicyDocument"] == json.loads(ROOT_TRUST)
    assert (shown["Description"], shown["MaxSessionDuration"]) == ("for tests", 7200)
    assert shown["Tags"] == [{"Key": "a", "Value": "b"}]
    assert refusal(iam.create_role, RoleName=name.upper(), AssumeRolePolicyDocument=ROOT_TRUST) == "EntityAlreadyExists"


def test_roles_are_listed_by_path(iam: Any) -> None:
    path, names = f"/{fresh('path')}/", [fresh("role") for _ in range(3)]
    for name in names:
        iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument=ROOT_TRUST)
    pages = list(iam.get_paginator("list_roles").paginate(PathPrefix=path, PaginationConfig={"PageSize": 2}))
    assert sorted(role["RoleName"] for page in pages for role in page["Roles"]) == sorted(names)


def test_an_unknown_role_is_no_such_entity(iam: Any) -> None:
    assert refused(iam.get_role, RoleName="None") == ("NoSuchEntity", 404, "The role with name None cannot be found.")


def test_a_changed_role_shows_the_change_and_the_rest_stays(iam: Any) -> None:
    name = new_role_name(iam, Description="first", MaxSessionDuration=7200)
    iam.update_role(RoleName=name, Description="second")
    shown = iam.get_role(RoleName=name)["Role"]
    assert (shown["Description"], shown["MaxSessionDuration"]) == ("second", 7200)
    iam.update_role(RoleName=name, MaxSessionDuration=3600)
    made = iam.update_role_description(RoleName=name, Description="third")["Role"]
    assert (made["Description"], made["MaxSessionDuration"]) == ("third", 3600)
    assert refusal(iam.update_role, RoleName=name, MaxSessionDuration=50_000) == "ValidationError"


def new_role_name(iam: Any, **members: Any) -> str:
    """A new role's name."""
    name = fresh("role")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=ROOT_TRUST, **members)
    return name


def test_another_trust_policy_decides_who_assumes_the_role(serving: ServerProcess, iam: Any) -> None:
    arn = new_role(serving, ROOT_TRUST)
    sts = serving.client("sts")
    sts.assume_role(RoleArn=arn, RoleSessionName="before")
    name = arn.rpartition("/")[2]
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust({"Service": "ssm.amazonaws.com"}))
    assert refusal(sts.assume_role, RoleArn=arn, RoleSessionName="after") == "AccessDenied"


def test_trust_policies_that_make_no_sense_are_refused(iam: Any) -> None:
    stranger = {"AWS": f"arn:aws:iam::{ACCOUNT}:user/Nobody"}
    with_resource = json.loads(ROOT_TRUST)
    with_resource["Statement"][0]["Resource"] = "*"
    cases = {
        "{}": "Statement",
        "no json": "JSON",
        document(allow("sts:AssumeRole")): "Principal",
        json.dumps(with_resource): "Has prohibited field Resource",
        trust(stranger): f'Invalid principal in policy: "AWS":"{stranger["AWS"]}"',
    }
    for text, told in cases.items():
        code, status, message = refused(iam.create_role, RoleName=fresh(), AssumeRolePolicyDocument=text)
        assert (code, status) == ("MalformedPolicyDocument", 400), message
        assert told.lower() in message.lower()
    long = trust({"AWS": [f"arn:aws:iam::{number:012}:root" for number in range(60)]})
    code, _, message = refused(iam.create_role, RoleName=fresh(), AssumeRolePolicyDocument=long)
    assert (code, message) == ("LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048")


def test_a_role_is_deleted_only_when_it_has_no_policies_and_its_sessions_end(serving: ServerProcess, iam: Any) -> None:
    arn = new_role(serving, ROOT_TRUST, allow("ssm:ListNodes"))
    name = arn.rpartition("/")[2]
    session = keys_of(serving.client("sts").assume_role(RoleArn=arn, RoleSessionName="ends"))
    assert serving.call("ListNodes", {}, session).status == 200
    assert refused(iam.delete_role, RoleName=name)[2] == "Cannot delete entity, must delete policies first."
    iam.delete_role_policy(RoleName=name, PolicyName="own")
    iam.delete_role(RoleName=name)
    assert refusal(iam.get_role, RoleName=name) == "NoSuchEntity"
    eventually(lambda: serving.call("ListNodes", {}, session).code == "ExpiredTokenException", within=1.0)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=ROOT_TRUST)
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(allow("ssm:ListNodes")))
    assert serving.call("ListNodes", {}, session).code == "ExpiredTokenException", "a new role of that name is another"


def test_a_role_of_a_service_is_changed_by_nobody_else(iam: Any) -> None:
    service, name = "opsinsights.ssm.amazonaws.com", "AWSServiceRoleForAmazonSSM_OpsInsights"
    made = iam.create_service_linked_role(AWSServiceName=service)["Role"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{service}/{name}"
    assert refusal(iam.create_service_linked_role, AWSServiceName=service) == "InvalidInput"
    assert refusal(iam.create_service_linked_role, AWSServiceName="nobody.amazonaws.com") == "InvalidInput"
    assert refusal(iam.delete_role, RoleName=name) == "UnmodifiableEntity"
    for call, more in (
        (iam.update_role, {"Description": "x"}),
        (iam.attach_role_policy, {"PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}),
        (iam.put_role_policy, {"PolicyName": "x", "PolicyDocument": document(allow("ssm:ListNodes"))}),
        (iam.update_assume_role_policy, {"PolicyDocument": ROOT_TRUST}),
        (iam.tag_role, {"Tags": [{"Key": "a", "Value": "b"}]}),
    ):
        assert refused(call, RoleName=name, **more)[:2] == ("UnmodifiableEntity", 400)
    task = iam.delete_service_linked_role(RoleName=name)["DeletionTaskId"]
    assert iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] == "SUCCEEDED"
    assert refusal(iam.get_role, RoleName=name) == "NoSuchEntity"
    unknown = "task/aws-service-role/ssm.amazonaws.com/None/1"
    assert refusal(iam.get_service_linked_role_deletion_status, DeletionTaskId=unknown) == "NoSuchEntity"
    assert refusal(iam.create_role, RoleName="x", Path="/aws-service-role/", AssumeRolePolicyDocument=ROOT_TRUST)


def test_the_last_use_of_a_role_is_shown(serving: ServerProcess, iam: Any) -> None:
    arn = new_role(serving, ROOT_TRUST, allow("ssm:ListNodes"))
    name = arn.rpartition("/")[2]
    assert iam.get_role(RoleName=name)["Role"]["RoleLastUsed"] == {}
    serving.client("ssm", keys_of(serving.client("sts").assume_role(RoleArn=arn, RoleSessionName="used"))).list_nodes()
    used = eventually(lambda: iam.get_role(RoleName=name)["Role"]["RoleLastUsed"], within=5.0)
    assert used["Region"] == "us-east-1"
