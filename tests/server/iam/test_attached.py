"""Attachments and boundaries: what counts for whom, how many, and who has what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.identities import ROOT_TRUST, allow, document, fresh, keys_of, new_role, new_user, refusal, refused
from tests.serving import ACCOUNT, ServerProcess, eventually

READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
LIST = document(allow("ssm:ListNodes"))
KINDS = ("user", "group", "role")


def operations(iam: Any, kind: str) -> tuple[Any, Any, Any]:
    """Attach, detach and list the managed policies of a kind of owner."""
    return {
        "user": (iam.attach_user_policy, iam.detach_user_policy, iam.list_attached_user_policies),
        "group": (iam.attach_group_policy, iam.detach_group_policy, iam.list_attached_group_policies),
        "role": (iam.attach_role_policy, iam.detach_role_policy, iam.list_attached_role_policies),
    }[kind]


def new_owner(iam: Any, kind: str) -> dict[str, str]:
    """A new user, group or role, as the member that names it."""
    name = fresh(kind)
    more = {"AssumeRolePolicyDocument": ROOT_TRUST} if kind == "role" else {}
    getattr(iam, f"create_{kind}")(**{f"{kind.capitalize()}Name": name}, **more)
    return {f"{kind.capitalize()}Name": name}


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_is_attached_listed_and_detached(iam: Any, kind: str) -> None:
    owner, (attach, detach, listing) = new_owner(iam, kind), operations(iam, kind)
    attach(**owner, PolicyArn=READ_ONLY)
    attach(**owner, PolicyArn=READ_ONLY)
    assert listing(**owner)["AttachedPolicies"] == [{"PolicyName": "ReadOnlyAccess", "PolicyArn": READ_ONLY}]
    assert listing(**owner, PathPrefix="/elsewhere/")["AttachedPolicies"] == []
    entities = iam.list_entities_for_policy(PolicyArn=READ_ONLY, EntityFilter=kind.capitalize())
    member = f"{kind.capitalize()}Name"
    assert owner[member] in [each[member] for each in entities[f"Policy{kind.capitalize()}s"]]
    detach(**owner, PolicyArn=READ_ONLY)
    assert listing(**owner)["AttachedPolicies"] == []
    assert refused(detach, **owner, PolicyArn=READ_ONLY)[:2] == ("NoSuchEntity", 404)
    unknown = f"arn:aws:iam::{ACCOUNT}:policy/None"
    wanted = ("NoSuchEntity", 404, f"Policy {unknown} does not exist or is not attachable.")
    assert refused(attach, **owner, PolicyArn=unknown) == wanted
    assert refusal(attach, **owner, PolicyArn="x" * 30) == "InvalidInput"


@pytest.mark.parametrize("kind", KINDS)
def test_ten_policies_can_be_attached(iam: Any, kind: str) -> None:
    owner, (attach, _, _) = new_owner(iam, kind), operations(iam, kind)
    arns = [policy["Arn"] for policy in iam.list_policies(Scope="AWS", MaxItems=11)["Policies"]]
    for arn in arns[:10]:
        attach(**owner, PolicyArn=arn)
    code, status, message = refused(attach, **owner, PolicyArn=arns[10])
    assert (code, status) == ("LimitExceeded", 409)
    assert message == f"Cannot exceed quota for AttachedPoliciesPer{kind.capitalize()}: 10"


def test_entities_of_a_policy_are_listed_by_use_and_page(iam: Any) -> None:
    arn = iam.create_policy(PolicyName=fresh("policy"), PolicyDocument=LIST)["Policy"]["Arn"]
    for _ in range(2):
        iam.attach_user_policy(**new_owner(iam, "user"), PolicyArn=arn)
    iam.put_role_permissions_boundary(**new_owner(iam, "role"), PermissionsBoundary=arn)
    pages = iam.get_paginator("list_entities_for_policy").paginate(PolicyArn=arn, PaginationConfig={"PageSize": 1})
    found = [(len(page["PolicyUsers"]), len(page["PolicyRoles"])) for page in pages]
    assert found == [(0, 1), (1, 0), (1, 0)]
    bound = iam.list_entities_for_policy(PolicyArn=arn, PolicyUsageFilter="PermissionsBoundary")
    assert (len(bound["PolicyUsers"]), len(bound["PolicyRoles"])) == (0, 1)


def test_a_boundary_takes_rights_of_a_user_away_and_gives_none(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("ssm:ListNodes", "ssm:ListDocuments"))
    arn = iam.create_policy(
        PolicyName=fresh("boundary"), PolicyDocument=document(allow("ssm:ListNodes", "ssm:ListCommands"))
    )["Policy"]["Arn"]
    assert serving.call("ListDocuments", {}, keys).status == 200
    iam.put_user_permissions_boundary(UserName=name, PermissionsBoundary=arn)
    eventually(lambda: serving.call("ListDocuments", {}, keys).code == "AccessDeniedException", within=1.0)
    assert serving.call("ListNodes", {}, keys).status == 200
    assert "permissions boundary" in serving.call("ListDocuments", {}, keys).message
    assert serving.call("ListCommands", {}, keys).code == "AccessDeniedException"
    iam.delete_user_permissions_boundary(UserName=name)
    eventually(lambda: serving.call("ListDocuments", {}, keys).status == 200, within=1.0)
    assert refusal(iam.delete_user_permissions_boundary, UserName=name) == "NoSuchEntity"
    assert refusal(iam.put_user_permissions_boundary, UserName=name, PermissionsBoundary=arn + "x") == "NoSuchEntity"


def test_a_boundary_of_a_role_counts_for_its_sessions(serving: ServerProcess, iam: Any) -> None:
    arn = new_role(serving, ROOT_TRUST, allow("ssm:*"))
    name = arn.rpartition("/")[2]
    iam.put_role_permissions_boundary(RoleName=name, PermissionsBoundary=READ_ONLY)
    session = keys_of(serving.client("sts").assume_role(RoleArn=arn, RoleSessionName="bound"))
    assert serving.call("ListNodes", {}, session).status == 200
    denied = {"Name": "x", "Content": "{}", "DocumentType": "Command"}
    assert serving.call("CreateDocument", denied, session).code == "AccessDeniedException"
    iam.delete_role_permissions_boundary(RoleName=name)
    eventually(lambda: serving.call("CreateDocument", denied, session).code != "AccessDeniedException", within=1.0)


def test_a_delegate_creates_users_under_a_boundary_only(serving: ServerProcess, iam: Any) -> None:
    """Attaching and creating see the policy and the boundary asked for as condition keys."""
    users = f"arn:aws:iam::{ACCOUNT}:user/*"
    bounded = {"StringEquals": {"iam:PermissionsBoundary": READ_ONLY}}
    chosen = {"ArnEquals": {"iam:PolicyARN": READ_ONLY}}
    _, keys = new_user(
        serving,
        allow("iam:CreateUser", on=users, Condition=bounded),
        allow("iam:AttachUserPolicy", on=users, Condition={**bounded, **chosen}),
    )
    delegate, name = serving.client("iam", keys), fresh("bounded")
    assert refusal(delegate.create_user, UserName=name) == "AccessDenied"
    delegate.create_user(UserName=name, PermissionsBoundary=READ_ONLY)
    delegate.attach_user_policy(UserName=name, PolicyArn=READ_ONLY)
    assert refusal(delegate.attach_user_policy, UserName=name, PolicyArn=ADMINISTRATOR) == "AccessDenied"
    free = fresh("free")
    iam.create_user(UserName=free)
    assert refusal(delegate.attach_user_policy, UserName=free, PolicyArn=READ_ONLY) == "AccessDenied"
