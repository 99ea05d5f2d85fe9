"""One valid call of every operation of IAM and STS; `tests/calls.py` reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.serving import ACCOUNT

ALLOW = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "ssm:ListNodes", "Resource": "*"}}
POLICY = json.dumps(ALLOW)
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
        },
    }
)
READ_ONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
TAGS = [{"Key": "a", "Value": "b"}]

Make = Callable[[Any], dict[str, Any]]


def kept(stage: Any, kind: str, make: Callable[[Any], str]) -> str:
    """One thing of a kind for all calls of a stage that leave it standing."""
    made: dict[str, str] = stage.__dict__.setdefault("_iam_kept", {})
    if kind not in made:
        made[kind] = make(stage)
    return made[kind]


def new_user(stage: Any) -> str:
    """A new user's name."""
    name = str(stage.name())
    stage.iam("create_user", UserName=name)
    return name


def new_group(stage: Any) -> str:
    """A new group's name."""
    name = str(stage.name())
    stage.iam("create_group", GroupName=name)
    return name


def new_role(stage: Any) -> str:
    """A new role's name."""
    name = str(stage.name())
    stage.iam("create_role", RoleName=name, AssumeRolePolicyDocument=TRUST)
    return name


def new_policy(stage: Any) -> str:
    """A new managed policy's ARN."""
    made = stage.iam("create_policy", PolicyName=stage.name(), PolicyDocument=POLICY)
    return str(made["Policy"]["Arn"])


NEW = {"User": new_user, "Group": new_group, "Role": new_role}


def of(noun: str, **more: Any) -> Make:
    """A request that names a user, group or role, and more."""
    return lambda stage: {f"{noun}Name": kept(stage, noun, NEW[noun]), **more}


def fresh(noun: str, **more: Any) -> Make:
    """As `of`, with one that nobody else uses."""
    return lambda stage: {f"{noun}Name": NEW[noun](stage), **more}


def named(member: str, **more: Any) -> Make:
    """A request for something new under a name nobody has."""
    return lambda stage: {member: stage.name(), **more}


def policy(**more: Any) -> Make:
    """A request about a managed policy."""
    return lambda stage: {"PolicyArn": kept(stage, "Policy", new_policy), **more}


def with_inline(noun: str) -> Make:
    """A request about an inline policy that exists."""

    def make(stage: Any) -> dict[str, Any]:
        owner = {f"{noun}Name": kept(stage, noun, NEW[noun])}
        stage.iam(f"put_{noun.lower()}_policy", **owner, PolicyName="inline", PolicyDocument=POLICY)
        return {**owner, "PolicyName": "inline"}

    return make


def with_attached(noun: str) -> Make:
    """A request about a managed policy that is attached."""

    def make(stage: Any) -> dict[str, Any]:
        owner = {f"{noun}Name": kept(stage, noun, NEW[noun])}
        stage.iam(f"attach_{noun.lower()}_policy", **owner, PolicyArn=READ_ONLY)
        return {**owner, "PolicyArn": READ_ONLY}

    return make


def _key(stage: Any) -> dict[str, Any]:
    user = new_user(stage)
    made = stage.iam("create_access_key", UserName=user)["AccessKey"]
    return {"UserName": user, "AccessKeyId": made["AccessKeyId"]}


def _key_id(stage: Any) -> dict[str, Any]:
    return {"AccessKeyId": kept(stage, "key", lambda stage: str(_key(stage)["AccessKeyId"]))}


def _member(stage: Any) -> dict[str, Any]:
    request = {"GroupName": kept(stage, "Group", new_group), "UserName": kept(stage, "User", new_user)}
    stage.iam("add_user_to_group", **request)
    return request


def _bound(noun: str) -> Make:
    def make(stage: Any) -> dict[str, Any]:
        owner = {f"{noun}Name": kept(stage, noun, NEW[noun])}
        stage.iam(f"put_{noun.lower()}_permissions_boundary", **owner, PermissionsBoundary=READ_ONLY)
        return owner

    return make


def _version(stage: Any) -> dict[str, Any]:
    arn = new_policy(stage)
    stage.iam("create_policy_version", PolicyArn=arn, PolicyDocument=POLICY)
    return {"PolicyArn": arn, "VersionId": "v2"}


def _linked_role(stage: Any) -> str:
    name = "AWSServiceRoleForAmazonSSM"
    if name not in [role["RoleName"] for role in stage.iam("list_roles", PathPrefix="/aws-service-role/")["Roles"]]:
        stage.iam("create_service_linked_role", AWSServiceName="ssm.amazonaws.com")
    return name


def _no_linked_role(stage: Any) -> dict[str, Any]:
    stage.iam("delete_service_linked_role", RoleName=_linked_role(stage))
    return {"AWSServiceName": "ssm.amazonaws.com", "Description": "a call"}


def _deletion(stage: Any) -> dict[str, Any]:
    task = stage.iam("delete_service_linked_role", RoleName=_linked_role(stage))["DeletionTaskId"]
    return {"DeletionTaskId": task}


def _device(stage: Any) -> str:
    made = stage.iam("create_virtual_mfa_device", VirtualMFADeviceName=stage.name())
    return str(made["VirtualMFADevice"]["SerialNumber"])


def _enabled_device(stage: Any) -> dict[str, Any]:
    from tests.one_time_codes import enable_device

    user = new_user(stage)
    serial, _ = enable_device(stage.server.client("iam"), user, stage.name())
    return {"UserName": user, "SerialNumber": serial}


def _codes(stage: Any, *, enabled: bool) -> dict[str, Any]:
    from tests.one_time_codes import codes_of, enable_device, new_device

    user, client = new_user(stage), stage.server.client("iam")
    serial, seed = enable_device(client, user, stage.name()) if enabled else new_device(client, stage.name())
    first, second = codes_of(seed, 2 if enabled else 0)
    return {
        "UserName": user,
        "SerialNumber": serial,
        "AuthenticationCode1": first,
        "AuthenticationCode2": second,
    }


def _tagging(noun: str, member: str, one: Callable[[Any], str]) -> dict[str, Make]:
    def request(stage: Any) -> dict[str, Any]:
        return {member: kept(stage, noun, one)}

    return {
        f"iam:Tag{noun}": lambda stage: {**request(stage), "Tags": TAGS},
        f"iam:Untag{noun}": lambda stage: {**request(stage), "TagKeys": ["a"]},
        f"iam:List{noun}Tags": lambda stage: {**request(stage), "MaxItems": 10},
    }


PAGE = {"MaxItems": 10}

IAM_CALLS: Mapping[str, Make] = {
    "iam:CreateUser": named("UserName", Path="/calls/", PermissionsBoundary=READ_ONLY, Tags=TAGS),
    "iam:GetUser": of("User"),
    "iam:ListUsers": lambda stage: {"PathPrefix": "/", **PAGE},
    "iam:UpdateUser": lambda stage: {"UserName": new_user(stage), "NewUserName": stage.name(), "NewPath": "/new/"},
    "iam:DeleteUser": fresh("User"),
    "iam:CreateGroup": named("GroupName", Path="/calls/"),
    "iam:GetGroup": of("Group", **PAGE),
    "iam:ListGroups": lambda stage: {"PathPrefix": "/", **PAGE},
    "iam:UpdateGroup": lambda stage: {"GroupName": new_group(stage), "NewGroupName": stage.name(), "NewPath": "/new/"},
    "iam:DeleteGroup": fresh("Group"),
    "iam:AddUserToGroup": lambda stage: {
        "GroupName": kept(stage, "Group", new_group),
        "UserName": kept(stage, "User", new_user),
    },
    "iam:RemoveUserFromGroup": _member,
    "iam:ListGroupsForUser": of("User", **PAGE),
    "iam:CreateRole": named(
        "RoleName",
        Path="/calls/",
        AssumeRolePolicyDocument=TRUST,
        Description="a call",
        MaxSessionDuration=7200,
        PermissionsBoundary=READ_ONLY,
        Tags=TAGS,
    ),
    "iam:GetRole": of("Role"),
    "iam:ListRoles": lambda stage: {"PathPrefix": "/", **PAGE},
    "iam:UpdateRole": of("Role", Description="a call", MaxSessionDuration=3600),
    "iam:UpdateRoleDescription": of("Role", Description="a call"),
    "iam:UpdateAssumeRolePolicy": of("Role", PolicyDocument=TRUST),
    "iam:DeleteRole": fresh("Role"),
    "iam:CreateServiceLinkedRole": _no_linked_role,
    "iam:DeleteServiceLinkedRole": lambda stage: {"RoleName": _linked_role(stage)},
    "iam:GetServiceLinkedRoleDeletionStatus": _deletion,
    **{f"iam:Put{noun}Policy": of(noun, PolicyName="put", PolicyDocument=POLICY) for noun in NEW},
    **{f"iam:Get{noun}Policy": with_inline(noun) for noun in NEW},
    **{f"iam:Delete{noun}Policy": with_inline(noun) for noun in NEW},
    **{f"iam:List{noun}Policies": of(noun, **PAGE) for noun in NEW},
    **{f"iam:Attach{noun}Policy": of(noun, PolicyArn=READ_ONLY) for noun in NEW},
    **{f"iam:Detach{noun}Policy": with_attached(noun) for noun in NEW},
    **{f"iam:ListAttached{noun}Policies": of(noun, PathPrefix="/", **PAGE) for noun in NEW},
    "iam:ListEntitiesForPolicy": policy(EntityFilter="User", PathPrefix="/", PolicyUsageFilter="PermissionsPolicy"),
    "iam:PutUserPermissionsBoundary": of("User", PermissionsBoundary=READ_ONLY),
    "iam:PutRolePermissionsBoundary": of("Role", PermissionsBoundary=READ_ONLY),
    "iam:DeleteUserPermissionsBoundary": _bound("User"),
    "iam:DeleteRolePermissionsBoundary": _bound("Role"),
    "iam:CreatePolicy": named("PolicyName", Path="/calls/", PolicyDocument=POLICY, Description="a call", Tags=TAGS),
    "iam:GetPolicy": policy(),
    "iam:ListPolicies": lambda stage: {"Scope": "All", "OnlyAttached": False, "PathPrefix": "/", **PAGE},
    "iam:DeletePolicy": lambda stage: {"PolicyArn": new_policy(stage)},
    "iam:CreatePolicyVersion": lambda stage: {
        "PolicyArn": new_policy(stage),
        "PolicyDocument": POLICY,
        "SetAsDefault": True,
    },
    "iam:GetPolicyVersion": policy(VersionId="v1"),
    "iam:ListPolicyVersions": policy(**PAGE),
    "iam:SetDefaultPolicyVersion": _version,
    "iam:DeletePolicyVersion": _version,
    "iam:CreateAccessKey": fresh("User"),
    "iam:ListAccessKeys": of("User", **PAGE),
    "iam:UpdateAccessKey": lambda stage: {**_key(stage), "Status": "Inactive"},
    "iam:DeleteAccessKey": _key,
    "iam:GetAccessKeyLastUsed": _key_id,
    "iam:CreateVirtualMFADevice": named("VirtualMFADeviceName", Path="/calls/", Tags=TAGS),
    "iam:EnableMFADevice": lambda stage: _codes(stage, enabled=False),
    "iam:ResyncMFADevice": lambda stage: _codes(stage, enabled=True),
    "iam:DeactivateMFADevice": _enabled_device,
    "iam:DeleteVirtualMFADevice": lambda stage: {"SerialNumber": _device(stage)},
    "iam:GetMFADevice": _enabled_device,
    "iam:ListMFADevices": of("User", **PAGE),
    "iam:ListVirtualMFADevices": lambda stage: {"AssignmentStatus": "Any", **PAGE},
    **_tagging("User", "UserName", new_user),
    **_tagging("Role", "RoleName", new_role),
    **_tagging("Policy", "PolicyArn", new_policy),
    **_tagging("MFADevice", "SerialNumber", _device),
}
"""`iam:Operation` -> maker of its request; root signs."""


def _assume(stage: Any) -> dict[str, Any]:
    return {
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{kept(stage, 'Role', new_role)}",
        "RoleSessionName": "a-call",
        "DurationSeconds": 900,
        "Policy": POLICY,
        "PolicyArns": [{"arn": READ_ONLY}],
        "Tags": TAGS,
        "TransitiveTagKeys": ["a"],
        "ExternalId": "a-call",
        "SourceIdentity": "a-call",
    }


STS_CALLS: Mapping[str, tuple[Make, str]] = {
    "sts:GetCallerIdentity": (lambda stage: {}, "root"),
    "sts:GetAccessKeyInfo": (_key_id, "root"),
    "sts:GetSessionToken": (lambda stage: {"DurationSeconds": 900}, "root"),
    "sts:GetFederationToken": (
        lambda stage: {"Name": "a-call", "Policy": POLICY, "DurationSeconds": 900, "Tags": TAGS},
        "root",
    ),
    "sts:AssumeRole": (_assume, "root"),
}
"""`sts:Operation` -> maker of its request, and who signs."""
