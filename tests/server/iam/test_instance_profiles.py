"""Instance profiles: recorded with one role each."""

from __future__ import annotations

from typing import Any

from tests.identities import ROOT_TRUST, allow, fresh, new_user, refusal, refused
from tests.serving import ACCOUNT, ServerProcess


def new_role(iam: Any) -> str:
    """A new role's name."""
    name = fresh("role")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=ROOT_TRUST)
    return name


def test_a_profile_holds_one_role_and_is_deleted_without(iam: Any) -> None:
    name, role, other = fresh("profile"), new_role(iam), new_role(iam)
    made = iam.create_instance_profile(InstanceProfileName=name, Path="/p/")["InstanceProfile"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:instance-profile/p/{name}"
    assert refusal(iam.create_instance_profile, InstanceProfileName=name.upper()) == "EntityAlreadyExists"
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=role)
    shown = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    assert [each["RoleName"] for each in shown["Roles"]] == [role]
    found = iam.list_instance_profiles_for_role(RoleName=role)["InstanceProfiles"]
    assert [each["InstanceProfileName"] for each in found] == [name]
    assert refusal(iam.add_role_to_instance_profile, InstanceProfileName=name, RoleName=other) == "LimitExceeded"
    assert refusal(iam.remove_role_from_instance_profile, InstanceProfileName=name, RoleName=other) == "NoSuchEntity"
    assert refused(iam.delete_role, RoleName=role)[2] == (
        "Cannot delete entity, must remove roles from instance profile first."
    )
    assert refusal(iam.delete_instance_profile, InstanceProfileName=name) == "DeleteConflict"
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=role)
    assert name in [
        each["InstanceProfileName"] for each in iam.list_instance_profiles(PathPrefix="/p/")["InstanceProfiles"]
    ]
    iam.delete_instance_profile(InstanceProfileName=name)
    assert refused(iam.get_instance_profile, InstanceProfileName=name)[:2] == ("NoSuchEntity", 404)


def test_only_who_may_pass_a_role_puts_it_into_a_profile(serving: ServerProcess, iam: Any) -> None:
    name, role = fresh("profile"), new_role(iam)
    iam.create_instance_profile(InstanceProfileName=name)
    _, keys = new_user(serving, allow("iam:AddRoleToInstanceProfile"))
    delegate = serving.client("iam", keys)
    message = refused(delegate.add_role_to_instance_profile, InstanceProfileName=name, RoleName=role)[2]
    assert "iam:PassRole" in message


def test_tags_of_a_profile_are_put_and_taken_away(iam: Any) -> None:
    name = fresh("profile")
    iam.create_instance_profile(InstanceProfileName=name)
    iam.tag_instance_profile(InstanceProfileName=name, Tags=[{"Key": "a", "Value": "b"}, {"Key": "c", "Value": "d"}])
    iam.untag_instance_profile(InstanceProfileName=name, TagKeys=["a"])
    assert iam.list_instance_profile_tags(InstanceProfileName=name)["Tags"] == [{"Key": "c", "Value": "d"}]
