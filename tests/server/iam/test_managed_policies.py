"""Managed policies: each compiles, grants what its name says, and no more."""

from __future__ import annotations

import fnmatch
import re

import botocore.session
import pytest

from fleetward.server.iam.evaluate import PolicySet, Request, compile_policy, decide
from fleetward.server.iam.managed_policies import AWS_POLICIES, MANAGED_POLICIES, NODE_POLICY, managed_policy_arn
from fleetward.server.iam.principals import aws_document, node_policies

NODE = "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0123456789abcdef0"
OTHER = "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-0fedcba9876543210"
DOCUMENT = "arn:aws:ssm:us-east-1:123456789012:document/Setup"
ASSOCIATION = "arn:aws:ssm:us-east-1:123456789012:association/8dfe3659-4309-493a-8755-0123456789ab"


SERVICE_OF = {
    "cloudformation": "cloudformation",
    "iam": "iam",
    "kms": "kms",
    "logs": "logs",
    "organizations": "organizations",
    "resource-groups": "resource-groups",
    "ssm": "ssm",
    "sts": "sts",
    "tag": "resourcegroupstaggingapi",
}
NOT_OPERATIONS = {"ssm:GetManifest", "ssm:PutConfigurePackageResult", "ssm:UpdateInstanceInformation"}
NOT_OPERATIONS |= {
    "ssm:ListInstanceAssociations",
    "ssm:DescribeDocumentParameters",
    "logs:StopLiveTail",
    "ssm:UpdateInstanceAssociationStatus",
}
NOT_OPERATIONS |= {"cloudformation:TagResource", "cloudformation:UntagResource"}


def holder(name: str) -> PolicySet:
    return PolicySet((compile_policy(MANAGED_POLICIES[name], name=name),))


def allowed(policies: PolicySet, action: str, resource: str = "*", node: str | None = None) -> bool:
    context = {"ssm:SourceInstanceARN": node} if node else {}
    return decide(policies, Request(action, resource, context)).allowed


@pytest.mark.parametrize("name", MANAGED_POLICIES)
def test_every_managed_policy_fits_a_managed_policy_and_has_an_arn(name: str) -> None:
    assert compile_policy(MANAGED_POLICIES[name]).statements
    policy = AWS_POLICIES[name]
    assert managed_policy_arn(name) == policy.arn == f"arn:aws:iam::aws:policy{policy.path}{name}"
    assert policy.description.endswith(".")
    assert re.fullmatch("ANPA[A-Z2-7]{17}", policy.policy_id)


def test_ids_are_each_policys_own_and_last() -> None:
    assert len({policy.policy_id for policy in AWS_POLICIES.values()}) == len(AWS_POLICIES)
    assert AWS_POLICIES["AdministratorAccess"].policy_id == "ANPA34SN6YCLNSZWWPS7E"


def test_every_action_that_a_policy_names_is_one_of_its_service() -> None:
    """Of the services whose models botocore has, leaving out what policies know and no operation is called."""
    session = botocore.session.get_session()
    known = {
        prefix: {name.lower() for name in session.get_service_model(service).operation_names}
        for prefix, service in SERVICE_OF.items()
    }
    wrong = []
    for name, document in MANAGED_POLICIES.items():
        for statement in document["Statement"]:
            for action in statement.get("Action", statement.get("NotAction")):
                service, _, word = action.lower().partition(":")
                if service in known and action not in NOT_OPERATIONS:
                    wrong += [f"{name}: {action}"] if not fnmatch.filter(known[service], word) else []
    assert wrong == []


def test_what_the_names_promise_is_granted_and_no_more() -> None:
    user = "arn:aws:iam::123456789012:user/ana"
    power = holder("PowerUserAccess")
    assert allowed(power, "ssm:SendCommand", NODE)
    assert allowed(power, "iam:ListRoles")
    assert not allowed(power, "iam:CreateUser", user)
    assert not allowed(power, "organizations:CreateAccount")
    assert allowed(holder("IAMFullAccess"), "iam:CreateUser", user)
    assert not allowed(holder("IAMReadOnlyAccess"), "iam:CreateUser", user)
    assert allowed(holder("AmazonS3FullAccess"), "s3:PutObject", "arn:aws:s3:::a/b")
    assert not allowed(holder("AmazonS3ReadOnlyAccess"), "s3:PutObject", "arn:aws:s3:::a/b")
    assert not allowed(holder("CloudWatchLogsReadOnlyAccess"), "logs:PutLogEvents")
    assert not allowed(holder("SecurityAudit"), "s3:GetObject", "arn:aws:s3:::a/b")
    assert not allowed(holder("SecurityAudit"), "ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/a")
    server = holder("CloudWatchAgentServerPolicy")
    assert allowed(server, "ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/AmazonCloudWatch-linux")
    assert not allowed(server, "ssm:GetParameter", "arn:aws:ssm:us-east-1:123456789012:parameter/secret")
    both = PolicySet(tuple(compile_policy(MANAGED_POLICIES[name]) for name in ("AdministratorAccess", "AWSDenyAll")))
    assert not allowed(both, "ssm:ListNodes")
    own = PolicySet((compile_policy(MANAGED_POLICIES["IAMUserChangePassword"]),))
    for name, granted in (("ana", True), ("eve", False)):
        context = {"aws:username": name}
        assert decide(own, Request("iam:ChangePassword", user, context)).allowed is granted


def test_an_unknown_policy_has_no_arn() -> None:
    with pytest.raises(KeyError):
        managed_policy_arn("Unheard")


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
    verbs += ("Generate", "Detect", "Estimate", "Validate", "StartLiveTail", "StartQuery", "StopQuery")
    assert granted
    assert not granted & {"GenerateDataKey", "GenerateMac", "GenerateRandom"}
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


def of_aws(name: str) -> tuple[tuple[str, str], ...]:
    """One policy of AWS's as a role's standing has it."""
    return ((name, aws_document(name)),)


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
    policies = node_policies(of_aws("AdministratorAccess"))
    assert allowed(policies, action, resource, NODE) is granted
    assert allowed(node_policies(of_aws("AmazonSSMManagedInstanceCore")), "s3:PutObject", resource, NODE) is False


def test_a_roles_boundary_bounds_what_it_grants_a_node_and_not_the_nodes_own_work() -> None:
    policies = node_policies(of_aws("AdministratorAccess"), of_aws("AmazonS3ReadOnlyAccess"))
    bucket = "arn:aws:s3:::outputs/a"
    assert allowed(policies, "s3:GetObject", bucket, NODE)
    assert not allowed(policies, "s3:PutObject", bucket, NODE)
    assert allowed(policies, "ssm:UpdateInstanceInformation", NODE, NODE)
