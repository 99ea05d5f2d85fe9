"""Credentials for oneself and for guests: sessions of users, federated users, whose a key is."""

from __future__ import annotations

from typing import Any

from tests.identities import allow, document, fresh, keys_of, new_user, refusal, refused
from tests.serving import ACCOUNT, ServerProcess, eventually


def test_a_users_session_follows_its_policies(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("ssm:ListNodes"))
    session = keys_of(serving.client("sts", keys).get_session_token(DurationSeconds=900))
    told = serving.client("sts", session).get_caller_identity()
    assert told["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/{name}"
    assert told["UserId"] == iam.get_user(UserName=name)["User"]["UserId"]
    assert serving.call("ListNodes", {}, session).status == 200
    iam.delete_user_policy(UserName=name, PolicyName="own")
    eventually(lambda: serving.call("ListNodes", {}, session).code == "AccessDeniedException", within=1.0)
    assert refusal(serving.client("sts", session).get_session_token) == "AccessDenied"


def test_a_guest_may_do_what_its_host_and_the_session_policy_both_allow(serving: ServerProcess) -> None:
    _, keys = new_user(serving, allow("sts:GetFederationToken", "ssm:ListNodes", "ssm:ListDocuments"))
    sts = serving.client("sts", keys)
    text = document(allow("ssm:ListNodes", "ssm:ListCommands"))
    made = sts.get_federation_token(Name="guest", Policy=text, DurationSeconds=900)
    assert made["FederatedUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:federated-user/guest"
    guest = keys_of(made)
    assert serving.client("sts", guest).get_caller_identity()["UserId"] == f"{ACCOUNT}:guest"
    statuses = {name: serving.call(name, {}, guest).status for name in ("ListNodes", "ListDocuments", "ListCommands")}
    assert statuses == {"ListNodes": 200, "ListDocuments": 400, "ListCommands": 400}
    nothing = keys_of(sts.get_federation_token(Name="nothing"))
    assert serving.call("ListNodes", {}, nothing).code == "AccessDeniedException"
    assert refusal(serving.client("sts", guest).get_federation_token, Name="again") == "AccessDenied"


def test_a_guest_of_root_is_limited_by_managed_policies_too(serving: ServerProcess, iam: Any) -> None:
    text = document(allow("ssm:ListNodes"))
    arn = iam.create_policy(PolicyName=fresh("guest"), PolicyDocument=text)["Policy"]["Arn"]
    tags = [{"Key": "team", "Value": "red"}]
    made = serving.client("sts").get_federation_token(Name="guest", PolicyArns=[{"arn": arn}], Tags=tags)
    assert serving.call("ListNodes", {}, keys_of(made)).status == 200
    assert serving.call("ListDocuments", {}, keys_of(made)).code == "AccessDeniedException"


def test_the_account_of_a_known_key_is_told(serving: ServerProcess) -> None:
    _, keys = new_user(serving)
    sts = serving.client("sts")
    assert sts.get_access_key_info(AccessKeyId=keys.access_key_id)["Account"] == ACCOUNT
    assert refused(sts.get_access_key_info, AccessKeyId="ASIA" + "X" * 16)[:2] == ("ValidationError", 400)


def test_a_session_needs_no_permission_and_a_guest_does(serving: ServerProcess) -> None:
    _, keys = new_user(serving)
    sts = serving.client("sts", keys)
    assert sts.get_session_token()["Credentials"]
    assert refusal(sts.get_federation_token, Name="guest") == "AccessDenied"
    assert refusal(sts.get_session_token, SerialNumber="123456789") == "ValidationError"
