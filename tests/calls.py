"""One valid call of every operation the server offers, on a stage that has what they name.

`CALLS` maps `service:Operation` to its maker; a new operation without one fails `tests/api/test_bad_input.py`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from fleetward.protocol.sigv4 import Credentials
from tests.calendars import calendar
from tests.calls_access import ACCESS_CALLS
from tests.calls_associations import ASSOCIATION_CALLS
from tests.calls_compliance import COMPLIANCE_CALLS
from tests.calls_iam import IAM_CALLS, STS_CALLS, change_password
from tests.calls_inventory import INVENTORY_CALLS
from tests.calls_kms import KMS_CALLS
from tests.calls_logs import LOGS_CALLS
from tests.calls_parameter_store import PARAMETER_STORE_CALLS
from tests.calls_resource_groups import RESOURCE_GROUPS_CALLS, send_rest
from tests.calls_sessions import SESSION_CALLS, SessionStage
from tests.serving import Answer, Node, ServerProcess, eventually, private_key, public_text
from tests.signing_in import new_sign_in

SHELL = {"schemaVersion": "2.2", "description": "Says hello.", "mainSteps": [
    {"action": "aws:runShellScript", "name": "hello", "inputs": {"runCommand": ["echo hello"]}},
]}  # fmt: skip
SETTING = "/ssm/managed-instance/default-ec2-instance-management-role"


class Stage(SessionStage):
    """What the calls need: a node of their own, documents, commands and activations made as wanted."""

    def __init__(self, server: ServerProcess, node: Node) -> None:
        self.server = server
        self.node = node
        self._numbers = itertools.count(1)
        self.kept_output = ""
        self.kept_calendar = ""
        self.user: Credentials | None = None
        """Whose call is to be made next, where it is a user's own."""

    def root(self, operation: str, **request: Any) -> Any:
        """An operator's call that must succeed; its result."""
        answer = self.server.call(operation, request, self.server.root)
        assert answer.status == 200, answer.body
        return answer.json

    def root_of(self, service: str, operation: str, **request: Any) -> Any:
        """As `root`, of another service."""
        answer = self.server.call(operation, request, self.server.root, service=service)
        assert answer.status == 200, answer.body
        return answer.json if answer.body else None

    def iam(self, operation: str, **request: Any) -> Any:
        """As `root`, of IAM: `create_user`; one client for all calls."""
        client = self.__dict__.setdefault("_iam", None) or self.server.client("iam")
        self.__dict__["_iam"] = client
        return getattr(client, operation)(**request)

    def name(self) -> str:
        """A name nobody has."""
        return f"Calls-{next(self._numbers)}-{id(self)}"

    def document(self, versions: int = 1) -> str:
        """A new document's name."""
        name = self.name()
        self.root("CreateDocument", Name=name, Content=json.dumps(SHELL), DocumentType="Command")
        for number in range(2, versions + 1):
            content = json.dumps({**SHELL, "description": f"Version {number}."})
            self.root("UpdateDocument", Name=name, Content=content, DocumentVersion="$LATEST")
        return name

    def calendar(self) -> str:
        """The name of a calendar; one for all calls."""
        if not self.kept_calendar:
            name = self.name()
            self.root(
                "CreateDocument", Name=name, DocumentType="ChangeCalendar", DocumentFormat="TEXT", Content=calendar()
            )
            self.kept_calendar = name
        return self.kept_calendar

    def command(self, **more: Any) -> str:
        """A new command for the stage's node; its id."""
        request = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, **more}
        sent = self.root("SendCommand", InstanceIds=[self.node.node_id], **request)
        return str(sent["Command"]["CommandId"])

    def invoked(self) -> str:
        """A new command whose invocation has been made; its id."""
        command_id = self.command()
        request = {"CommandId": command_id, "InstanceId": self.node.node_id}
        eventually(lambda: self.server.call("GetCommandInvocation", request, self.server.root).status == 200)
        return command_id

    def fresh_node(self) -> Node:
        """A node that may be lost."""
        return self.server.join(2)

    def replace_node(self) -> Node:
        """Another node from now on, one for which nothing waits."""
        self.node = self.server.join(1)
        self.kept_output = ""
        return self.node

    def message(self) -> str:
        """The id of a message that waits for the stage's node."""
        return f"aws.ssm.{self.invoked()}.{self.node.node_id}"

    def output(self) -> str:
        """The command of which the stream `stdout` of the step `hello` is kept in full."""
        if not self.kept_output:
            self.kept_output = self.invoked()
            path = f"/_fleetward/outputs/{self.kept_output}/hello/stdout"
            answer = put_output(self.node, path, b"hello\n")
            assert answer.status == 200, answer.body
        return self.kept_output


def put_output(node: Node, path: str, body: bytes, **options: Any) -> Answer:
    """A node sends a stream in full."""
    headers = {"X-Amz-Content-Sha256": hashlib.sha256(body).hexdigest(), "Content-Type": "application/octet-stream"}
    return node.server.send("PUT", path, body, headers, node.keys, **options)


FORMS = {"sts": "2011-06-15", "iam": "2010-05-08"}
"""Services that speak the query protocol, and the version of their API."""

Make = Callable[[Stage], dict[str, Any]]


@dataclass(frozen=True)
class ValidCall:
    """How a request is made, and who signs: root, user, node (temporary keys), key (the node's own) or nobody."""

    make: Make
    by: str = "root"


def signer(stage: Stage, call: ValidCall, node: Node | None = None) -> Credentials | Node | None:
    """Whose signature the call carries."""
    chosen = node or stage.node
    if call.by == "nobody":
        return None
    if call.by == "root":
        return stage.server.root
    if call.by == "user":
        return stage.user
    return chosen if call.by == "key" else chosen.keys


def _register(stage: Stage) -> dict[str, Any]:
    activation_id, code = stage.server.activation()
    return {
        "ActivationId": activation_id,
        "ActivationCode": code,
        "PublicKey": public_text(private_key(3)),
        "PublicKeyType": "Rsa",
        "Fingerprint": "first",
    }


def _get_messages(stage: Stage) -> dict[str, Any]:
    # a node of its own: one that has four commands is given nothing more, and its poll is parked
    return {"Destination": stage.replace_node().node_id, "MessagesRequestId": stage.message()}


def _node_id(stage: Stage) -> dict[str, Any]:
    return {"InstanceId": stage.node.node_id}


def _tags(stage: Stage) -> dict[str, Any]:
    return {"ResourceType": "ManagedInstance", "ResourceId": stage.node.node_id, "Tags": [{"Key": "a", "Value": "b"}]}


def _invocation(stage: Stage) -> dict[str, Any]:
    return {"CommandId": stage.invoked(), **_node_id(stage)}


def _review(stage: Stage) -> dict[str, Any]:
    review = {"Action": "SendForReview", "Comment": [{"Type": "Comment", "Content": "please"}]}
    return {"Name": stage.document(), "DocumentReviews": review}


def _heartbeat(stage: Stage) -> dict[str, Any]:
    return {**_node_id(stage), "AgentName": "amazon-ssm-agent", "AgentVersion": "3.3.0.0", "PlatformType": "Linux"}


def _send_command(stage: Stage) -> dict[str, Any]:
    return {
        "InstanceIds": [stage.node.node_id],
        "DocumentName": "AWS-RunShellScript",
        "Parameters": {"commands": ["true"]},
        "TimeoutSeconds": 60,
        "Comment": "a call",
        "MaxConcurrency": "50%",
        "MaxErrors": "1",
    }


def _create_document(stage: Stage) -> dict[str, Any]:
    return {
        "Name": stage.name(),
        "Content": json.dumps(SHELL),
        "DocumentType": "Command",
        "DocumentFormat": "JSON",
        "TargetType": "/AWS::EC2::Instance",
        "Tags": [{"Key": "a", "Value": "b"}],
    }


def _activation(stage: Stage) -> dict[str, Any]:
    return {
        "IamRole": "SSMServiceRole",
        "Description": "a call",
        "DefaultInstanceName": "machine",
        "RegistrationLimit": 2,
        "Tags": [{"Key": "a", "Value": "b"}],
    }


def _summary(stage: Stage) -> dict[str, Any]:
    aggregator = {"AggregatorType": "Count", "TypeName": "Instance", "AttributeName": "PlatformType"}
    return {"Aggregators": [aggregator], "MaxResults": 10}


def _node_filter(stage: Stage) -> dict[str, Any]:
    return {"Filters": [{"Key": "ManagedStatus", "Values": ["Managed"], "Type": "Equal"}], "MaxResults": 10}


def _output(stage: Stage) -> dict[str, Any]:
    return {"CommandId": stage.output(), **_node_id(stage), "Step": "hello", "Stream": "stdout"}


def _version(stage: Stage) -> dict[str, Any]:
    return {"Name": stage.document(2), "DocumentVersion": "2"}


def _sharing(stage: Stage) -> dict[str, Any]:
    return {"Name": stage.document(), "PermissionType": "Share", "AccountIdsToAdd": ["210987654321"]}


CALLS: Mapping[str, ValidCall] = {
    **{name: ValidCall(make, by) for name, (make, by) in STS_CALLS.items()},
    **{name: ValidCall(make) for name, make in IAM_CALLS.items()},
    "iam:ChangePassword": ValidCall(change_password, "user"),
    "ssmmessages:CreateControlChannel": ValidCall(
        lambda stage: {"ChannelId": stage.node.node_id, "MessageSchemaVersion": "1.0", "RequestId": "1"}, "node"
    ),
    **{name: ValidCall(make, by) for name, (make, by) in SESSION_CALLS.items()},
    "ec2messages:GetMessages": ValidCall(_get_messages, "node"),
    "ec2messages:AcknowledgeMessage": ValidCall(lambda stage: {"MessageId": stage.message()}, "node"),
    "ec2messages:SendReply": ValidCall(
        lambda stage: {"MessageId": stage.message(), "Payload": "{}", "ReplyId": stage.name()[-36:]}, "node"
    ),
    "ec2messages:FailMessage": ValidCall(
        lambda stage: {"MessageId": stage.message(), "FailureType": "NoHandlerExists"}, "node"
    ),
    "ec2messages:DeleteMessage": ValidCall(lambda stage: {"MessageId": stage.message()}, "node"),
    "ssm:AddTagsToResource": ValidCall(_tags),
    "ssm:RemoveTagsFromResource": ValidCall(
        lambda stage: {"ResourceType": "ManagedInstance", "ResourceId": stage.node.node_id, "TagKeys": ["a"]}
    ),
    "ssm:ListTagsForResource": ValidCall(
        lambda stage: {"ResourceType": "ManagedInstance", "ResourceId": stage.node.node_id}
    ),
    "ssm:UpdateInstanceInformation": ValidCall(_heartbeat, "node"),
    "ssm:DescribeInstanceInformation": ValidCall(
        lambda stage: {"Filters": [{"Key": "PingStatus", "Values": ["Online"]}], "MaxResults": 50}
    ),
    "ssm:DescribeInstanceProperties": ValidCall(
        lambda stage: {
            "FiltersWithOperator": [{"Key": "InstanceIds", "Values": [stage.node.node_id], "Operator": "Equal"}],
            "MaxResults": 50,
        }
    ),
    "ssm:GetConnectionStatus": ValidCall(lambda stage: {"Target": stage.node.node_id}),
    "ssm:ListNodes": ValidCall(_node_filter),
    "ssm:ListNodesSummary": ValidCall(_summary),
    "ssm:GetServiceSetting": ValidCall(lambda stage: {"SettingId": SETTING}),
    "ssm:UpdateServiceSetting": ValidCall(lambda stage: {"SettingId": SETTING, "SettingValue": "SSMServiceRole"}),
    "ssm:ResetServiceSetting": ValidCall(lambda stage: {"SettingId": SETTING}),
    "ssm:RequestManagedInstanceRoleToken": ValidCall(lambda stage: {"Fingerprint": "first"}, "key"),
    "ssm:UpdateManagedInstancePublicKey": ValidCall(
        lambda stage: {"NewPublicKey": public_text(stage.node.key), "NewPublicKeyType": "Rsa"}, "key"
    ),
    "ssm:DeregisterManagedInstance": ValidCall(lambda stage: {"InstanceId": stage.fresh_node().node_id}),
    "ssm:UpdateManagedInstanceRole": ValidCall(lambda stage: {**_node_id(stage), "IamRole": "SSMServiceRole"}),
    "ssm:UpdateDocumentMetadata": ValidCall(_review),
    "ssm:ListDocumentMetadataHistory": ValidCall(
        lambda stage: {"Name": stage.document(), "Metadata": "DocumentReviews", "MaxResults": 5}
    ),
    "ssm:GetDocument": ValidCall(lambda stage: {"Name": stage.document(), "DocumentFormat": "YAML"}),
    "ssm:DescribeDocument": ValidCall(lambda stage: {"Name": stage.document(), "DocumentVersion": "1"}),
    "ssm:ListDocuments": ValidCall(lambda stage: {"Filters": [{"Key": "Owner", "Values": ["Self"]}], "MaxResults": 5}),
    "ssm:ModifyDocumentPermission": ValidCall(_sharing),
    "ssm:DescribeDocumentPermission": ValidCall(
        lambda stage: {"Name": stage.document(), "PermissionType": "Share", "MaxResults": 5}
    ),
    "ssm:CreateDocument": ValidCall(_create_document),
    "ssm:UpdateDocument": ValidCall(
        lambda stage: {"Name": stage.document(), "Content": json.dumps({**SHELL, "description": "Other."})}
    ),
    "ssm:UpdateDocumentDefaultVersion": ValidCall(_version),
    "ssm:DeleteDocument": ValidCall(lambda stage: {"Name": stage.document()}),
    "ssm:ListDocumentVersions": ValidCall(lambda stage: {"Name": stage.document(2), "MaxResults": 5}),
    "ssm:SendCommand": ValidCall(_send_command),
    "ssm:CancelCommand": ValidCall(lambda stage: {"CommandId": stage.command()}),
    "ssm:ListCommands": ValidCall(lambda stage: {"CommandId": stage.command(), "MaxResults": 5}),
    "ssm:ListCommandInvocations": ValidCall(lambda stage: {"CommandId": stage.command(), "Details": True}),
    "ssm:GetCommandInvocation": ValidCall(_invocation),
    "ssm:CreateActivation": ValidCall(_activation),
    "ssm:DescribeActivations": ValidCall(
        lambda stage: {"Filters": [{"FilterKey": "IamRole", "FilterValues": ["SSMServiceRole"]}], "MaxResults": 5}
    ),
    "ssm:DeleteActivation": ValidCall(lambda stage: {"ActivationId": stage.server.activation()[0]}),
    "ssm:RegisterManagedInstance": ValidCall(_register, "nobody"),
    "ssm:GetCalendarState": ValidCall(
        lambda stage: {"CalendarNames": [stage.calendar()], "AtTime": "2030-01-01T00:00:00Z"}
    ),
    "ssm:ListInstanceAssociations": ValidCall(lambda stage: {**_node_id(stage), "MaxResults": 50}, "node"),
    "fleetward:Leave": ValidCall(lambda stage: {}, "key"),
    "fleetward:AddRegion": ValidCall(lambda stage: {"RegionName": "us-east-1"}),
    "fleetward:ListRegions": ValidCall(lambda stage: {}),
    "fleetward:Halt": ValidCall(lambda stage: {"Reason": "a call"}),
    "fleetward:Resume": ValidCall(lambda stage: {}),
    "fleetward:DescribeHalt": ValidCall(lambda stage: {}),
    "fleetward:DescribeNodeTrust": ValidCall(_node_id),
    "fleetward:ApproveNode": ValidCall(_node_id),
    "fleetward:ReleaseNode": ValidCall(_node_id),
    "fleetward:RotateNodeKey": ValidCall(_node_id),
    "fleetward:ConfirmSequence": ValidCall(lambda stage: {"Sequence": 0}, "node"),
    "fleetward:RotateKeys": ValidCall(lambda stage: {}),
    "fleetward:RetireKeys": ValidCall(lambda stage: {"AtOnce": False}),
    "fleetward:DescribeKeys": ValidCall(lambda stage: {}),
    "fleetward:ListSignIns": ValidCall(lambda stage: {"UserName": "nobody", "MaxResults": 5}),
    "fleetward:RevokeSignIn": ValidCall(lambda stage: {"SignInId": new_sign_in(stage.server)}),
    "fleetward:ListAuditRecords": ValidCall(lambda stage: {"After": 0, "MaxResults": 5}),
    "fleetward:ListCommandOutputs": ValidCall(_invocation),
    "fleetward:LocateCommandOutput": ValidCall(_output),
    **{name: ValidCall(make, by) for name, (make, by) in ACCESS_CALLS.items()},
    **{name: ValidCall(make, by) for name, (make, by) in ASSOCIATION_CALLS.items()},
    **{name: ValidCall(make) for name, make in COMPLIANCE_CALLS.items()},
    **{name: ValidCall(make) for name, make in INVENTORY_CALLS.items()},
    **{name: ValidCall(make) for name, make in PARAMETER_STORE_CALLS.items()},
    **{name: ValidCall(make) for name, make in KMS_CALLS.items()},
    **{name: ValidCall(make) for name, make in LOGS_CALLS.items()},
    **{name: ValidCall(make) for name, make in RESOURCE_GROUPS_CALLS.items()},
}


def send(stage: Stage, name: str, request: Mapping[str, Any], *, node: Node | None = None, **options: Any) -> Answer:
    """Send `service:Operation` with its usual signer (or another `node`), in its service's protocol."""
    service, _, operation = name.partition(":")
    by: Any = options.pop("signed_by") if "signed_by" in options else signer(stage, CALLS[name], node)
    server = stage.server
    if service in FORMS:
        fields = {"Action": operation, "Version": FORMS[service], **as_form(request)}
        return server.form(fields, by, service=service, **options)
    if service == "resource-groups":
        return send_rest(server, operation, request, by, **options)
    if service == "ssmmessages":
        kind, member = ("data", "SessionId") if "Data" in operation else ("control", "ChannelId")
        inside = {key: value for key, value in request.items() if key != member}
        path = f"/v1/{kind}-channel/{request.get(member, '')}"
        headers = {"Content-Type": "application/json"}
        return server.send("POST", path, json.dumps(inside).encode(), headers, by, service=service, **options)
    return server.call(operation, request, by, service=service, **options)


def as_form(request: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A request as the fields of the query protocol."""
    fields: dict[str, str] = {}
    for name, value in request.items():
        if isinstance(value, Mapping):
            fields |= as_form(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            fields |= as_form({str(number): each for number, each in enumerate(value, 1)}, f"{prefix}{name}.member.")
        else:
            fields[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return fields


@pytest.fixture(scope="module")
def stage(serving: ServerProcess) -> Stage:
    """A stage on the session's server with a node of its own."""
    joined = serving.join(1)
    joined.beat()
    return Stage(serving, joined)
