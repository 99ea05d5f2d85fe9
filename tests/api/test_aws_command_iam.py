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
