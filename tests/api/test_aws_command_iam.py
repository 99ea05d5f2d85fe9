"""The `aws` command drives every operation of IAM and STS."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetward.server import sts
from fleetward.server.iam.service import iam
from tests.api.test_aws_command import Aws, aws  # noqa: F401  (a fixture)
from tests.calls_iam import POLICY, READ_ONLY, TAGS, TRUST
from tests.one_time_codes import codes_of
from tests.serving import eventually

# ruff: noqa: F811


def new(aws: Aws, kind: str) -> str:
    """A new user's, group's or role's name."""
    name = str(aws.stage.name())
    trust = {"assume_role_policy_document": TRUST} if kind == "role" else {}
    aws(f"iam create-{kind}", **{f"{kind}_name": name}, **trust)
    return name


def users(aws: Aws, folder: Path) -> None:
    name = aws.stage.name()
    aws("iam create-user", user_name=name, path="/cli/", tags=TAGS)
    assert name in [user["UserName"] for user in aws("iam list-users", path_prefix="/cli/")["Users"]]
    aws("iam update-user", user_name=name, new_path="/moved/")
    assert aws("iam get-user", user_name=name)["User"]["Path"] == "/moved/"
    aws("iam put-user-permissions-boundary", user_name=name, permissions_boundary=READ_ONLY)
    assert aws("iam get-user", user_name=name)["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == READ_ONLY
    aws("iam delete-user-permissions-boundary", user_name=name)
    aws("iam put-user-policy", user_name=name, policy_name="own", policy_document=POLICY)
    assert aws("iam list-user-policies", user_name=name)["PolicyNames"] == ["own"]
    assert aws("iam get-user-policy", user_name=name, policy_name="own")["PolicyDocument"]["Statement"]
    aws("iam delete-user-policy", user_name=name, policy_name="own")
    aws("iam attach-user-policy", user_name=name, policy_arn=READ_ONLY)
    assert len(aws("iam list-attached-user-policies", user_name=name)["AttachedPolicies"]) == 1
    aws("iam detach-user-policy", user_name=name, policy_arn=READ_ONLY)
    aws("iam tag-user", user_name=name, tags=[{"Key": "c", "Value": "d"}])
    aws("iam untag-user", user_name=name, tag_keys=["a"])
    assert aws("iam list-user-tags", user_name=name)["Tags"] == [{"Key": "c", "Value": "d"}]
    aws("iam delete-user", user_name=name)


def groups(aws: Aws, folder: Path) -> None:
    group, user = new(aws, "group"), new(aws, "user")
    aws("iam add-user-to-group", group_name=group, user_name=user)
    assert [each["UserName"] for each in aws("iam get-group", group_name=group)["Users"]] == [user]
    assert [each["GroupName"] for each in aws("iam list-groups-for-user", user_name=user)["Groups"]] == [group]
    assert group in [each["GroupName"] for each in aws("iam list-groups")["Groups"]]
    aws("iam put-group-policy", group_name=group, policy_name="own", policy_document=POLICY)
    assert aws("iam list-group-policies", group_name=group)["PolicyNames"] == ["own"]
    assert aws("iam get-group-policy", group_name=group, policy_name="own")["GroupName"] == group
    aws("iam delete-group-policy", group_name=group, policy_name="own")
    aws("iam attach-group-policy", group_name=group, policy_arn=READ_ONLY)
    assert len(aws("iam list-attached-group-policies", group_name=group)["AttachedPolicies"]) == 1
    aws("iam detach-group-policy", group_name=group, policy_arn=READ_ONLY)
    aws("iam remove-user-from-group", group_name=group, user_name=user)
    aws("iam update-group", group_name=group, new_group_name=f"{group}-new")
    aws("iam delete-group", group_name=f"{group}-new")


def roles(aws: Aws, folder: Path) -> None:
    role = new(aws, "role")
    aws("iam update-role", role_name=role, description="one", max_session_duration="7200")
    aws("iam update-role-description", role_name=role, description="two")
    shown = aws("iam get-role", role_name=role)["Role"]
    assert (shown["Description"], shown["MaxSessionDuration"]) == ("two", 7200)
    assert role in [each["RoleName"] for each in aws("iam list-roles")["Roles"]]
    aws("iam update-assume-role-policy", role_name=role, policy_document=TRUST)
    aws("iam put-role-permissions-boundary", role_name=role, permissions_boundary=READ_ONLY)
    aws("iam delete-role-permissions-boundary", role_name=role)
    aws("iam put-role-policy", role_name=role, policy_name="own", policy_document=POLICY)
    assert aws("iam list-role-policies", role_name=role)["PolicyNames"] == ["own"]
    assert aws("iam get-role-policy", role_name=role, policy_name="own")["RoleName"] == role
    aws("iam delete-role-policy", role_name=role, policy_name="own")
    aws("iam attach-role-policy", role_name=role, policy_arn=READ_ONLY)
    assert len(aws("iam list-attached-role-policies", role_name=role)["AttachedPolicies"]) == 1
    aws("iam detach-role-policy", role_name=role, policy_arn=READ_ONLY)
    aws("iam tag-role", role_name=role, tags=TAGS)
    assert aws("iam list-role-tags", role_name=role)["Tags"] == TAGS
    aws("iam untag-role", role_name=role, tag_keys=["a"])
    aws("iam delete-role", role_name=role)


def roles_of_services(aws: Aws, folder: Path) -> None:
    service = "accountdiscovery.ssm.amazonaws.com"
    made = aws("iam create-service-linked-role", aws_service_name=service)["Role"]["RoleName"]
    task = aws("iam delete-service-linked-role", role_name=made)["DeletionTaskId"]
    assert aws("iam get-service-linked-role-deletion-status", deletion_task_id=task)["Status"] == "SUCCEEDED"


def policies(aws: Aws, folder: Path) -> None:
    made = aws("iam create-policy", policy_name=aws.stage.name(), policy_document=POLICY)["Policy"]
    one = {"policy_arn": made["Arn"]}
    aws("iam create-policy-version", **one, policy_document=POLICY)
    aws("iam set-default-policy-version", **one, version_id="v2")
    assert aws("iam get-policy", **one)["Policy"]["DefaultVersionId"] == "v2"
    assert aws("iam get-policy-version", **one, version_id="v1")["PolicyVersion"]["Document"]["Statement"]
    aws("iam delete-policy-version", **one, version_id="v1")
    assert len(aws("iam list-policy-versions", **one)["Versions"]) == 1
    assert made["Arn"] in [each["Arn"] for each in aws("iam list-policies", scope="Local")["Policies"]]
    assert aws("iam list-entities-for-policy", **one)["PolicyUsers"] == []
    aws("iam tag-policy", **one, tags=TAGS)
    assert aws("iam list-policy-tags", **one)["Tags"] == TAGS
    aws("iam untag-policy", **one, tag_keys=["a"])
    aws("iam delete-policy", **one)


def access_keys(aws: Aws, folder: Path) -> None:
    user = new(aws, "user")
    key = aws("iam create-access-key", user_name=user)["AccessKey"]["AccessKeyId"]
    aws("iam update-access-key", user_name=user, access_key_id=key, status="Inactive")
    assert aws("iam list-access-keys", user_name=user)["AccessKeyMetadata"][0]["Status"] == "Inactive"
    assert aws("iam get-access-key-last-used", access_key_id=key)["UserName"] == user
    assert aws("sts get-access-key-info", access_key_id=key)["Account"]
    aws("iam delete-access-key", user_name=user, access_key_id=key)


def devices(aws: Aws, folder: Path) -> None:
    user, file = new(aws, "user"), folder / "seed"
    outfile = {"outfile": str(file), "bootstrap_method": "Base32StringSeed"}
    made = aws("iam create-virtual-mfa-device", virtual_mfa_device_name=aws.stage.name(), **outfile)
    serial, seed = made["VirtualMFADevice"]["SerialNumber"], file.read_text()
    one = {"user_name": user, "serial_number": serial}
    first, second = codes_of(seed, -1)
    aws("iam enable-mfa-device", **one, authentication_code1=first, authentication_code2=second)
    first, second = codes_of(seed, 1)
    aws("iam resync-mfa-device", **one, authentication_code1=first, authentication_code2=second)
    assert [each["SerialNumber"] for each in aws("iam list-mfa-devices", user_name=user)["MFADevices"]] == [serial]
    assert aws("iam get-mfa-device", serial_number=serial)["UserName"] == user
    listed = aws("iam list-virtual-mfa-devices", assignment_status="Assigned")["VirtualMFADevices"]
    assert serial in [each["SerialNumber"] for each in listed]
    aws("iam tag-mfa-device", serial_number=serial, tags=TAGS)
    assert aws("iam list-mfa-device-tags", serial_number=serial)["Tags"] == TAGS
    aws("iam untag-mfa-device", serial_number=serial, tag_keys=["a"])
    aws("iam deactivate-mfa-device", **one)
    aws("iam delete-virtual-mfa-device", serial_number=serial)


def passwords(aws: Aws, folder: Path) -> None:
    aws("iam update-account-password-policy", minimum_password_length="10", allow_users_to_change_password=True)
    assert aws("iam get-account-password-policy")["PasswordPolicy"]["MinimumPasswordLength"] == 10
    user, chosen = new(aws, "user"), "Correct-Horse-1"
    aws("iam create-login-profile", user_name=user, password=chosen)
    assert aws("iam get-login-profile", user_name=user)["LoginProfile"]["UserName"] == user
    aws("iam update-login-profile", user_name=user, password_reset_required=True)
    key = aws("iam create-access-key", user_name=user)["AccessKey"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        patched.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        aws("iam change-password", old_password=chosen, new_password=f"{chosen}-2")
    aws("iam delete-login-profile", user_name=user)
    aws("iam delete-account-password-policy")


def account(aws: Aws, folder: Path) -> None:
    aws("iam create-account-alias", account_alias="from-aws")
    assert aws("iam list-account-aliases")["AccountAliases"] == ["from-aws"]
    aws("iam delete-account-alias", account_alias="from-aws")
    assert aws("iam get-account-summary")["SummaryMap"]["UsersQuota"] == 5000
    details = aws("iam get-account-authorization-details", filter=["Role"], max_items="3")
    assert len(details["RoleDetailList"]) >= 3
    eventually(lambda: aws("iam generate-credential-report")["State"] == "COMPLETE")
    assert aws("iam get-credential-report")["ReportFormat"] == "text/csv"


def instance_profiles(aws: Aws, folder: Path) -> None:
    name, role = aws.stage.name(), new(aws, "role")
    one = {"instance_profile_name": name}
    aws("iam create-instance-profile", **one)
    aws("iam add-role-to-instance-profile", **one, role_name=role)
    assert aws("iam get-instance-profile", **one)["InstanceProfile"]["Roles"][0]["RoleName"] == role
    assert len(aws("iam list-instance-profiles-for-role", role_name=role)["InstanceProfiles"]) == 1
    aws("iam remove-role-from-instance-profile", **one, role_name=role)
    aws("iam tag-instance-profile", **one, tags=TAGS)
    assert aws("iam list-instance-profile-tags", **one)["Tags"] == TAGS
    aws("iam untag-instance-profile", **one, tag_keys=["a"])
    assert name in [each["InstanceProfileName"] for each in aws("iam list-instance-profiles")["InstanceProfiles"]]
    aws("iam delete-instance-profile", **one)


def simulations(aws: Aws, folder: Path) -> None:
    role = aws("iam get-role", role_name="ReadOnly")["Role"]["Arn"]
    asked = {"action_names": ["ssm:ListNodes"]}
    (told,) = aws("iam simulate-principal-policy", policy_source_arn=role, **asked)["EvaluationResults"]
    assert told["EvalDecision"] == "allowed"
    (told,) = aws("iam simulate-custom-policy", policy_input_list=[POLICY], **asked)["EvaluationResults"]
    assert told["EvalDecision"] == "allowed"
    assert aws("iam get-context-keys-for-custom-policy", policy_input_list=[POLICY])["ContextKeyNames"] == []
    assert "ContextKeyNames" in aws("iam get-context-keys-for-principal-policy", policy_source_arn=role)


def providers(aws: Aws, folder: Path) -> None:
    url = f"https://{aws.stage.name().lower()}.example.com"
    made = aws("iam create-open-id-connect-provider", url=url, client_id_list=["app"])
    one = {"open_id_connect_provider_arn": made["OpenIDConnectProviderArn"]}
    aws("iam add-client-id-to-open-id-connect-provider", **one, client_id="other")
    aws("iam remove-client-id-from-open-id-connect-provider", **one, client_id="app")
    aws("iam update-open-id-connect-provider-thumbprint", **one, thumbprint_list=["a" * 40])
    assert aws("iam get-open-id-connect-provider", **one)["ClientIDList"] == ["other"]
    aws("iam tag-open-id-connect-provider", **one, tags=TAGS)
    assert aws("iam list-open-id-connect-provider-tags", **one)["Tags"] == TAGS
    aws("iam untag-open-id-connect-provider", **one, tag_keys=["a"])
    assert made["OpenIDConnectProviderArn"] in [
        each["Arn"] for each in aws("iam list-open-id-connect-providers")["OpenIDConnectProviderList"]
    ]
    aws("iam delete-open-id-connect-provider", **one)


def credentials(aws: Aws, folder: Path) -> None:
    assert aws("sts get-caller-identity")["Arn"].endswith(":root")
    assert aws("sts get-session-token", duration_seconds="900")["Credentials"]["SessionToken"]
    made = aws("sts get-federation-token", name="guest", policy=POLICY)
    assert made["FederatedUser"]["Arn"].endswith(":federated-user/guest")
    arn = aws("iam get-role", role_name="ReadOnly")["Role"]["Arn"]
    made = aws("sts assume-role", role_arn=arn, role_session_name="cli")
    assert made["AssumedRoleUser"]["Arn"].endswith("assumed-role/ReadOnly/cli")


JOURNEYS: tuple[Callable[[Aws, Path], None], ...] = (
    users,
    groups,
    roles,
    roles_of_services,
    policies,
    access_keys,
    devices,
    passwords,
    account,
    instance_profiles,
    simulations,
    providers,
    credentials,
)


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.__name__)
def test_the_aws_command_drives(aws: Aws, tmp_path: Path, journey: Callable[[Aws, Path], None]) -> None:
    """Each journey calls operations and sees their effect through others."""
    journey(aws, tmp_path)


@pytest.mark.parametrize("service", [iam, sts.sts], ids=lambda service: str(service.name))
def test_every_operation_is_driven(service: Any) -> None:
    """What the journeys call is all that is offered to operators."""
    called = re.findall(rf'aws\(\s*"{service.name} ([a-z0-9-]+)', Path(__file__).read_text())
    driven = {name.replace("-", "") for name in called} | {"createuser", "creategroup", "createrole"}
    offered = {name.lower() for name, entry in service.operations.items() if entry.audience != "anyone"}
    assert offered - driven == set()
