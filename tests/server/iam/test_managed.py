"""Managed policies: the account's own in versions, and AWS's, which stand as they are."""

from __future__ import annotations

import json
from typing import Any

from tests.identities import allow, document, fresh, new_user, refusal, refused
from tests.serving import ACCOUNT, ServerProcess, eventually

LIST, READ = document(allow("ssm:ListNodes")), document(allow("ssm:GetDocument", "ssm:ListDocuments"))
OF_AWS = "arn:aws:iam::aws:policy/ReadOnlyAccess"


def new_policy(iam: Any, text: str = LIST, **members: Any) -> str:
    """A new policy's ARN."""
    return str(iam.create_policy(PolicyName=fresh("policy"), PolicyDocument=text, **members)["Policy"]["Arn"])


def test_a_created_policy_is_shown_and_its_document_is_its_first_version(iam: Any) -> None:
    name = fresh("policy")
    tags = [{"Key": "a", "Value": "b"}]
    made = iam.create_policy(PolicyName=name, Path="/p/", PolicyDocument=LIST, Description="d", Tags=tags)["Policy"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:policy/p/{name}"
    shown = iam.get_policy(PolicyArn=made["Arn"])["Policy"]
    assert (shown["DefaultVersionId"], shown["Description"], shown["Tags"]) == ("v1", "d", tags)
    assert (shown["AttachmentCount"], shown["IsAttachable"]) == (0, True)
    assert shown["PolicyId"].startswith("ANPA")
    version = iam.get_policy_version(PolicyArn=made["Arn"], VersionId="v1")["PolicyVersion"]
    assert (version["Document"], version["IsDefaultVersion"]) == (json.loads(LIST), True)
    code, status, message = refused(iam.create_policy, PolicyName=name.upper(), PolicyDocument=LIST)
    assert (code, status) == ("EntityAlreadyExists", 409)
    assert message == f"A policy called {name.upper()} already exists. Duplicate names are not allowed."


def test_policies_of_aws_are_shown_and_cannot_be_changed(iam: Any) -> None:
    shown = iam.get_policy(PolicyArn=OF_AWS)["Policy"]
    assert (shown["PolicyName"], shown["DefaultVersionId"]) == ("ReadOnlyAccess", "v1")
    text = iam.get_policy_version(PolicyArn=OF_AWS, VersionId="v1")["PolicyVersion"]["Document"]
    assert "iam:Get*" in json.dumps(text)
    for call, more in (
        (iam.create_policy_version, {"PolicyDocument": LIST}),
        (iam.delete_policy, {}),
        (iam.set_default_policy_version, {"VersionId": "v1"}),
        (iam.tag_policy, {"Tags": [{"Key": "a", "Value": "b"}]}),
    ):
        assert refusal(call, PolicyArn=OF_AWS, **more) == "InvalidInput"


def test_policies_are_listed_by_scope_path_and_use(iam: Any) -> None:
    path, user = f"/{fresh('path')}/", fresh("user")
    arns = [new_policy(iam, Path=path) for _ in range(3)]
    iam.create_user(UserName=user)
    iam.attach_user_policy(UserName=user, PolicyArn=arns[0])
    iam.put_user_permissions_boundary(UserName=user, PermissionsBoundary=arns[1])

    def listed(**request: Any) -> list[str]:
        pages = iam.get_paginator("list_policies").paginate(**request, PaginationConfig={"PageSize": 2})
        return sorted(policy["Arn"] for page in pages for policy in page["Policies"])

    assert listed(Scope="Local", PathPrefix=path) == sorted(arns)
    assert OF_AWS in listed(Scope="AWS")
    assert not [arn for arn in listed(Scope="AWS") if ":aws:policy" not in arn]
    assert set(arns) < set(listed())
    assert listed(PathPrefix=path, OnlyAttached=True) == [arns[0]]
    assert listed(PathPrefix=path, PolicyUsageFilter="PermissionsBoundary") == [arns[1]]
    counts = {policy["Arn"]: policy for policy in iam.list_policies(PathPrefix=path)["Policies"]}
    assert (counts[arns[0]]["AttachmentCount"], counts[arns[1]]["PermissionsBoundaryUsageCount"]) == (1, 1)


def test_the_default_version_is_what_counts(serving: ServerProcess, iam: Any) -> None:
    arn, (name, keys) = new_policy(iam), new_user(serving)
    iam.attach_user_policy(UserName=name, PolicyArn=arn)
    eventually(lambda: serving.call("ListNodes", {}, keys).status == 200, within=1.0)
    made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ, SetAsDefault=True)["PolicyVersion"]
    assert (made["VersionId"], made["IsDefaultVersion"]) == ("v2", True)
    eventually(lambda: serving.call("ListNodes", {}, keys).code == "AccessDeniedException", within=1.0)
    assert serving.call("ListDocuments", {}, keys).status == 200
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    eventually(lambda: serving.call("ListNodes", {}, keys).status == 200, within=1.0)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v1"
    assert refusal(iam.set_default_policy_version, PolicyArn=arn, VersionId="v7") == "NoSuchEntity"


def test_a_policy_has_five_versions_and_numbers_are_not_used_again(iam: Any) -> None:
    arn = new_policy(iam)
    for _ in range(4):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)
    code, status, message = refused(iam.create_policy_version, PolicyArn=arn, PolicyDocument=READ)
    assert (code, status) == ("LimitExceeded", 409)
    assert message.startswith("A managed policy can have up to 5 versions.")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v5")
    made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)["PolicyVersion"]
    assert made["VersionId"] == "v6"
    listed = [each["VersionId"] for each in iam.list_policy_versions(PolicyArn=arn)["Versions"]]
    assert listed == ["v6", "v4", "v3", "v2", "v1"]
    assert refused(iam.delete_policy_version, PolicyArn=arn, VersionId="v1")[:2] == ("DeleteConflict", 409)


def test_a_policy_is_deleted_only_when_nothing_uses_it(iam: Any) -> None:
    arn, user = new_policy(iam), fresh("user")
    iam.create_user(UserName=user)
    iam.attach_user_policy(UserName=user, PolicyArn=arn)
    assert refused(iam.delete_policy, PolicyArn=arn)[2] == "Cannot delete a policy attached to entities."
    iam.detach_user_policy(UserName=user, PolicyArn=arn)
    iam.put_user_permissions_boundary(UserName=user, PermissionsBoundary=arn)
    assert refusal(iam.delete_policy, PolicyArn=arn) == "DeleteConflict"
    iam.delete_user_permissions_boundary(UserName=user)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)
    assert refused(iam.delete_policy, PolicyArn=arn)[2].startswith("This policy has more than one version.")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy(PolicyArn=arn)
    assert refused(iam.get_policy, PolicyArn=arn) == ("NoSuchEntity", 404, f"Policy {arn} was not found.")


def test_documents_beyond_the_quota_are_refused(iam: Any) -> None:
    long = document(allow("ssm:ListNodes", on=["arn:aws:ssm:*:*:document/" + "x" * 100] * 60))
    code, status, message = refused(iam.create_policy, PolicyName=fresh(), PolicyDocument=long)
    assert (code, status, message) == ("LimitExceeded", 409, "Cannot exceed quota for PolicySize: 6144")
    assert refusal(iam.create_policy, PolicyName=fresh(), PolicyDocument="{}") == "MalformedPolicyDocument"


def test_arns_of_no_policy_are_told_apart_from_unknown_ones(iam: Any) -> None:
    assert refusal(iam.get_policy, PolicyArn="no-arn-of-a-policy-at-all") == "InvalidInput"
    for arn in (f"arn:aws:iam::{ACCOUNT}:policy/Nobody", "arn:aws:iam::aws:policy/Nobody",
                "arn:aws:iam::210987654321:policy/Other"):  # fmt: skip
        assert refusal(iam.get_policy, PolicyArn=arn) == "NoSuchEntity"
