"""Managed policies: each compiles, grants what its name says, and no more."""

from __future__ import annotations

import botocore.session
import pytest

from fleetward.server.iam.evaluate import PolicySet, Request, compile_policy, decide
from fleetward.server.iam.managed_policies import MANAGED_POLICIES, NODE_POLICY, managed_policy_arn
from fleetward.server.iam.principals import node_policies

NODE = "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0123456789abcdef0"
OTHER = "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0fedcba9876543210"
DOCUMENT = "arn:aws:ssm:us-east-1:123456789012:document/Setup"
ASSOCIATION = "arn:aws:ssm:us-east-1:123456789012:association/8dfe3659-4309-493a-8755-0123456789ab"


def holder(name: str) -> PolicySet:
    return PolicySet((compile_policy(MANAGED_POLICIES[name], name=name),))


def allowed(policies: PolicySet, action: str, resource: str = "*", node: str | None = None) -> bool:
    context = {"ssm:SourceInstanceARN": node} if node else {}
    return decide(policies, Request(action, resource, context)).allowed


@pytest.mark.parametrize("name", MANAGED_POLICIES)
def test_every_managed_policy_fits_a_managed_policy_and_has_an_arn(name: str) -> None:
    assert compile_policy(MANAGED_POLICIES[name]).statements
    assert managed_policy_arn(name) == f"arn:aws:iam::aws:policy/{name}"


def test_an_unknown_policy_has_no_arn() -> None:
    with pytest.raises(KeyError):
        managed_policy_arn("PowerUserAccess")


@pytest.mark.parametrize("name", ["ReadOnlyAccess", "AmazonSSMReadOnlyAccess"])
def test_read_only_reads_all_of_ssm_but_credentials_and_changes_nothing(name: str) -> None:
    operations = botocore.session.get_session().get_service_model("ssm").operation_names
    readable = {operation for operation in operations if operation.startswith(("Get", "List", "Describe"))}
    granted = {operation for operation in operations if allowed(holder(name), f"ssm:{operation}")}
    assert granted == readable - {"GetAccessToken"}


@pytest.mark.parametrize("service", ["iam", "kms", "logs", "s3", "cloudformation", "resource-groups", "sts"])
def test_read_only_access_changes_nothing_elsewhere_and_decrypts_nothing(service: str) -> None:
    operations = botocore.session.get_session().get_service_model(service).operation_names
    granted = {operation for operation in operations if allowed(holder("ReadOnlyAccess"), f"{service}:{operation}")}
    verbs = ("Get", "List", "Describe", "Search", "Filter", "Test", "Simulate")
    assert granted
    assert all(operation.startswith(verbs) for operation in granted)
    assert not granted & {"Decrypt", "AssumeRole", "GetSessionToken", "GetFederationToken"}


def test_the_administrator_may_do_everything_and_full_access_all_of_ssm_only() -> None:
    full = holder("AmazonSSMFullAccess")
    assert allowed(holder("AdministratorAccess"), "iam:CreateUser", "arn:aws:iam::123456789012:user/a")
    assert allowed(full, "ssm:SendCommand", NODE)
    assert not allowed(full, "iam:PassRole")
    assert not allowed(full, "ec2messages:GetMessages")
    assert not allowed(full, "ssmmessages:OpenControlChannel")


@pytest.mark.parametrize(
    ("action", "resource", "granted"),
    [
        ("ssm:UpdateInstanceInformation", NODE, True),
        ("ssm:UpdateInstanceInformation", OTHER, False),
        ("ssm:ListInstanceAssociations", NODE, True),
        ("ssm:ListInstanceAssociations", OTHER, False),
        ("ssm:PutInventory", OTHER, False),
        ("ssmmessages:OpenControlChannel", "*", True),
        ("ssmmessages:OpenControlChannel", NODE, True),
        ("ssmmessages:OpenControlChannel", OTHER, False),
        ("ec2messages:GetMessages", "*", True),
        ("ssm:UpdateInstanceAssociationStatus", ASSOCIATION, True),
        ("ssm:UpdateInstanceAssociationStatus", OTHER, False),
        ("ssm:GetDocument", DOCUMENT, True),
        ("ssm:GetDocument", "arn:aws:ssm:us-east-1::document/AWS-RunShellScript", True),
        ("ssm:RequestManagedInstanceRoleToken", NODE, True),
        ("ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/secret", False),
        ("ssm:SendCommand", NODE, False),
        ("ssm:SendCommand", DOCUMENT, False),
        ("ssm:StartSession", NODE, False),
        ("ssm:DescribeInstanceInformation", "*", False),
        ("sts:AssumeRole", "*", False),
    ],
)
def test_a_node_reaches_only_itself(action: str, resource: str, granted: bool) -> None:
    policies = PolicySet((compile_policy(NODE_POLICY, name="node"),))
    assert allowed(policies, action, resource, NODE) is granted
    assert not allowed(policies, action, resource)


def test_a_node_may_call_what_the_managed_policy_for_nodes_lists_but_parameters() -> None:
    policies = PolicySet((compile_policy(NODE_POLICY),))
    listed = [
        action
        for statement in MANAGED_POLICIES["AmazonSSMManagedInstanceCore"]["Statement"]
        for action in statement["Action"]
    ]
    assert len(listed) == len(set(listed)) == 25
    refused = {action for action in listed if not allowed(policies, action, "*", NODE)}
    assert refused == {"ssm:GetParameter", "ssm:GetParameters"}


@pytest.mark.parametrize(
    ("action", "resource", "granted"),
    [
        ("s3:PutObject", "arn:aws:s3:::outputs/a", True),
        ("logs:PutLogEvents", "arn:aws:logs:us-east-1:123456789012:log-group:commands:*", True),
        ("ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/a", True),
        ("ssm:UpdateInstanceInformation", NODE, True),
        ("ssm:UpdateInstanceInformation", OTHER, False),
        ("ssm:DeregisterManagedInstance", OTHER, False),
        ("ssm:SendCommand", NODE, False),
        ("ssmmessages:OpenControlChannel", OTHER, False),
    ],
)
def test_even_an_administrators_role_gives_a_node_nothing_about_other_nodes(
    action: str, resource: str, granted: bool
) -> None:
    policies = node_policies(("AdministratorAccess",))
    assert allowed(policies, action, resource, NODE) is granted
    assert allowed(node_policies(("AmazonSSMManagedInstanceCore",)), "s3:PutObject", resource, NODE) is False
