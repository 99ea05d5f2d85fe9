"""Groups: users share their policies as long as they are in them."""

from __future__ import annotations

from typing import Any

from tests.identities import allow, document, fresh, new_user, refusal, refused
from tests.serving import ACCOUNT, ServerProcess, eventually


def new_group(iam: Any, **members: Any) -> str:
    """A new group's name."""
    name = fresh("group")
    iam.create_group(GroupName=name, **members)
    return name


def test_a_created_group_is_shown_and_its_name_is_taken(iam: Any) -> None:
    name = new_group(iam, Path="/teams/")
    shown = iam.get_group(GroupName=name)
    assert shown["Group"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:group/teams/{name}"
    assert shown["Group"]["GroupId"].startswith("AGPA")
    assert shown["Users"] == []
    assert refusal(iam.create_group, GroupName=name.upper()) == "EntityAlreadyExists"
    assert name in [each["GroupName"] for each in iam.list_groups(PathPrefix="/teams/")["Groups"]]
    assert refused(iam.get_group, GroupName="None")[1:] == (404, "The group with name None cannot be found.")


def test_policies_of_a_group_count_for_its_users_alone(serving: ServerProcess, iam: Any) -> None:
    group = new_group(iam)
    name, keys = new_user(serving)
    iam.put_group_policy(GroupName=group, PolicyName="list", PolicyDocument=document(allow("ssm:ListNodes")))
    assert serving.call("ListNodes", {}, keys).code == "AccessDeniedException"
    iam.add_user_to_group(GroupName=group, UserName=name)
    iam.add_user_to_group(GroupName=group, UserName=name)
    eventually(lambda: serving.call("ListNodes", {}, keys).status == 200, within=1.0)
    iam.remove_user_from_group(GroupName=group, UserName=name)
    eventually(lambda: serving.call("ListNodes", {}, keys).code == "AccessDeniedException", within=1.0)
    assert refusal(iam.remove_user_from_group, GroupName=group, UserName=name) == "NoSuchEntity"


def test_members_are_listed_page_by_page(iam: Any) -> None:
    group, names = new_group(iam), [fresh("member") for _ in range(3)]
    for name in names:
        iam.create_user(UserName=name)
        iam.add_user_to_group(GroupName=group, UserName=name)
    pages = list(iam.get_paginator("get_group").paginate(GroupName=group, PaginationConfig={"PageSize": 2}))
    assert sorted(user["UserName"] for page in pages for user in page["Users"]) == sorted(names)
    assert len(pages) == 2


def test_a_renamed_group_keeps_its_users(iam: Any) -> None:
    group, name, other = new_group(iam), fresh("member"), fresh("renamed")
    iam.create_user(UserName=name)
    iam.add_user_to_group(GroupName=group, UserName=name)
    iam.update_group(GroupName=group, NewGroupName=other, NewPath="/moved/")
    shown = iam.get_group(GroupName=other)
    assert [user["UserName"] for user in shown["Users"]] == [name]
    assert shown["Group"]["Path"] == "/moved/"
    assert refusal(iam.get_group, GroupName=group) == "NoSuchEntity"


def test_a_group_is_deleted_only_when_it_is_empty(iam: Any) -> None:
    group, name = new_group(iam), fresh("member")
    iam.create_user(UserName=name)
    iam.add_user_to_group(GroupName=group, UserName=name)
    iam.put_group_policy(GroupName=group, PolicyName="list", PolicyDocument=document(allow("ssm:ListNodes")))
    assert refusal(iam.delete_group, GroupName=group) == "DeleteConflict"
    iam.remove_user_from_group(GroupName=group, UserName=name)
    assert refusal(iam.delete_group, GroupName=group) == "DeleteConflict"
    iam.delete_group_policy(GroupName=group, PolicyName="list")
    iam.delete_group(GroupName=group)
    assert refusal(iam.get_group, GroupName=group) == "NoSuchEntity"


def test_a_user_is_in_ten_groups_at_most(iam: Any) -> None:
    name = fresh("busy")
    iam.create_user(UserName=name)
    for _ in range(10):
        iam.add_user_to_group(GroupName=new_group(iam), UserName=name)
    assert refused(iam.add_user_to_group, GroupName=new_group(iam), UserName=name) == (
        "LimitExceeded",
        409,
        "Cannot exceed quota for GroupsPerUser: 10",
    )
