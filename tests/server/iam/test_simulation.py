"""Simulation: it says what the server would decide, for documents and for users, groups and roles."""

from __future__ import annotations

from typing import Any

from tests.identities import allow, deny, document, fresh, new_user, refusal, refused
from tests.serving import ACCOUNT, ServerProcess


def decisions(answer: dict[str, Any]) -> dict[str, str]:
    """Action -> decision."""
    return {each["EvalActionName"]: each["EvalDecision"] for each in answer["EvaluationResults"]}


def test_documents_decide_with_context_and_boundary(iam: Any) -> None:
    text = document(
        allow("ssm:ListNodes", "ssm:GetDocument"),
        allow("ssm:SendCommand", Condition={"StringEquals": {"aws:ResourceTag/Env": "dev"}}),
        deny("ssm:Delete*"),
    )
    actions = ["ssm:ListNodes", "ssm:SendCommand", "ssm:DeleteDocument", "ssm:CancelCommand"]
    answer = iam.simulate_custom_policy(PolicyInputList=[text], ActionNames=actions)
    assert decisions(answer) == {
        "ssm:ListNodes": "allowed",
        "ssm:SendCommand": "implicitDeny",
        "ssm:DeleteDocument": "explicitDeny",
        "ssm:CancelCommand": "implicitDeny",
    }
    by_action = {each["EvalActionName"]: each for each in answer["EvaluationResults"]}
    assert by_action["ssm:SendCommand"]["MissingContextValues"] == ["aws:ResourceTag/Env"]
    (matched,) = by_action["ssm:DeleteDocument"]["MatchedStatements"]
    assert matched["SourcePolicyId"] == "PolicyInputList.1"
    entry = {"ContextKeyName": "aws:ResourceTag/Env", "ContextKeyValues": ["dev"], "ContextKeyType": "string"}
    answer = iam.simulate_custom_policy(
        PolicyInputList=[text], ActionNames=actions[:2], ContextEntries=[entry],
        PermissionsBoundaryPolicyInputList=[document(allow("ssm:Send*"))],
    )  # fmt: skip
    assert decisions(answer) == {"ssm:ListNodes": "implicitDeny", "ssm:SendCommand": "allowed"}
    detail = {each["EvalActionName"]: each["PermissionsBoundaryDecisionDetail"] for each in answer["EvaluationResults"]}
    assert detail["ssm:ListNodes"] == {"AllowedByPermissionsBoundary": False}


def test_what_is_simulated_for_a_user_is_what_happens(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("ssm:ListNodes"))
    group = fresh("group")
    iam.create_group(GroupName=group)
    iam.put_group_policy(GroupName=group, PolicyName="g", PolicyDocument=document(allow("ssm:ListDocuments")))
    iam.add_user_to_group(GroupName=group, UserName=name)
    arn, actions = f"arn:aws:iam::{ACCOUNT}:user/{name}", ["ssm:ListNodes", "ssm:ListDocuments", "ssm:ListCommands"]
    told = decisions(iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=actions))
    for action, decision in told.items():
        assert (serving.call(action.partition(":")[2], {}, keys).status == 200) == (decision == "allowed")
    of_group = iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:group/{group}", ActionNames=actions
    )
    assert decisions(of_group)["ssm:ListDocuments"] == "allowed"
    assert decisions(of_group)["ssm:ListNodes"] == "implicitDeny"


def test_results_come_page_by_page(iam: Any) -> None:
    actions = [f"ssm:Action{number}" for number in range(5)]
    pages = iam.get_paginator("simulate_custom_policy").paginate(
        PolicyInputList=[document(allow("ssm:*"))], ActionNames=actions, PaginationConfig={"PageSize": 2}
    )
    found = [[each["EvalActionName"] for each in page["EvaluationResults"]] for page in pages]
    assert found == [actions[:2], actions[2:4], actions[4:]]


def test_a_resources_policy_can_be_simulated(iam: Any) -> None:
    caller = f"arn:aws:iam::{ACCOUNT}:user/alice"
    own = document({"Effect": "Allow", "Principal": {"AWS": caller}, "Action": "s3:GetObject", "Resource": "*"})
    request = {"PolicyInputList": [document(allow("ssm:*"))], "ActionNames": ["s3:GetObject"]}
    request |= {"ResourceArns": ["arn:aws:s3:::b/k"]}
    assert decisions(iam.simulate_custom_policy(**request))["s3:GetObject"] == "implicitDeny"
    answer = iam.simulate_custom_policy(**request, ResourcePolicy=own, CallerArn=caller)
    assert decisions(answer)["s3:GetObject"] == "allowed"


def test_condition_keys_are_listed_as_they_are_written(iam: Any) -> None:
    text = document(
        allow("ssm:*", on="arn:aws:ssm:*:*:document/${aws:PrincipalTag/Team}-*"),
        allow("ssm:*", Condition={"Bool": {"aws:SecureTransport": "true"}, "StringLike": {"aws:userName": "a*"}}),
    )
    wanted = ["aws:PrincipalTag/Team", "aws:SecureTransport", "aws:userName"]
    assert iam.get_context_keys_for_custom_policy(PolicyInputList=[text])["ContextKeyNames"] == wanted
    role = f"arn:aws:iam::{ACCOUNT}:role/ReadOnly"
    given = iam.get_context_keys_for_principal_policy(PolicySourceArn=role, PolicyInputList=[text])
    assert set(wanted) <= set(given["ContextKeyNames"])


def test_unknown_sources_and_unreadable_documents_are_refused(iam: Any) -> None:
    request = {"ActionNames": ["ssm:ListNodes"]}
    nobody = f"arn:aws:iam::{ACCOUNT}:user/Nobody"
    assert refused(iam.simulate_principal_policy, PolicySourceArn=nobody, **request)[:2] == ("NoSuchEntity", 404)
    other = "arn:aws:s3:::a-bucket-that-is-none"
    assert refusal(iam.simulate_principal_policy, PolicySourceArn=other, **request) == "InvalidInput"
    assert refusal(iam.simulate_custom_policy, PolicyInputList=["{}"], **request) == "InvalidInput"
    many = {"ActionNames": ["ssm:A"] * 40, "ResourceArns": [f"arn:aws:s3:::b{number}" for number in range(30)]}
    assert refusal(iam.simulate_custom_policy, PolicyInputList=[document(allow("*"))], **many) == "InvalidInput"
