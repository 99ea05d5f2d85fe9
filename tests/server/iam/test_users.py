"""Users: made, shown, listed by path, renamed with all they have, deleted when they have nothing."""

from __future__ import annotations

from typing import Any

from tests.identities import allow, document, fresh, new_user, refusal, refused
from tests.serving import ACCOUNT, ServerProcess, eventually


def test_a_created_user_is_shown_with_path_tags_and_boundary(iam: Any) -> None:
    name, boundary = fresh(), "arn:aws:iam::aws:policy/ReadOnlyAccess"
    tags = [{"Key": "team", "Value": "red"}]
    made = iam.create_user(UserName=name, Path="/people/", Tags=tags, PermissionsBoundary=boundary)["User"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/people/{name}"
    assert made["UserId"].startswith("AIDA")
    assert len(made["UserId"]) == 21
    shown = iam.get_user(UserName=name)["User"]
    assert shown == made
    assert (shown["Path"], shown["Tags"]) == ("/people/", tags)
    assert shown["PermissionsBoundary"]["PermissionsBoundaryArn"] == boundary


def test_names_that_differ_in_case_only_are_taken(iam: Any) -> None:
    name = fresh("Case")
    iam.create_user(UserName=name)
    assert refused(iam.create_user, UserName=name.upper()) == (
        "EntityAlreadyExists",
        409,
        f"User with name {name.upper()} already exists.",
    )


def test_an_unknown_user_is_no_such_entity(iam: Any) -> None:
    for call in (iam.get_user, iam.delete_user, iam.list_access_keys, iam.list_groups_for_user):
        assert refused(call, UserName="Nobody") == (
            "NoSuchEntity",
            404,
            "The user with name Nobody cannot be found.",
        )


def test_users_are_listed_by_path_page_by_page(iam: Any) -> None:
    path = f"/{fresh('path')}/"
    names = [fresh("listed") for _ in range(5)]
    for name in names:
        iam.create_user(UserName=name, Path=path)
    pages = list(iam.get_paginator("list_users").paginate(PathPrefix=path, PaginationConfig={"PageSize": 2}))
    assert [len(page["Users"]) for page in pages] == [2, 2, 1]
    assert sorted(user["UserName"] for page in pages for user in page["Users"]) == sorted(names)
    assert refusal(iam.list_users, Marker="nonsense") == "ValidationError"


def test_a_renamed_user_keeps_keys_policies_and_groups(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("ssm:ListNodes"))
    group, other = fresh("group"), fresh("renamed")
    iam.create_group(GroupName=group)
    iam.add_user_to_group(GroupName=group, UserName=name)
    iam.update_user(UserName=name, NewUserName=other, NewPath="/moved/")
    arn = f"arn:aws:iam::{ACCOUNT}:user/moved/{other}"
    assert iam.get_user(UserName=other)["User"]["Arn"] == arn
    assert refusal(iam.get_user, UserName=name) == "NoSuchEntity"
    eventually(lambda: serving.client("sts", keys).get_caller_identity()["Arn"] == arn, within=1.0)
    serving.client("ssm", keys).list_nodes()
    assert [each["GroupName"] for each in iam.list_groups_for_user(UserName=other)["Groups"]] == [group]
    assert refusal(iam.update_user, UserName=other, NewUserName=_taken(iam)) == "EntityAlreadyExists"


def _taken(iam: Any) -> str:
    name = fresh("taken")
    iam.create_user(UserName=name)
    return name


def test_a_user_is_deleted_only_when_it_has_nothing(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("ssm:ListNodes"))
    policy, group = "arn:aws:iam::aws:policy/ReadOnlyAccess", fresh("group")
    iam.create_group(GroupName=group)
    iam.add_user_to_group(GroupName=group, UserName=name)
    iam.attach_user_policy(UserName=name, PolicyArn=policy)
    steps = (
        ("delete access keys", lambda: iam.delete_access_key(UserName=name, AccessKeyId=keys.access_key_id)),
        ("delete policies", lambda: iam.delete_user_policy(UserName=name, PolicyName="own")),
        ("detach all policies", lambda: iam.detach_user_policy(UserName=name, PolicyArn=policy)),
        ("remove user from groups", lambda: iam.remove_user_from_group(GroupName=group, UserName=name)),
    )
    for what, mend in steps:
        code, status, message = refused(iam.delete_user, UserName=name)
        assert (code, status, message) == ("DeleteConflict", 409, f"Cannot delete entity, must {what} first.")
        mend()
    iam.delete_user(UserName=name)
    assert refusal(iam.get_user, UserName=name) == "NoSuchEntity"


def test_sessions_of_a_deleted_user_end_within_a_second(serving: ServerProcess, iam: Any) -> None:
    from tests.identities import keys_of

    name, keys = new_user(serving, allow("ssm:ListNodes"))
    session = keys_of(serving.client("sts", keys).get_session_token())
    assert serving.call("ListNodes", {}, session).status == 200
    iam.delete_access_key(UserName=name, AccessKeyId=keys.access_key_id)
    assert serving.call("ListNodes", {}, session).status == 200
    iam.delete_user_policy(UserName=name, PolicyName="own")
    iam.delete_user(UserName=name)
    eventually(lambda: serving.call("ListNodes", {}, session).code == "ExpiredTokenException", within=1.0)


def test_without_a_name_a_user_is_the_one_who_asks(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("iam:*", on=f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}"))
    own = serving.client("iam", keys)
    assert own.get_user()["User"]["UserName"] == name
    assert own.list_access_keys()["AccessKeyMetadata"][0]["AccessKeyId"] == keys.access_key_id
    other = _taken(iam)
    code, status, message = refused(own.get_user, UserName=other)
    assert (code, status) == ("AccessDenied", 403)
    assert f"user/{name} is not authorized to perform: iam:GetUser on resource: " in message
    assert f"arn:aws:iam::{ACCOUNT}:user/{other}" in message
    assert iam.get_user()["User"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


def test_the_walk_a_key_that_may_only_list_nodes(serving: ServerProcess, iam: Any) -> None:
    """create-user, create-access-key, an inline policy: it lists nodes, nothing else, and ends with its key."""
    name = fresh("walker")
    iam.create_user(UserName=name)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    from fleetward.protocol.sigv4 import Credentials

    keys = Credentials(made["AccessKeyId"], made["SecretAccessKey"])
    ssm = serving.client("ssm", keys)
    assert refusal(ssm.list_nodes) == "AccessDeniedException"
    iam.put_user_policy(UserName=name, PolicyName="walk", PolicyDocument=document(allow("ssm:ListNodes")))
    eventually(lambda: serving.call("ListNodes", {}, keys).status == 200, within=1.0)
    assert refusal(ssm.list_documents) == "AccessDeniedException"
    iam.delete_access_key(UserName=name, AccessKeyId=keys.access_key_id)
    eventually(lambda: serving.call("ListNodes", {}, keys).code == "UnrecognizedClientException", within=1.0)
