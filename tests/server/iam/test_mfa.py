"""MFA: devices are enabled by two codes, sign in by one, use each code once, and pause after wrong ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fleetward.server.iam import mfa
from tests.identities import allow, deny, fresh, keys_of, new_user, refusal, refused
from tests.one_time_codes import codes_of, enable_device, new_device
from tests.serving import ACCOUNT, ServerProcess

SEED = b"12345678901234567890"


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_the_rfcs_examples(seconds: int, code: str) -> None:
    """RFC 6238, appendix B, SHA-1; the last six digits."""
    assert mfa.code_at(SEED, mfa.step_at(datetime.fromtimestamp(seconds, UTC))) == code


def test_a_code_counts_a_step_early_or_late_and_once() -> None:
    present = 1000
    for step in (999, 1000, 1001):
        code = mfa.code_at(SEED, step)
        assert mfa.matching_step(SEED, code, present, after=0) == step
        assert mfa.matching_step(SEED, code, present, after=step) is None
    for step in (998, 1002):
        assert mfa.matching_step(SEED, mfa.code_at(SEED, step), present, after=0) is None


def test_a_device_is_made_enabled_shown_deactivated_and_deleted(iam: Any) -> None:
    user, name = fresh("user"), fresh("device")
    iam.create_user(UserName=user)
    serial, seed = new_device(iam, name)
    assert serial == f"arn:aws:iam::{ACCOUNT}:mfa/{name}"
    assert serial in serials(iam, "Unassigned")
    first, second = codes_of(seed, -1)
    request = {"UserName": user, "SerialNumber": serial}
    wrong = refused(iam.enable_mfa_device, **request, AuthenticationCode1=first, AuthenticationCode2=first)
    assert wrong[:2] == ("InvalidAuthenticationCode", 403)
    iam.enable_mfa_device(**request, AuthenticationCode1=first, AuthenticationCode2=second)
    assert [each["SerialNumber"] for each in iam.list_mfa_devices(UserName=user)["MFADevices"]] == [serial]
    assert iam.get_mfa_device(SerialNumber=serial)["UserName"] == user
    assert serial in serials(iam, "Assigned")
    assert serial not in serials(iam, "Unassigned")
    assert refusal(iam.delete_virtual_mfa_device, SerialNumber=serial) == "DeleteConflict"
    assert refused(iam.delete_user, UserName=user)[2] == "Cannot delete entity, must delete MFA device first."
    third, fourth = codes_of(seed, 1)
    iam.resync_mfa_device(**request, AuthenticationCode1=third, AuthenticationCode2=fourth)
    again = {"AuthenticationCode1": third, "AuthenticationCode2": fourth}
    assert refusal(iam.resync_mfa_device, **request, **again) == "InvalidAuthenticationCode"
    iam.deactivate_mfa_device(**request)
    assert iam.list_mfa_devices(UserName=user)["MFADevices"] == []
    iam.delete_virtual_mfa_device(SerialNumber=serial)
    assert refusal(iam.get_mfa_device, SerialNumber=serial) == "NoSuchEntity"


def serials(iam: Any, status: str) -> list[str]:
    """The devices of an assignment status, read in small pages."""
    pages = iam.get_paginator("list_virtual_mfa_devices").paginate(
        AssignmentStatus=status, PaginationConfig={"PageSize": 3}
    )
    return [device["SerialNumber"] for page in pages for device in page["VirtualMFADevices"]]


def test_a_right_code_makes_a_session_with_a_second_factor_and_is_used_up(serving: ServerProcess, iam: Any) -> None:
    factor = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    name, keys = new_user(serving, allow("ssm:ListNodes", Condition=factor))
    serial, seed = enable_device(iam, name, fresh("device"))
    sts = serving.client("sts", keys)
    assert serving.call("ListNodes", {}, keys).code == "AccessDeniedException"
    assert serving.call("ListNodes", {}, keys_of(sts.get_session_token())).code == "AccessDeniedException"
    _, code = codes_of(seed)
    session = keys_of(sts.get_session_token(SerialNumber=serial, TokenCode=code))
    assert serving.call("ListNodes", {}, session).status == 200
    assert refusal(sts.get_session_token, SerialNumber=serial, TokenCode=code) == "AccessDenied"


def test_a_device_pauses_after_five_wrong_codes(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving)
    serial, seed = enable_device(iam, name, fresh("device"))
    sts, (_, right) = serving.client("sts", keys), codes_of(seed)
    wrong = str((int(right) + 500_000) % 1_000_000).zfill(6)
    for _ in range(5):
        assert refusal(sts.get_session_token, SerialNumber=serial, TokenCode=wrong) == "AccessDenied"
    code, _, message = refused(sts.get_session_token, SerialNumber=serial, TokenCode=right)
    assert code == "AccessDenied"
    assert "too many wrong codes" in message


def test_a_device_of_another_user_does_not_count(serving: ServerProcess, iam: Any) -> None:
    name, _ = new_user(serving)
    _, keys = new_user(serving)
    serial, seed = enable_device(iam, name, fresh("device"))
    sts = serving.client("sts", keys)
    assert refusal(sts.get_session_token, SerialNumber=serial, TokenCode=codes_of(seed)[1]) == "AccessDenied"


def test_codes_stand_in_no_audit_record(serving: ServerProcess, iam: Any) -> None:
    from tests.trail import trail

    name, keys = new_user(serving, deny("ssm:ListNodes"))
    serial, seed = enable_device(iam, name, fresh("device"))
    _, code = codes_of(seed)
    serving.client("sts", keys).get_session_token(SerialNumber=serial, TokenCode=code)
    records = trail(serving, serial)
    assert {record["eventName"] for record in records} >= {"EnableMFADevice", "GetSessionToken"}
    session = next(record for record in records if record["eventName"] == "GetSessionToken")
    assert session["requestParameters"]["TokenCode"] == "HIDDEN_DUE_TO_SECURITY_REASONS"
    enabled = next(record for record in records if record["eventName"] == "EnableMFADevice")
    assert enabled["requestParameters"]["AuthenticationCode1"] == "HIDDEN_DUE_TO_SECURITY_REASONS"
