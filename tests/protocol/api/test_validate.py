"""AWS's wording of constraint faults, and the time limit of patterns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from fleetward.protocol.api import aws_json
from fleetward.protocol.api.model import Member, ServiceModel, Shape
from fleetward.protocol.api.validate import MOST_LISTED, check, check_result, faults_message

NODE = "mi-0123456789abcdef0"
NODE_PATTERN = r"(^i-(\w{8}|\w{17})$)|(^mi-\w{17}$)"
Load = Callable[[str], ServiceModel]


def message(load: Load, operation: str, request: dict[str, Any], service: str = "ssm") -> str:
    shape = load(service).operations[operation].input
    assert shape is not None
    violations = check(shape, request)
    return faults_message(violations) if violations else ""


def one(text: str) -> str:
    return f"1 validation error detected: {text}"


def test_a_valid_request_has_no_violations(load: Load) -> None:
    request = {"DocumentName": "AWS-RunShellScript", "InstanceIds": [NODE], "Parameters": {"commands": ["true"]}}
    assert message(load, "SendCommand", request) == ""


@pytest.mark.parametrize(
    ("operation", "request_members", "wording"),
    [
        ("GetDocument", {}, "Value null at 'name' failed to satisfy constraint: Member must not be null"),
        (
            "SendCommand",
            {"DocumentName": "AWS-RunShellScript", "Comment": "x" * 101},
            (
                f"Value '{'x' * 101}' at 'comment' failed to satisfy constraint: "
                "Member must have length less than or equal to 100"
            ),
        ),
        (
            "SendCommand",
            {"DocumentName": "AWS-RunShellScript", "TimeoutSeconds": 29},
            (
                "Value '29' at 'timeoutSeconds' failed to satisfy constraint: "
                "Member must have value greater than or equal to 30"
            ),
        ),
        (
            "DescribeActivations",
            {"MaxResults": 51},
            "Value '51' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 50",
        ),
        (
            "SendCommand",
            {"DocumentName": "AWS-RunShellScript", "DocumentHashType": "Md5"},
            (
                "Value 'Md5' at 'documentHashType' failed to satisfy constraint: "
                "Member must satisfy enum value set: [Sha256, Sha1]"
            ),
        ),
        (
            "DeregisterManagedInstance",
            {"InstanceId": "mi-0123456789ABCDEF0"},
            (
                "Value 'mi-0123456789ABCDEF0' at 'instanceId' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: "
                r"(^mi-[0-9a-f]{17}$)|(^eks_c:[0-9A-Za-z][A-Za-z0-9\-_]{0,99}_\w{17}$)"
            ),
        ),
        (
            "SendCommand",
            {"DocumentName": "AWS-RunShellScript", "InstanceIds": [NODE, "nonsense"]},
            (
                f"Value '[{NODE}, nonsense]' at 'instanceIds' failed to satisfy constraint: Member must satisfy "
                f"constraint: [Member must satisfy regular expression pattern: {NODE_PATTERN}]"
            ),
        ),
        (
            "SendCommand",
            {"DocumentName": "AWS-RunShellScript", "Targets": [{"Key": "tag:a"}, {"Key": ""}]},
            (
                "Value '' at 'targets.2.member.key' failed to satisfy constraint: "
                "Member must have length greater than or equal to 1"
            ),
        ),
        (
            "SendCommand",
            {"DocumentName": "AWS-RunShellScript", "InstanceIds": [NODE] * 51},
            (
                f"Value '[{', '.join([NODE] * 51)}' at 'instanceIds' failed to satisfy constraint: "
                "Member must have length less than or equal to 50"
            ),
        ),
    ],
)
def test_wording(load: Load, operation: str, request_members: dict[str, Any], wording: str) -> None:
    found = message(load, operation, request_members)
    if len(wording) > 1000:
        assert found.startswith(one(wording)[:900])
        assert found.endswith(wording[-80:])
    else:
        assert found == one(wording)


def test_several_violations_are_counted_and_joined_in_the_models_order(load: Load) -> None:
    found = message(load, "CreateActivation", {"RegistrationLimit": 0, "IamRole": "r" * 65})
    assert found.startswith("2 validation errors detected: Value 'rrr")
    assert "; Value '0' at 'registrationLimit' failed" in found


def test_at_most_ten_violations_are_worded(load: Load) -> None:
    request = {"ResourceType": "ManagedInstance", "ResourceId": NODE, "Tags": [{"Key": "", "Value": "v"}] * 30}
    found = message(load, "AddTagsToResource", request)
    assert found.startswith("30 validation errors detected: ")
    assert found.count("; ") == MOST_LISTED - 1


def test_sensitive_values_are_not_shown(load: Load) -> None:
    code = "tooshort"
    request = {"ActivationId": "0" * 36, "ActivationCode": code, "PublicKey": "A" * 392, "PublicKeyType": "Rsa"}
    found = message(load, "RegisterManagedInstance", request | {"Fingerprint": "f"})
    assert "Value at 'activationCode' failed to satisfy constraint: Member must have length greater" in found
    assert code not in found


def test_values_around_sensitive_ones_are_not_shown() -> None:
    secret = Shape("Secret", "string", sensitive=True)
    inner = Shape("Inner", "structure", members={"Secret": Member("Secret", secret, "Secret")})
    many = Shape("Many", "list", element=Member("member", inner, "member"), max=1)
    outer = Shape("Outer", "structure", members={"Many": Member("Many", many, "Many")})
    text = faults_message(check(outer, {"Many": [{"Secret": "s3cr3t"}] * 2}))
    assert text.startswith("1 validation error detected: Value at 'many' failed")
    assert "s3cr3t" not in text


def test_map_keys_and_values_are_checked_together(load: Load) -> None:
    request = {"PackageName": "p", "PackageVersion": "1", "Operation": "Install", "Result": 0}
    found = message(load, "PutConfigurePackageResult", request | {"Attributes": {"k" * 257: "v"}})
    assert "at 'attributes' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have" in found


UUID = "885ddcb7-0926-4e2b-ac87-931f23172f84"
MESSAGE = f"aws.ssm.{UUID}.{NODE}"
FULL_PING = {
    "AgentName": "amazon-ssm-agent",
    "AgentStatus": "Active",
    "AgentVersion": "3.3.0.0",
    "AvailabilityZone": "",
    "AvailabilityZoneId": "",
    "ComputerName": "vm",
    "IPAddress": "192.0.2.2",
    "InstanceId": NODE,
    "PlatformName": "Debian GNU/Linux",
    "PlatformType": "Linux",
    "PlatformVersion": "12",
    "SSMConnectionChannel": "",
}
ASSOCIATION_RESULT = {"Status": "Pending", "ErrorCode": "", "ExecutionDate": 1795378024.157, "ExecutionSummary": ""}
COMPLIANCE = {
    "ResourceId": NODE,
    "ResourceType": "ManagedInstance",
    "ComplianceType": "Association",
    "ExecutionSummary": {"ExecutionTime": 1795378039.5, "ExecutionId": "", "ExecutionType": ""},
    "ItemContentHash": "aP9kOK/5hWXo4mcgoEV+NA==",
    "Items": [{"Id": UUID, "Title": "", "Severity": "UNSPECIFIED", "Status": "COMPLIANT", "Details": {"a": "1"}}],
}
INVENTORY_ITEM = {"TypeName": "AWS:File", "SchemaVersion": "1.0", "CaptureTime": "2026-11-22T20:07:05Z", "Content": []}
PACKAGE_RESULT = {
    "PackageName": "MyPkg",
    "PackageVersion": "1.0.0",
    "PreviousPackageVersion": "",
    "Operation": "Install",
    "OverallTiming": 1234,
    "Result": 0,
    "Attributes": {"platformName": "debian", "availabilityZone": ""},
    "Steps": [{"Action": "> download manifest", "Result": 0, "Timing": 0}],
}
REGISTRATION = {
    "ActivationCode": "oqdvM_mOtK8NPYzW0oKS",
    "ActivationId": UUID,
    "Fingerprint": UUID,
    "PublicKey": "MIIB/+" * 65 + "AQAB==",
    "PublicKeyType": "Rsa",
}


@pytest.mark.parametrize(
    ("service", "operation", "request_members"),
    [
        ("ssm", "RegisterManagedInstance", REGISTRATION),
        ("ssm", "RequestManagedInstanceRoleToken", {"Fingerprint": UUID}),
        ("ssm", "UpdateManagedInstancePublicKey", {"NewPublicKey": "M" * 392, "NewPublicKeyType": "Rsa"}),
        ("ssm", "UpdateInstanceInformation", FULL_PING),
        ("ssm", "ListInstanceAssociations", {"InstanceId": NODE, "MaxResults": 20}),
        (
            "ssm",
            "UpdateInstanceAssociationStatus",
            {"AssociationId": UUID, "InstanceId": NODE, "ExecutionResult": ASSOCIATION_RESULT},
        ),
        ("ssm", "PutComplianceItems", COMPLIANCE),
        ("ssm", "PutInventory", {"InstanceId": NODE, "Items": [INVENTORY_ITEM]}),
        ("ssm", "GetManifest", {"PackageName": "MyPkg", "PackageVersion": "latest"}),
        ("ssm", "PutConfigurePackageResult", PACKAGE_RESULT),
        (
            "ec2messages",
            "GetMessages",
            {"Destination": NODE, "MessagesRequestId": UUID, "VisibilityTimeoutInSeconds": 10},
        ),
        ("ec2messages", "AcknowledgeMessage", {"MessageId": MESSAGE}),
        ("ec2messages", "SendReply", {"MessageId": MESSAGE, "Payload": "{}", "ReplyId": UUID}),
        ("ec2messages", "FailMessage", {"MessageId": MESSAGE, "FailureType": "NoHandlerExists"}),
    ],
)
def test_what_the_official_agent_sends_is_read_whole_and_valid(
    load: Load, service: str, operation: str, request_members: dict[str, Any]
) -> None:
    described = load(service).operations[operation]
    found = aws_json.parse_request(described, orjson.dumps(request_members))
    assert set(found) == set(request_members)
    assert message(load, operation, found, service) == ""


def text_shape(pattern: str, **bounds: int) -> Shape:
    return Shape("Text", "string", pattern=pattern, **bounds)


def test_a_whole_value_has_to_match() -> None:
    assert check(text_shape("[a-z]+"), "abc") == []
    assert check(text_shape("[a-z]+"), "abc!")
    assert check(text_shape("^[a-z]+$"), "abc\n")


def test_word_characters_are_ascii_but_letters_are_of_any_script() -> None:
    assert check(text_shape(r"\w+"), "é")
    assert check(text_shape(r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$"), "名前 é") == []


def test_not_blank_allows_line_breaks() -> None:
    assert check(text_shape(r"^(?!\s*$).+"), '{\n  "a": 1\n}') == []
    assert check(text_shape(r"^(?!\s*$).+"), " \n ")


def test_a_pattern_that_explodes_ends_as_a_violation() -> None:
    assert check(text_shape("(a|a)*c?b"), "a" * 5000 + "b c")


def test_a_value_too_long_is_not_matched_at_all() -> None:
    (violation,) = check(text_shape("(a+)+b", max=10), "a" * 100_000)
    assert violation.constraint == "Member must have length less than or equal to 10"


@pytest.mark.parametrize("name", ["ssm", "sts", "iam", "ec2messages", "ssmmessages", "kms", "logs", "cloudformation"])
def test_every_shape_has_a_checker_and_required_members_are_missed(name: str, load: Load) -> None:
    for operation in load(name).operations.values():
        if operation.input is not None:
            missing = [violation.path for violation in check(operation.input, {})]
            assert sorted(missing) == sorted(name[:1].lower() + name[1:] for name in operation.input.required)


def test_check_result_finds_what_the_model_does_not_have(load: Load) -> None:
    send = load("ssm").operations["SendCommand"]
    good = {"Command": {"CommandId": "c", "Status": "Pending", "RequestedDateTime": datetime.now(UTC)}}
    assert check_result(send, good) == []
    wrong = {"Command": {"CommandId": None, "Status": "Lost", "TargetCount": True, "Colour": 1}, "Extra": 1}
    assert check_result(send, wrong) == [
        "SendCommand.Command.CommandId: NoneType is no string",
        (
            "SendCommand.Command.Status: 'Lost' is not one of "
            "Pending, InProgress, Success, Cancelled, Failed, TimedOut, Cancelling"
        ),
        "SendCommand.Command.TargetCount: bool is no integer",
        "SendCommand.Command.Colour: Command has no such member",
        "SendCommand.Extra: SendCommandResult has no such member",
    ]


def test_check_result_wants_required_members_and_zones(load: Load) -> None:
    token = load("ssm").operations["RequestManagedInstanceRoleToken"]
    found = check_result(token, {"TokenExpirationDate": datetime(2026, 1, 1)})
    assert "RequestManagedInstanceRoleToken.UpdateKeyPair: required by RequestManagedInstanceRoleTokenResult" in found
    assert "RequestManagedInstanceRoleToken.TokenExpirationDate: a time without zone" in found
