"""Policies that every account has: AWS's names that users expect, and what a node may do with its own keys.

Written from what the operations do, for the services Fleetward offers or plans; AWS's own texts say more about others.

What differs on purpose:
- ReadOnlyAccess and AmazonSSMReadOnlyAccess read parameters, as AWS's do, but hold no kms:Decrypt, which reading a
  SecureString in clear asks for besides; and they leave out what hands out credentials: ssm:GetAccessToken,
  sts:GetSessionToken.
- AmazonSSMFullAccess does not hold iam:PassRole (nor does AWS's): CreateActivation needs it on the node's role besides.
  It leaves out what only nodes call (ec2messages, control channels): an operator is not a node.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

_LOGS_WRITE = [
    "logs:CreateLogGroup",
    "logs:CreateLogStream",
    "logs:DescribeLogGroups",
    "logs:DescribeLogStreams",
    "logs:PutLogEvents",
]
_LOGS_READ = [
    "logs:Describe*",
    "logs:FilterLogEvents",
    "logs:Get*",
    "logs:List*",
    "logs:StartLiveTail",
    "logs:StartQuery",
    "logs:StopLiveTail",
    "logs:StopQuery",
    "logs:TestMetricFilter",
]
_IAM_READ = [
    "iam:GenerateCredentialReport",
    "iam:GenerateServiceLastAccessedDetails",
    "iam:Get*",
    "iam:List*",
    "iam:SimulateCustomPolicy",
    "iam:SimulatePrincipalPolicy",
]
_KMS_READ = ["kms:Describe*", "kms:Get*", "kms:List*"]
_ORGANIZATIONS_READ = ["organizations:Describe*", "organizations:List*"]
_STACKS_READ = [
    "cloudformation:Describe*",
    "cloudformation:Detect*",
    "cloudformation:EstimateTemplateCost",
    "cloudformation:Get*",
    "cloudformation:List*",
    "cloudformation:ValidateTemplate",
]
_GROUPS_READ = ["resource-groups:Get*", "resource-groups:List*", "resource-groups:Search*", "tag:Get*"]
_TRAIL_READ = ["cloudtrail:Describe*", "cloudtrail:Get*", "cloudtrail:List*", "cloudtrail:LookupEvents"]
_SSM_SERVICE_ROLE = "arn:aws:iam::*:role/aws-service-role/ssm.amazonaws.com/AWSServiceRoleForAmazonSSM*"
_AGENT_SETTINGS = "arn:aws:ssm:*:*:parameter/AmazonCloudWatch-*"
_CLOUDWATCH_AGENT = ["cloudwatch:PutMetricData", "ec2:DescribeTags", "logs:PutRetentionPolicy", *_LOGS_WRITE]
_NODE_SSM = [*_NODE_SSM_ABOUT_ITSELF, *_NODE_SSM_ASSOCIATIONS, *_NODE_SSM_DOCUMENTS]


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    """A policy that AWS manages: its name, what it is for, the folder it lies in, and its one version."""

    name: str
    description: str
    document: Document
    path: str = "/"

    @property
    def arn(self) -> str:
        """Its ARN, which belongs to no account."""
        return f"arn:aws:iam::aws:policy{self.path}{self.name}"

    @property
    def policy_id(self) -> str:
        """A lasting id. Ours: of AWS's form, made from the name."""
        return "ANPA" + base64.b32encode(hashlib.sha256(self.name.encode()).digest()).decode()[:17]


def _managed(name: str, description: str, *statements: dict[str, Any], path: str = "/") -> ManagedPolicy:
    return ManagedPolicy(name, description, _policy(*statements), path)


_SERVICE_ROLE, _JOB_FUNCTION = "/service-role/", "/job-function/"

_ALL: Sequence[ManagedPolicy] = (
    _managed("AdministratorAccess", "Everything, everywhere.", _allow("Everything", ["*"])),
    _managed(
        "PowerUserAccess",
        "Everything but users, roles, policies and the organization.",
        _allow(
            "LookingAtRolesAndTheOrganization",
            [
                "iam:CreateServiceLinkedRole",
                "iam:DeleteServiceLinkedRole",
                "iam:ListRoles",
                "organizations:DescribeEffectivePolicy",
                "organizations:DescribeOrganization",
            ],
        ),
        {"Sid": "AllElse", "Effect": "Allow", "NotAction": ["account:*", "iam:*", "organizations:*"], "Resource": "*"},
    ),
    _managed(
        "ReadOnlyAccess",
        "See everything, change nothing.",
        _allow("SystemsManager", _SSM_READ),
        _allow(
            "Identities",
            [*_IAM_READ[2:], "iam:Generate*", "sts:GetAccessKeyInfo", "sts:GetCallerIdentity"],
        ),
        _allow("Organization", _ORGANIZATIONS_READ),
        _allow("Keys", _KMS_READ),
        _allow("Logs", _LOGS_READ),
        _allow("Objects", ["s3:DescribeJob", "s3:Get*", "s3:List*"]),
        _allow("Stacks", _STACKS_READ),
        _allow("Groups", _GROUPS_READ),
        _allow("Trail", _TRAIL_READ),
    ),
    _managed(
        "ViewOnlyAccess",
        "See what there is, by name and state; no contents.",
        _allow(
            "Lists",
            [
                "cloudformation:DescribeStacks",
                "cloudformation:List*",
                "cloudtrail:DescribeTrails",
                "cloudtrail:ListTrails",
                "cloudtrail:LookupEvents",
                "iam:GetAccountSummary",
                "iam:GetLoginProfile",
                "iam:List*",
                "kms:ListKeys",
                "kms:ListResourceTags",
                "logs:Describe*",
                "logs:ListTagsForResource",
                "organizations:List*",
                "s3:ListAllMyBuckets",
                "s3:ListBucket",
                "ssm:ListAssociations",
                "ssm:ListDocuments",
            ],
        ),
        path=_JOB_FUNCTION,
    ),
    _managed(
        "SecurityAudit",
        "Read how things are set up, for those who judge security; no contents of objects, parameters and logs.",
        _allow("Identities", [*_IAM_READ, "sts:GetAccessKeyInfo"]),
        _allow("Organization", _ORGANIZATIONS_READ),
        _allow("Keys", _KMS_READ),
        _allow("Trail", _TRAIL_READ),
        _allow("Logs", ["logs:Describe*", "logs:ListTagsForResource", "logs:ListTagsLogGroup"]),
        _allow(
            "Buckets",
            [
                "s3:GetAccountPublicAccessBlock",
                "s3:GetBucket*",
                "s3:GetEncryptionConfiguration",
                "s3:GetLifecycleConfiguration",
                "s3:GetObjectAcl",
                "s3:GetObjectTagging",
                "s3:GetObjectVersionAcl",
                "s3:GetReplicationConfiguration",
                "s3:ListAllMyBuckets",
                "s3:ListBucket",
            ],
        ),
        _allow(
            "Stacks",
            [
                "cloudformation:DescribeStack*",
                "cloudformation:GetStackPolicy",
                "cloudformation:GetTemplate",
                "cloudformation:GetTemplateSummary",
                "cloudformation:ListStack*",
            ],
        ),
        _allow("Groups", ["resource-groups:ListGroupResources", "tag:GetResources", "tag:GetTagKeys"]),
        _allow(
            "SystemsManager",
            [
                "ssm:Describe*",
                "ssm:GetAutomationExecution",
                "ssm:GetServiceSetting",
                "ssm:ListAssociations",
                "ssm:ListAssociationVersions",
                "ssm:ListCommands",
                "ssm:ListComplianceItems",
                "ssm:ListComplianceSummaries",
                "ssm:ListDocumentMetadataHistory",
                "ssm:ListDocumentVersions",
                "ssm:ListDocuments",
                "ssm:ListInventoryEntries",
                "ssm:ListOpsMetadata",
                "ssm:ListResourceComplianceSummaries",
                "ssm:ListResourceDataSync",
                "ssm:ListTagsForResource",
            ],
        ),
    ),
    _managed(
        "AWSDenyAll",
        "Nothing at all, whatever else allows it.",
        {"Sid": "Nothing", "Effect": "Deny", "Action": ["*"], "Resource": "*"},
    ),
    _managed(
        "IAMFullAccess",
        "Users, groups, roles and policies.",
        _allow("Identities", ["iam:*"]),
        _allow("Organization", _ORGANIZATIONS_READ),
    ),
    _managed("IAMReadOnlyAccess", "See users, groups, roles and policies.", _allow("Identities", _IAM_READ)),
    _managed(
        "IAMUserChangePassword",
        "A user's own password.",
        _allow(
            "OwnPassword",
            ["iam:ChangePassword"],
            ["arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::*:user/*/${aws:username}"],
        ),
        _allow("PasswordRules", ["iam:GetAccountPasswordPolicy"]),
    ),
    _managed(
        "AmazonSSMFullAccess",
        "All that an operator of Systems Manager does.",
        _allow("SystemsManager", ["ssm:*", "ssmmessages:OpenDataChannel"]),
        _allow("Outputs", ["logs:*"]),
        _allow("Targets", ["resource-groups:Get*", "resource-groups:List*", "resource-groups:SearchResources"]),
        _allow(
            "OwnServiceRole",
            [
                "iam:CreateServiceLinkedRole",
                "iam:DeleteServiceLinkedRole",
                "iam:GetServiceLinkedRoleDeletionStatus",
            ],
            _SSM_SERVICE_ROLE,
        ),
    ),
    _managed(
        "AmazonSSMReadOnlyAccess", "See all of Systems Manager, change nothing.", _allow("SystemsManager", _SSM_READ)
    ),
    _managed(
        "AmazonSSMManagedInstanceCore",
        "What a managed node needs for its role.",
        _allow("SystemsManager", [*_NODE_SSM, "ssm:GetParameter", "ssm:GetParameters"]),
        _allow("Channels", _NODE_CHANNELS),
        _allow("Messages", _NODE_MESSAGES),
    ),
    _managed(
        "AmazonSSMManagedEC2InstanceDefaultPolicy",
        "What a managed node needs for its role, parameters left out.",
        _allow("SystemsManager", _NODE_SSM),
        _allow("Channels", _NODE_CHANNELS),
        _allow("Messages", _NODE_MESSAGES),
    ),
    _managed(
        "AmazonEC2RoleforSSM",
        "The former policy of managed nodes: objects and logs of any name besides.",
        _allow("SystemsManager", [*_NODE_SSM, "ssm:GetParameters"]),
        _allow("Channels", _NODE_CHANNELS),
        _allow("Messages", _NODE_MESSAGES),
        _allow("Surroundings", ["cloudwatch:PutMetricData", "ds:CreateComputer", "ds:DescribeDirectories"]),
        _allow("Logs", _LOGS_WRITE),
        _allow(
            "Objects",
            [
                "s3:AbortMultipartUpload",
                "s3:GetBucketLocation",
                "s3:GetEncryptionConfiguration",
                "s3:GetObject",
                "s3:ListBucket",
                "s3:ListBucketMultipartUploads",
                "s3:ListMultipartUploadParts",
                "s3:PutObject",
            ],
        ),
        path=_SERVICE_ROLE,
    ),
    _managed(
        "AmazonSSMPatchAssociation",
        "What a node reads of patch baselines while it runs a patch association.",
        _allow(
            "Baselines",
            ["ssm:DescribeEffectivePatchesForPatchBaseline", "ssm:GetPatchBaseline"],
            "arn:aws:ssm:*:*:patchbaseline/*",
        ),
        _allow("Lists", ["ssm:DescribePatchBaselines", "tag:GetResources"]),
    ),
    _managed(
        "AmazonSSMDirectoryServiceAccess",
        "Joining a directory.",
        _allow("Directories", ["ds:CreateComputer", "ds:DescribeDirectories"]),
    ),
    _managed(
        "AmazonSSMAutomationRole",
        "What automations do for those who start them.",
        _allow("SystemsManager", ["ssm:*"]),
        _allow("Sessions", ["ssmmessages:OpenDataChannel"], "arn:*:ssm:*:*:session/*"),
        _allow("Functions", ["lambda:InvokeFunction"], "arn:aws:lambda:*:*:function:Automation*"),
        _allow("Notices", ["sns:Publish"], "arn:aws:sns:*:*:Automation*"),
        _allow(
            "Stacks",
            [
                "cloudformation:CreateStack",
                "cloudformation:DeleteStack",
                "cloudformation:DescribeStackEvents",
                "cloudformation:DescribeStacks",
                "cloudformation:TagResource",
                "cloudformation:UntagResource",
                "cloudformation:UpdateStack",
            ],
        ),
        path=_SERVICE_ROLE,
    ),
    _managed(
        "AmazonSSMMaintenanceWindowRole",
        "What the tasks of a maintenance window do.",
        _allow(
            "Tasks",
            [
                "ssm:GetAutomationExecution",
                "ssm:GetParameters",
                "ssm:ListCommands",
                "ssm:SendCommand",
                "ssm:StartAutomationExecution",
            ],
        ),
        _allow(
            "Functions",
            ["lambda:InvokeFunction"],
            ["arn:aws:lambda:*:*:function:SSM*", "arn:aws:lambda:*:*:function:*:SSM*"],
        ),
        _allow("Targets", ["resource-groups:ListGroupResources", "resource-groups:ListGroups", "tag:GetResources"]),
        path=_SERVICE_ROLE,
    ),
    _managed("AmazonS3FullAccess", "Buckets and objects.", _allow("Objects", ["s3:*"])),
    _managed(
        "AmazonS3ReadOnlyAccess",
        "Read buckets and objects.",
        _allow("Objects", ["s3:Describe*", "s3:Get*", "s3:List*"]),
    ),
    _managed("CloudWatchLogsFullAccess", "Log groups, streams and events.", _allow("Logs", ["logs:*"])),
    _managed("CloudWatchLogsReadOnlyAccess", "Read log groups, streams and events.", _allow("Logs", _LOGS_READ)),
    _managed(
        "CloudWatchAgentServerPolicy",
        "What the CloudWatch agent of a node sends, and where it reads its settings.",
        _allow("Figures", [*_CLOUDWATCH_AGENT, "ec2:DescribeVolumes"]),
        _allow("Settings", ["ssm:GetParameter"], _AGENT_SETTINGS),
    ),
    _managed(
        "CloudWatchAgentAdminPolicy",
        "The same, and writing the agent's settings.",
        _allow("Figures", _CLOUDWATCH_AGENT),
        _allow("Settings", ["ssm:GetParameter", "ssm:PutParameter"], _AGENT_SETTINGS),
    ),
    _managed(
        "AWSKeyManagementServicePowerUser",
        "Make keys and see them; using them is granted by their own policies.",
        _allow(
            "Keys",
            [
                "kms:CreateAlias",
                "kms:CreateKey",
                "kms:DeleteAlias",
                "kms:GenerateRandom",
                "kms:TagResource",
                "kms:UntagResource",
                *_KMS_READ,
            ],
        ),
        _allow("Holders", ["iam:ListGroups", "iam:ListRoles", "iam:ListUsers"]),
    ),
    _managed("AWSCloudFormationFullAccess", "Stacks and stack sets.", _allow("Stacks", ["cloudformation:*"])),
    _managed("AWSCloudFormationReadOnlyAccess", "See stacks and stack sets.", _allow("Stacks", _STACKS_READ)),
    _managed(
        "AWSOrganizationsFullAccess",
        "Accounts, units and their policies.",
        _allow("Organization", ["organizations:*"]),
        _allow(
            "ServiceRole",
            ["iam:CreateServiceLinkedRole"],
            Condition={"StringEquals": {"iam:AWSServiceName": "organizations.amazonaws.com"}},
        ),
    ),
    _managed(
        "AWSOrganizationsReadOnlyAccess",
        "See accounts, units and their policies.",
        _allow("Organization", _ORGANIZATIONS_READ),
    ),
    _managed(
        "ResourceGroupsandTagEditorFullAccess",
        "Resource groups and tags.",
        _allow("Groups", ["resource-groups:*", "tag:Get*", "tag:TagResources", "tag:UntagResources"]),
        _allow(
            "Stacks",
            ["cloudformation:DescribeStacks", "cloudformation:ListStackResources", "cloudformation:ListStacks"],
        ),
    ),
    _managed(
        "ResourceGroupsandTagEditorReadOnlyAccess",
        "See resource groups and tags.",
        _allow("Groups", _GROUPS_READ),
        _allow(
            "Stacks",
            ["cloudformation:DescribeStacks", "cloudformation:ListStackResources", "cloudformation:ListStacks"],
        ),
    ),
)

AWS_POLICIES: Final[Mapping[str, ManagedPolicy]] = {policy.name: policy for policy in _ALL}
"""Name -> policy."""

MANAGED_POLICIES: Final[dict[str, Document]] = {policy.name: policy.document for policy in _ALL}
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
    """The ARN of a policy in AWS_POLICIES; KeyError for another name."""
    return AWS_POLICIES[name].arn
