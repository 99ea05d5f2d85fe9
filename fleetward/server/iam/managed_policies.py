"""Policies that every account has: AWS's names that users expect, and what a node may do with its own keys.

Written from what the operations do, for the services Fleetward offers; AWS's own texts differ.

What differs on purpose:
- ReadOnlyAccess and AmazonSSMReadOnlyAccess read parameters, as AWS's do, but hold no kms:Decrypt, which reading a
  SecureString in clear asks for besides; and they leave out ssm:GetAccessToken, which hands out credentials.
- AmazonSSMFullAccess does not hold iam:PassRole (nor does AWS's): CreateActivation needs it on the node's role besides.
  It leaves out what only nodes call (ec2messages, control channels): an operator is not a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Document = Mapping[str, Any]


def _allow(sid: str, actions: list[str], resources: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources, **more}


def _policy(*statements: dict[str, Any]) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


_SSM_READ = [
    "ssm:Describe*",
    "ssm:List*",
    "ssm:GetAutomationExecution",
    "ssm:GetCalendarState",
    "ssm:GetCloudConnector",
    "ssm:GetCommandInvocation",
    "ssm:GetConnectionStatus",
    "ssm:GetDefaultPatchBaseline",
    "ssm:GetDeployablePatchSnapshotForInstance",
    "ssm:GetDocument",
    "ssm:GetExecutionPreview",
    "ssm:GetInventory*",
    "ssm:GetMaintenanceWindow*",
    "ssm:GetManifest",
    "ssm:GetOps*",
    "ssm:GetParameter*",
    "ssm:GetPatchBaseline*",
    "ssm:GetResourcePolicies",
    "ssm:GetServiceSetting",
]

_NODE_SSM_ABOUT_ITSELF = [
    "ssm:GetDeployablePatchSnapshotForInstance",
    "ssm:ListAssociations",
    "ssm:ListInstanceAssociations",
    "ssm:PutComplianceItems",
    "ssm:PutConfigurePackageResult",
    "ssm:PutInventory",
    "ssm:UpdateInstanceInformation",
]
_NODE_SSM_ASSOCIATIONS = [
    "ssm:DescribeAssociation",
    "ssm:UpdateAssociationStatus",
    "ssm:UpdateInstanceAssociationStatus",
]
_NODE_SSM_DOCUMENTS = ["ssm:DescribeDocument", "ssm:GetDocument", "ssm:GetManifest"]
_NODE_CHANNELS = [
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
]
_NODE_MESSAGES = [
    "ec2messages:AcknowledgeMessage",
    "ec2messages:DeleteMessage",
    "ec2messages:FailMessage",
    "ec2messages:GetEndpoint",
    "ec2messages:GetMessages",
    "ec2messages:SendReply",
]
_NODE_KEYS = [
    "ssm:DeregisterManagedInstance",
    "ssm:RequestManagedInstanceRoleToken",
    "ssm:UpdateManagedInstancePublicKey",
]

MANAGED_POLICIES: Final[dict[str, Document]] = {
    "AdministratorAccess": _policy(_allow("Everything", ["*"])),
    "ReadOnlyAccess": _policy(
        _allow("SystemsManager", _SSM_READ),
        _allow(
            "Identities",
            ["iam:Get*", "iam:List*", "iam:Simulate*", "sts:GetAccessKeyInfo", "sts:GetCallerIdentity"],
        ),
        _allow("Organization", ["organizations:Describe*", "organizations:List*"]),
        _allow("Keys", ["kms:Describe*", "kms:Get*", "kms:List*"]),
        _allow("Logs", ["logs:Describe*", "logs:FilterLogEvents", "logs:Get*", "logs:List*", "logs:TestMetricFilter"]),
        _allow("Objects", ["s3:Get*", "s3:List*"]),
        _allow("Stacks", ["cloudformation:Describe*", "cloudformation:Get*", "cloudformation:List*"]),
        _allow(
            "Groups",
            ["resource-groups:Get*", "resource-groups:List*", "resource-groups:SearchResources", "tag:Get*"],
        ),
    ),
    "AmazonSSMFullAccess": _policy(
        _allow("SystemsManager", ["ssm:*", "ssmmessages:OpenDataChannel"]),
        _allow("Outputs", ["logs:Describe*", "logs:FilterLogEvents", "logs:Get*"]),
        _allow("Targets", ["resource-groups:Get*", "resource-groups:List*", "resource-groups:SearchResources"]),
    ),
    "AmazonSSMReadOnlyAccess": _policy(_allow("SystemsManager", _SSM_READ)),
    "AmazonSSMManagedInstanceCore": _policy(
        _allow(
            "SystemsManager",
            [
                *_NODE_SSM_ABOUT_ITSELF,
                *_NODE_SSM_ASSOCIATIONS,
                *_NODE_SSM_DOCUMENTS,
                "ssm:GetParameter",
                "ssm:GetParameters",
            ],
        ),
        _allow("Channels", _NODE_CHANNELS),
        _allow("Messages", _NODE_MESSAGES),
    ),
}
"""Name -> document."""

_IS_NODE = {"Null": {"ssm:SourceInstanceARN": "false"}}

NODE_POLICY: Final[Document] = _policy(
    _allow(
        "OnlyAboutItself",
        [*_NODE_SSM_ABOUT_ITSELF, *_NODE_CHANNELS, *_NODE_MESSAGES, *_NODE_KEYS],
        ["${ssm:SourceInstanceARN}", "${*}"],
        Condition=_IS_NODE,
    ),
    _allow(
        "AssociationsGivenToIt",
        _NODE_SSM_ASSOCIATIONS,
        ["${ssm:SourceInstanceARN}", "${*}", "arn:*:ssm:*:*:association/*", "arn:*:ssm:*:*:document/*"],
        Condition=_IS_NODE,
    ),
    _allow(
        "DocumentsItRuns",
        [*_NODE_SSM_DOCUMENTS, "ssm:DescribeDocumentParameters"],
        ["${*}", "arn:*:ssm:*:*:document/*", "arn:*:ssm:*:*:package/*"],
        Condition=_IS_NODE,
    ),
)
"""What a node's temporary keys may call, and only about itself.

Needs `ssm:SourceInstanceARN` (the node's own ARN, sealed into its session token) in the context; without it nothing is
allowed. An operation whose resource is a node's ARN is thereby limited to the caller's own. `${*}` is the very text
`*`, the resource of operations that name none. These are limited by the operation's own code, which compares what the
request names with the caller's node id:
- ssmmessages Create- and OpenControlChannel: the channel's id; Create- and OpenDataChannel: a session of this node.
- ec2messages GetMessages: Destination; AcknowledgeMessage, DeleteMessage, FailMessage, SendReply: a message given to
  this node.
- RequestManagedInstanceRoleToken, UpdateManagedInstancePublicKey: the node of the signature's credential.
- ListAssociations, PutComplianceItems, PutInventory and PutConfigurePackageResult where the declared resource is `*`:
  the InstanceId or ResourceId of the request.
- DescribeAssociation, UpdateAssociationStatus, UpdateInstanceAssociationStatus: an association that targets this node.

Ours: it is AmazonSSMManagedInstanceCore plus the calls that keep a node's own keys, less GetParameter and
GetParameters, which are not about the node: the policies of its role grant those.
"""

NODE_LIMIT: Final[Document] = {
    "Version": "2012-10-17",
    "Statement": [
        *NODE_POLICY["Statement"],
        {
            "Sid": "OtherServicesAsItsRoleSays",
            "Effect": "Allow",
            "NotAction": ["ssm:*", "ssmmessages:*", "ec2messages:*"],
            "Resource": "*",
        },
        _allow("ParametersAsItsRoleSays", ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"]),
    ],
}
"""The session policy of a node's keys: its role's policies grant it nothing about other nodes and their work."""


def managed_policy_arn(name: str) -> str:
    """The ARN of a policy in MANAGED_POLICIES; KeyError for another name."""
    if name not in MANAGED_POLICIES:
        raise KeyError(name)
    return f"arn:aws:iam::aws:policy/{name}"
