"""Access keys: two for each user, switched off and deleted within a second, their last use remembered."""

from __future__ import annotations

from typing import Any

from fleetward.protocol.sigv4 import Credentials
from tests.identities import allow, fresh, new_user, refusal, refused
from tests.serving import ServerProcess, eventually
from tests.trail import bodies, trail


def test_a_user_has_two_keys_and_secrets_are_shown_once(iam: Any) -> None:
    name = fresh("user")
    iam.create_user(UserName=name)
    made = [iam.create_access_key(UserName=name)["AccessKey"] for _ in range(2)]
    assert all(each["AccessKeyId"].startswith("AKIA") and len(each["SecretAccessKey"]) == 40 for each in made)
    assert refused(iam.create_access_key, UserName=name) == (
        "LimitExceeded",
        409,
        "Cannot exceed quota for AccessKeysPerUser: 2",
    )
    listed = iam.list_access_keys(UserName=name)["AccessKeyMetadata"]
    assert sorted(each["AccessKeyId"] for each in listed) == sorted(each["AccessKeyId"] for each in made)
    assert {each["Status"] for each in listed} == {"Active"}
    assert not [each for each in listed if "SecretAccessKey" in each]


def test_a_key_that_is_off_is_refused_within_a_second_and_good_when_on_again(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("ssm:ListNodes"))
    assert serving.call("ListNodes", {}, keys).status == 200
    request = {"UserName": name, "AccessKeyId": keys.access_key_id}
    iam.update_access_key(**request, Status="Inactive")
    eventually(lambda: serving.call("ListNodes", {}, keys).code == "UnrecognizedClientException", within=1.0)
    assert iam.list_access_keys(UserName=name)["AccessKeyMetadata"][0]["Status"] == "Inactive"
    iam.update_access_key(**request, Status="Active")
    eventually(lambda: serving.call("ListNodes", {}, keys).status == 200, within=1.0)


def test_a_deleted_key_is_refused_within_a_second(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("ssm:ListNodes"))
    assert serving.call("ListNodes", {}, keys).status == 200
    iam.delete_access_key(UserName=name, AccessKeyId=keys.access_key_id)
    eventually(lambda: serving.call("ListNodes", {}, keys).code == "UnrecognizedClientException", within=1.0)
    assert refused(iam.delete_access_key, UserName=name, AccessKeyId=keys.access_key_id) == (
        "NoSuchEntity",
        404,
        f"The Access Key with id {keys.access_key_id} cannot be found.",
    )


def test_keys_of_others_cannot_be_touched(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving)
    other, _ = new_user(serving)
    assert refusal(iam.delete_access_key, UserName=other, AccessKeyId=keys.access_key_id) == "NoSuchEntity"
    update = {"AccessKeyId": keys.access_key_id, "Status": "Inactive"}
    assert refusal(iam.update_access_key, UserName=other, **update) == "NoSuchEntity"
    assert iam.list_access_keys(UserName=name)["AccessKeyMetadata"][0]["Status"] == "Active"
    assert refusal(iam.update_access_key, UserName=name, AccessKeyId=keys.access_key_id, Status="Expired") == (
        "InvalidInput"
    )


def test_a_role_names_the_user_whose_keys_it_means(serving: ServerProcess) -> None:
    keys = serving.role("Administrator")
    assert refused(serving.client("iam", keys).create_access_key)[2] == (
        "Must specify userName when calling with non-User credentials"
    )


def test_the_last_use_of_a_key_is_written_down_once_a_minute(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("ssm:ListNodes"))
    shown = iam.get_access_key_last_used(AccessKeyId=keys.access_key_id)
    assert (shown["UserName"], shown["AccessKeyLastUsed"]["ServiceName"]) == (name, "N/A")
    assert "LastUsedDate" not in shown["AccessKeyLastUsed"]

    def last_use() -> dict[str, Any]:
        used: dict[str, Any] = iam.get_access_key_last_used(AccessKeyId=keys.access_key_id)["AccessKeyLastUsed"]
        return used

    for _ in range(3):
        assert serving.call("ListNodes", {}, keys).status == 200
    used = eventually(lambda: last_use() if "LastUsedDate" in last_use() else None, within=5.0)
    assert (used["ServiceName"], used["Region"]) == ("ssm", "us-east-1")
    serving.client("sts", keys).get_caller_identity()
    assert last_use() == used
    assert refusal(iam.get_access_key_last_used, AccessKeyId="AKIA" + "X" * 16) == "NoSuchEntity"


def test_root_makes_and_deletes_keys_of_its_own(serving: ServerProcess, iam: Any) -> None:
    made = iam.create_access_key()["AccessKey"]
    second = Credentials(made["AccessKeyId"], made["SecretAccessKey"])
    assert serving.client("sts", second).get_caller_identity()["Arn"].endswith(":root")
    assert refusal(iam.create_access_key) == "LimitExceeded"
    iam.delete_access_key(AccessKeyId=second.access_key_id)
    eventually(lambda: serving.call("ListNodes", {}, second).code == "UnrecognizedClientException", within=1.0)


def test_secrets_stand_in_no_log_and_no_audit_record(serving: ServerProcess, iam: Any) -> None:
    name, keys = new_user(serving, allow("ssm:ListNodes"))
    serving.client("ssm", keys).list_nodes()

    records = trail(serving, name)
    assert {"CreateAccessKey", "CreateUser"} <= {record["eventName"] for record in records}
    assert not [body for body in bodies(serving) if keys.secret_access_key in body]
    assert keys.secret_access_key not in serving.log.read_text()
