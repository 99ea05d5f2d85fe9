"""Reports: credentials of every user as CSV, and all of the account with its policies."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from tests.identities import ROOT_TRUST, allow, document, fresh, refusal, refused
from tests.one_time_codes import enable_device
from tests.serving import ACCOUNT, StartServer, eventually


def test_a_credential_report_names_every_user(start_server: StartServer) -> None:
    server = start_server()
    iam = server.client("iam")
    assert refused(iam.get_credential_report)[:2] == ("ReportNotPresent", 410)
    iam.create_user(UserName="alice")
    iam.create_login_profile(UserName="alice", Password="Correct-Horse-1")
    key = iam.create_access_key(UserName="alice")["AccessKey"]["AccessKeyId"]
    iam.update_access_key(UserName="alice", AccessKeyId=key, Status="Inactive")
    enable_device(iam, "alice", "telephone")
    for number in range(230):
        iam.create_user(UserName=f"many-{number}")
    assert iam.generate_credential_report()["State"] == "STARTED"
    eventually(lambda: iam.generate_credential_report()["State"] == "COMPLETE", within=20)
    report = iam.get_credential_report()
    assert report["ReportFormat"] == "text/csv"
    rows = {row["user"]: row for row in csv.DictReader(io.StringIO(report["Content"].decode()))}
    assert len(rows) == 232
    assert rows["<root_account>"]["access_key_1_active"] == "true"
    alice = rows["alice"]
    assert (alice["password_enabled"], alice["mfa_active"]) == ("true", "true")
    assert (alice["access_key_1_active"], alice["access_key_2_active"]) == ("false", "false")
    assert alice["arn"] == f"arn:aws:iam::{ACCOUNT}:user/alice"


def test_everything_is_told_page_by_page(iam: Any) -> None:
    user, group, role, path = fresh("user"), fresh("group"), fresh("role"), f"/{fresh('p')}/"
    text = document(allow("ssm:ListNodes"))
    policy = iam.create_policy(PolicyName=fresh("policy"), Path=path, PolicyDocument=text)["Policy"]["Arn"]
    iam.create_user(UserName=user)
    iam.put_user_policy(UserName=user, PolicyName="own", PolicyDocument=text)
    iam.attach_user_policy(UserName=user, PolicyArn=policy)
    iam.create_group(GroupName=group)
    iam.add_user_to_group(GroupName=group, UserName=user)
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=ROOT_TRUST)
    members = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")
    found: dict[str, list[Any]] = {member: [] for member in members}
    pages = iam.get_paginator("get_account_authorization_details").paginate(PaginationConfig={"PageSize": 7})
    for page in pages:
        assert sum(len(page[member]) for member in members) <= 7
        for member in members:
            found[member] += page[member]
    (told,) = [each for each in found["UserDetailList"] if each["UserName"] == user]
    assert told["UserPolicyList"] == [{"PolicyName": "own", "PolicyDocument": json.loads(text)}]
    assert (told["GroupList"], told["AttachedManagedPolicies"][0]["PolicyArn"]) == ([group], policy)
    assert role in [each["RoleName"] for each in found["RoleDetailList"]]
    arns = [each["Arn"] for each in found["Policies"]]
    assert len(arns) == len(set(arns))
    assert {policy, "arn:aws:iam::aws:policy/ReadOnlyAccess"} <= set(arns)
    (own,) = [each for each in found["Policies"] if each["Arn"] == policy]
    assert own["PolicyVersionList"][0]["Document"] == json.loads(text)
    only = iam.get_account_authorization_details(Filter=["Group"])
    assert only["UserDetailList"] == only["Policies"] == []
    assert group in [each["GroupName"] for each in only["GroupDetailList"]]
    assert refusal(iam.get_account_authorization_details, Marker="nonsense") == "ValidationError"
