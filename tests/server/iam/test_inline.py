"""Inline policies: put, shown as they were given, listed, taken away; of users, groups and roles alike."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from tests.identities import ROOT_TRUST, allow, document, fresh, new_user, refusal, refused
from tests.serving import ServerProcess, eventually

SIZES = {"user": 2048, "group": 5120, "role": 10_240}
LIST = document(allow("ssm:ListNodes"))


def new_owner(iam: Any, kind: str) -> dict[str, str]:
    """A new user, group or role, as the member that names it."""
    name = fresh(kind)
    more = {"AssumeRolePolicyDocument": ROOT_TRUST} if kind == "role" else {}
    getattr(iam, f"create_{kind}")(**{f"{kind.capitalize()}Name": name}, **more)
    return {f"{kind.capitalize()}Name": name}


def operations(iam: Any, kind: str) -> tuple[Any, Any, Any, Any]:
    """Put, get, delete and list the policies of a kind of owner."""
    return {
        "user": (iam.put_user_policy, iam.get_user_policy, iam.delete_user_policy, iam.list_user_policies),
        "group": (iam.put_group_policy, iam.get_group_policy, iam.delete_group_policy, iam.list_group_policies),
        "role": (iam.put_role_policy, iam.get_role_policy, iam.delete_role_policy, iam.list_role_policies),
    }[kind]


@pytest.mark.parametrize("kind", SIZES)
def test_a_policy_is_put_got_listed_and_deleted(iam: Any, kind: str) -> None:
    owner = new_owner(iam, kind)
    put, get, delete, listing = operations(iam, kind)
    put(**owner, PolicyName="two", PolicyDocument=LIST)
    put(**owner, PolicyName="one", PolicyDocument=LIST)
    put(**owner, PolicyName="two", PolicyDocument=document(allow("ssm:GetDocument")))
    assert listing(**owner)["PolicyNames"] == ["one", "two"]
    first = listing(**owner, MaxItems=1)
    assert (first["PolicyNames"], first["IsTruncated"]) == (["one"], True)
    assert listing(**owner, Marker=first["Marker"])["PolicyNames"] == ["two"]
    shown = get(**owner, PolicyName="two")
    assert shown["PolicyDocument"] == json.loads(document(allow("ssm:GetDocument")))
    delete(**owner, PolicyName="two")
    assert listing(**owner)["PolicyNames"] == ["one"]
    wanted = ("NoSuchEntity", 404, f"The {kind} policy with name two cannot be found.")
    assert refused(get, **owner, PolicyName="two") == wanted
    assert refused(delete, **owner, PolicyName="two") == wanted


@pytest.mark.parametrize("kind", SIZES)
def test_the_policies_of_an_owner_have_a_size_together(iam: Any, kind: str) -> None:
    owner, most = new_owner(iam, kind), SIZES[kind]
    put, *_ = operations(iam, kind)
    half = document(allow("ssm:ListNodes", on=["arn:aws:ssm:*:*:document/" + "x" * 100] * (most // 300)))
    put(**owner, PolicyName="first", PolicyDocument=half)
    put(**owner, PolicyName="second", PolicyDocument=half)
    code, status, message = refused(put, **owner, PolicyName="third", PolicyDocument=half)
    assert (code, status) == ("LimitExceeded", 409)
    assert message.startswith(f"Maximum policy size of {most} bytes exceeded for {kind} ")
    put(**owner, PolicyName="first", PolicyDocument=json.dumps(json.loads(half), indent=4))


def test_what_is_no_policy_is_malformed(iam: Any) -> None:
    owner = new_owner(iam, "user")
    principal = {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}
    for text in ("x", "{}", "[]", '{"Version":"1"}', document(principal), document({"Effect": "Maybe"})):
        assert refusal(iam.put_user_policy, **owner, PolicyName="x", PolicyDocument=text) == "MalformedPolicyDocument"


def test_documents_travel_percent_encoded_and_word_for_word(serving: ServerProcess, iam: Any) -> None:
    owner, text = new_owner(iam, "user"), '{"Version": "2012-10-17",\n "Statement": []}'.replace("[]", "[%s]")
    text %= json.dumps(allow("ssm:ListNodes", Sid="A"))
    iam.put_user_policy(**owner, PolicyName="x", PolicyDocument=text)
    fields = {"Action": "GetUserPolicy", "Version": "2010-05-08", "PolicyName": "x", **owner}
    body = serving.form(fields, serving.root, "iam").body.decode()
    inside = body.partition("<PolicyDocument>")[2].partition("</PolicyDocument>")[0]
    assert "{" not in inside
    assert "%20" in inside
    assert unquote(inside) == text


def test_a_policy_counts_within_a_second_and_no_longer_than_a_second(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving)
    iam.put_user_policy(UserName=name, PolicyName="x", PolicyDocument=LIST)
    eventually(lambda: serving.call("ListNodes", {}, keys).status == 200, within=1.0)
    iam.delete_user_policy(UserName=name, PolicyName="x")
    eventually(lambda: serving.call("ListNodes", {}, keys).code == "AccessDeniedException", within=1.0)
