"""One valid call of every operation of IAM and STS; `tests/calls.py` reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fleetward.protocol.sigv4 import Credentials
from tests.identity_provider import IdentityProvider
from tests.serving import ACCOUNT, eventually

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
PASSWORD = "Correct-Horse-9"
CHANGE_OWN = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iam:ChangePassword", "Resource": "*"}}
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


def new_profile(stage: Any) -> str:
    """A new instance profile's name."""
    name = str(stage.name())
    stage.iam("create_instance_profile", InstanceProfileName=name)
    return name


def new_provider(stage: Any) -> str:
    """A new OIDC provider's ARN; those of calls before are removed, there may be a hundred."""
    _forget_providers(stage)
    made = stage.iam("create_open_id_connect_provider", Url=f"https://{stage.name().lower()}.example.com")
    return str(made["OpenIDConnectProviderArn"])


def _forget_providers(stage: Any) -> None:
    listed = [each["Arn"] for each in stage.iam("list_open_id_connect_providers")["OpenIDConnectProviderList"]]
    if len(listed) > 80:
        keeping = set(stage.__dict__.get("_iam_kept", {}).values())
        for arn in listed:
            if arn.endswith(".example.com") and arn not in keeping:
                stage.iam("delete_open_id_connect_provider", OpenIDConnectProviderArn=arn)


def _new_provider(stage: Any) -> dict[str, Any]:
    _forget_providers(stage)
    url = f"https://{stage.name().lower()}.example.com"
    return {"Url": url, "ClientIDList": ["app"], "ThumbprintList": ["0" * 40], "Tags": TAGS}


def _provider(stage: Any) -> dict[str, Any]:
    return {"OpenIDConnectProviderArn": kept(stage, "OpenIDConnectProvider", new_provider)}


def _held_role(stage: Any) -> dict[str, Any]:
    request = {"InstanceProfileName": new_profile(stage), "RoleName": kept(stage, "Role", new_role)}
    stage.iam("add_role_to_instance_profile", **request)
    return request


def _alias(stage: Any) -> dict[str, Any]:
    stage.iam("create_account_alias", AccountAlias="calls")
    return {"AccountAlias": "calls"}


def _chosen_policy(stage: Any) -> dict[str, Any]:
    stage.iam("update_account_password_policy", MinimumPasswordLength=8)
    return {}


def _with_password(stage: Any) -> dict[str, Any]:
    user = new_user(stage)
    stage.iam("create_login_profile", UserName=user, Password=PASSWORD)
    return {"UserName": user}


def _source(stage: Any) -> dict[str, Any]:
    user = kept(stage, "User", new_user)
    return {"PolicySourceArn": f"arn:aws:iam::{ACCOUNT}:user/{user}"}


def _report(stage: Any) -> dict[str, Any]:
    eventually(lambda: stage.iam("generate_credential_report")["State"] == "COMPLETE")
    return {}


def change_password(stage: Any) -> dict[str, Any]:
    """A user's own call: its key is the stage's from then on."""
    user = _with_password(stage)["UserName"]
    stage.iam("put_user_policy", UserName=user, PolicyName="own", PolicyDocument=CHANGE_OWN)
    made = stage.iam("create_access_key", UserName=user)["AccessKey"]
    stage.user = Credentials(made["AccessKeyId"], made["SecretAccessKey"])
    return {"OldPassword": PASSWORD, "NewPassword": f"{PASSWORD}-2"}


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
    "iam:CreateAccountAlias": lambda stage: {"AccountAlias": "calls"},
    "iam:DeleteAccountAlias": _alias,
    "iam:ListAccountAliases": lambda stage: dict(PAGE),
    "iam:UpdateAccountPasswordPolicy": lambda stage: {"MinimumPasswordLength": 8, "PasswordReusePrevention": 2},
    "iam:GetAccountPasswordPolicy": _chosen_policy,
    "iam:DeleteAccountPasswordPolicy": _chosen_policy,
    "iam:GetAccountSummary": lambda stage: {},
    "iam:CreateLoginProfile": fresh("User", Password=PASSWORD, PasswordResetRequired=True),
    "iam:GetLoginProfile": _with_password,
    "iam:UpdateLoginProfile": lambda stage: {**_with_password(stage), "Password": PASSWORD},
    "iam:DeleteLoginProfile": _with_password,
    "iam:CreateInstanceProfile": named("InstanceProfileName", Path="/calls/", Tags=TAGS),
    "iam:GetInstanceProfile": lambda stage: {"InstanceProfileName": kept(stage, "profile", new_profile)},
    "iam:ListInstanceProfiles": lambda stage: {"PathPrefix": "/", **PAGE},
    "iam:ListInstanceProfilesForRole": of("Role", **PAGE),
    "iam:AddRoleToInstanceProfile": lambda stage: {
        "InstanceProfileName": new_profile(stage),
        "RoleName": kept(stage, "Role", new_role),
    },
    "iam:RemoveRoleFromInstanceProfile": _held_role,
    "iam:DeleteInstanceProfile": lambda stage: {"InstanceProfileName": new_profile(stage)},
    "iam:SimulateCustomPolicy": lambda stage: {
        "PolicyInputList": [POLICY],
        "ActionNames": ["ssm:ListNodes"],
        "ResourceArns": ["*"],
        "ContextEntries": [{"ContextKeyName": "aws:username", "ContextKeyValues": ["a"], "ContextKeyType": "string"}],
        **PAGE,
    },
    "iam:SimulatePrincipalPolicy": lambda stage: {"ActionNames": ["ssm:ListNodes"], **_source(stage)},
    "iam:GetContextKeysForCustomPolicy": lambda stage: {"PolicyInputList": [POLICY]},
    "iam:GetContextKeysForPrincipalPolicy": lambda stage: {"PolicyInputList": [POLICY], **_source(stage)},
    "iam:GenerateCredentialReport": lambda stage: {},
    "iam:GetCredentialReport": _report,
    "iam:GetAccountAuthorizationDetails": lambda stage: {"Filter": ["User", "Role"], **PAGE},
    "iam:CreateOpenIDConnectProvider": _new_provider,
    "iam:ListOpenIDConnectProviders": lambda stage: {},
    "iam:GetOpenIDConnectProvider": _provider,
    "iam:UpdateOpenIDConnectProviderThumbprint": lambda stage: {**_provider(stage), "ThumbprintList": ["1" * 40]},
    "iam:AddClientIDToOpenIDConnectProvider": lambda stage: {**_provider(stage), "ClientID": "other"},
    "iam:RemoveClientIDFromOpenIDConnectProvider": lambda stage: {**_provider(stage), "ClientID": "other"},
    "iam:DeleteOpenIDConnectProvider": lambda stage: {"OpenIDConnectProviderArn": new_provider(stage)},
    **_tagging("InstanceProfile", "InstanceProfileName", lambda stage: new_profile(stage)),
    **_tagging("OpenIDConnectProvider", "OpenIDConnectProviderArn", lambda stage: new_provider(stage)),
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


_PROVIDERS: list[IdentityProvider] = []


def _web_identity(stage: Any) -> dict[str, Any]:
    if not _PROVIDERS:
        _PROVIDERS.append(IdentityProvider())
    (provider,) = _PROVIDERS

    def role(stage: Any) -> str:
        arn = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider.host}"
        listed = stage.iam("list_open_id_connect_providers")["OpenIDConnectProviderList"]
        if arn not in [each["Arn"] for each in listed]:
            stage.iam("create_open_id_connect_provider", Url=provider.issuer, ClientIDList=["app"])
        name, trust = str(stage.name()), {"Federated": arn}
        statement = {"Effect": "Allow", "Principal": trust, "Action": "sts:AssumeRoleWithWebIdentity"}
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        stage.iam("create_role", RoleName=name, AssumeRolePolicyDocument=document)
        return f"arn:aws:iam::{ACCOUNT}:role/{name}"

    return {
        "RoleArn": kept(stage, "web role", role),
        "RoleSessionName": "a-call",
        "WebIdentityToken": provider.token(),
        "DurationSeconds": 900,
        "Policy": POLICY,
        "PolicyArns": [{"arn": READ_ONLY}],
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
    "sts:AssumeRoleWithWebIdentity": (_web_identity, "nobody"),
}
"""`sts:Operation` -> maker of its request, and who signs."""
