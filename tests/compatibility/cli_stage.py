"""What the manual's examples presume to be there, made on an emptied server, and their words put into ours."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.calls import SHELL, Stage
from tests.channel import Channel
from tests.compatibility.cli_examples import Example
from tests.serving import ACCOUNT, REGION, Answer, Node, ServerProcess

UPDATE = "AWS-UpdateSSMAgent"
"""The document of most examples. It is not in the library: here it is one of the account's own."""
RUNBOOK = """
schemaVersion: '0.3'
description: Document Example
parameters:
  InstanceId: {type: String, description: (Required) The ID of the node., default: ''}
mainSteps:
- {name: wait, action: aws:sleep, inputs: {Duration: PT1S}}
"""
_NODE_ID = re.compile(r"\bm?i-(?:[0-9a-f]{17}|[0-9a-f]{10}EXAMPLE)\b")
_ARN = re.compile(r"arn:aws:([a-z0-9-]+):(?:[a-z]{2}-[a-z]+-\d)?:\d{12}:")
_REGIONAL = frozenset({"ssm", "sns", "resource-groups"})


class Scene(Stage):
    """A stage for one example."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        super().__init__(server, server.join(1))
        self.node.beat()
        self.folder = folder
        self.words: dict[str, str] = {UPDATE: "Update-Agent"}
        self._nodes: dict[str, Node] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._channel is not None:
            self._channel.__exit__()

    def prepare(self, example: Example) -> tuple[str, ...]:
        """Make what it presumes; its arguments with what was made."""
        for node_id in _NODE_ID.findall(" ".join(example.arguments)):
            self.known(node_id)
        page = example.name.partition("/")[0]
        if "association" in page:
            self.own_document(self.words[UPDATE])
        if make := PRESUMED.get(example.name) or PRESUMED.get(page):
            make(self)
        return tuple(map(self.translated, example.arguments))

    def known(self, node_id: str) -> Node:
        """The node that stands for one of the manual's: the stage's own for the first."""
        if node_id not in self._nodes:
            self._nodes[node_id] = self.server.join(len(self._nodes) + 1) if self._nodes else self.node
            self._nodes[node_id].beat()
            self.words[node_id] = self._nodes[node_id].node_id
        return self._nodes[node_id]

    def translated(self, argument: str) -> str:
        """An argument with our ids, our account and our region."""
        for word, ours in self.words.items():
            argument = argument.replace(word, ours)
        return _ARN.sub(lambda found: _arn_here(found.group(1)), argument)

    def file(self, name: str, content: Any) -> None:
        """A file that the command reads."""
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / name).write_text(text)

    def own_document(self, name: str, versions: int = 1, **members: Any) -> None:
        """A document of the account, by its name."""
        for number in range(1, versions + 1):
            content = json.dumps({**SHELL, "description": f"Version {number}."})
            if number == 1:
                self.root("CreateDocument", Name=name, Content=content, DocumentType="Command", **members)
            else:
                self.root("UpdateDocument", Name=name, Content=content, DocumentVersion="$LATEST")

    def tagged(self, **tags: str) -> None:
        """The stage's node carries these."""
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        self.root("AddTagsToResource", ResourceType="ManagedInstance", ResourceId=self.node.node_id, Tags=listed)

    def sent(self, command_id: str) -> str:
        """A command that waits for its node stands for one of the manual's."""
        self.words[command_id] = self.invoked()
        return self.words[command_id]

    def ran(self, command_id: str = "") -> None:
        """As `sent`, and the node has run it."""
        with Channel(self.node) as channel:
            made = self.invoked()
            channel.run()
        if command_id:
            self.words[command_id] = made

    def opened(self, session_id: str) -> None:
        """A session stands for one of the manual's."""
        self.words[session_id] = self.session()


def _arn_here(service: str) -> str:
    return f"arn:aws:{service}:{REGION if service in _REGIONAL else ''}:{ACCOUNT}:"


def _shared(scene: Scene) -> None:
    scene.own_document("Example")
    scene.root("ModifyDocumentPermission", Name="Example", PermissionType="Share", AccountIdsToAdd=["210987654321"])


def _with_parameters(scene: Scene) -> None:
    content = json.dumps(
        {**SHELL, "parameters": {"InstanceId": {"type": "String", "description": "A.", "default": ""}}}
    )
    scene.root("CreateDocument", Name="Example", Content=content, DocumentType="Command")


def _session_of_a_role(scene: Scene) -> Answer:
    scene.words["Shirley-Rodriguez"] = "tester"
    target = {"Target": scene.connected_node().node_id}
    return scene.server.call("StartSession", target, scene.server.role("Administrator"))


def _ended_session(scene: Scene) -> None:
    started = _session_of_a_role(scene)
    scene.root("TerminateSession", SessionId=started.json["SessionId"])


def _listed_commands(scene: Scene) -> None:
    scene.command()
    _role("Notifier")(scene)
    notification = {"NotificationArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:topic", "NotificationEvents": ["All"]}
    scene.root(
        "SendCommand",
        DocumentName="AWS-RunShellScript",
        DocumentVersion="1",
        Parameters={"commands": ["true"]},
        Targets=[{"Key": "InstanceIds", "Values": [scene.node.node_id]}],
        ServiceRoleArn=f"arn:aws:iam::{ACCOUNT}:role/Notifier",
        NotificationConfig={**notification, "NotificationType": "Invocation"},
    )


def _activations(scene: Scene) -> None:
    scene.root("CreateActivation", IamRole="SSMServiceRole", Description="Example1", RegistrationLimit=5)


def _reviewed(scene: Scene) -> None:
    scene.own_document("MyChangeManageTemplate")
    comment = [{"Type": "Comment", "Content": "please"}]
    review = {"Action": "SendForReview", "Comment": comment}
    scene.root("UpdateDocumentMetadata", Name="MyChangeManageTemplate", DocumentReviews=review)


def _for_review(scene: Scene) -> None:
    scene.own_document("MyChangeManagerTemplate")
    review = {"Action": "SendForReview"}
    scene.root("UpdateDocumentMetadata", Name="MyChangeManagerTemplate", DocumentReviews=review)


def _complying(scene: Scene) -> None:
    details = {"DocumentName": "Scan", "DocumentVersion": "1"}
    item = {"Id": str(uuid.uuid4()), "Title": "", "Severity": "UNSPECIFIED", "Status": "COMPLIANT"}
    at = {"ExecutionTime": 1_550_408_470, "ExecutionId": str(uuid.uuid4()), "ExecutionType": "Command"}
    scene.root(
        "PutComplianceItems",
        ResourceId=scene.node.node_id,
        ResourceType="ManagedInstance",
        ComplianceType="Custom:Scan",
        ExecutionSummary=at,
        Items=[{**item, "Details": details}],
    )


def _parameter(name: str, versions: int = 1, kind: str = "String", **members: Any) -> Callable[[Scene], None]:
    """A parameter with that many versions."""

    def make(scene: Scene) -> None:
        for number in range(1, versions + 1):
            scene.root("PutParameter", Name=name, Value=str(uuid.uuid4()), Type=kind, Overwrite=number > 1, **members)

    return make


def _role(name: str) -> Callable[[Scene], None]:
    trust = {"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    return lambda scene: scene.iam("create_role", RoleName=name, AssumeRolePolicyDocument=policy) and None


def _new_version(scene: Scene) -> None:
    scene.own_document("RunShellScript")
    parameters = {"commands": {"type": "StringList", "description": "(Required) Commands to run."}}
    step = {**SHELL["mainSteps"][0], "inputs": {"runCommand": "{{ commands }}"}}
    document = {**SHELL, "description": "Run an updated script", "parameters": parameters, "mainSteps": [step]}
    scene.file("RunShellScript.json", document)


def _lost(node_id: str) -> Callable[[Scene], None]:
    return lambda scene: scene.known(node_id) and None


def _labelled(name: str, *labels: str, versions: int = 1) -> Callable[[Scene], None]:
    """A parameter whose newest version has these labels."""

    def make(scene: Scene) -> None:
        _parameter(name, versions)(scene)
        scene.root("LabelParameterVersion", Name=name, Labels=list(labels))

    return make


def _parameters(*names: str) -> Callable[[Scene], None]:
    """Parameters of one version."""
    return lambda scene: [_parameter(name)(scene) for name in names] and None


def _kinds_of_parameters(scene: Scene) -> None:
    described = {"Description": "One of three."}
    expires = {"Type": "Expiration", "Version": "1.0", "Attributes": {"Timestamp": "2040-07-07T22:30:00Z"}}
    before = {"Type": "ExpirationNotification", "Version": "1.0", "Attributes": {"Before": "12", "Unit": "Hours"}}
    _parameter("MyStringParameter", **described)(scene)
    _parameter("MyStringListParameter", kind="StringList", **described)(scene)
    policies = json.dumps([expires, before])
    _parameter("MySecureStringParameter", kind="SecureString", Tier="Advanced", Policies=policies, **described)(scene)


def _associated(*association_ids: str, **members: Any) -> Callable[[Scene], None]:
    """An association of the stage's node stands for the manual's."""

    def make(scene: Scene) -> None:
        targets = [{"Key": "InstanceIds", "Values": [scene.node.node_id]}]
        made = scene.root("CreateAssociation", **{"Name": scene.words[UPDATE], "Targets": targets, **members})
        for association_id in association_ids:
            scene.words[association_id] = made["AssociationDescription"]["AssociationId"]

    return make


def _associated_by_node(scene: Scene) -> None:
    """In the old way: by document and node."""
    scene.root("CreateAssociation", Name=scene.words[UPDATE], InstanceId=scene.node.node_id)


def _inventory(type_name: str, schema: str = "1.0", **entry: str) -> Callable[[Scene], None]:
    """What a node tells of itself."""

    def make(scene: Scene) -> None:
        item = {"TypeName": type_name, "SchemaVersion": schema, "CaptureTime": "2030-01-22T10:01:01Z"}
        scene.root("PutInventory", InstanceId=scene.node.node_id, Items=[{**item, "Content": [entry]}])

    return make


RACK = _inventory("Custom:RackInfo", RackLocation="Bay B/Row C/Rack D/Shelf E")


def _deleted_inventory(scene: Scene) -> None:
    RACK(scene)
    deleted = scene.root("DeleteInventory", TypeName="Custom:RackInfo", SchemaDeleteOption="DeleteSchema")
    scene.words["d72ac9e8-1f60-4d40-b1c6-987654321c4d"] = deleted["DeletionId"]


ASSOCIATION = "8dfe3659-4309-493a-8755-0123456789ab"


def _calendar(scene: Scene) -> None:
    lines = ("BEGIN:VCALENDAR", "PRODID:-//AWS//Change Calendar 1.0//EN", "VERSION:2.0",
             "X-CALENDAR-TYPE:DEFAULT_OPEN", "BEGIN:VEVENT", "UID:1", "DTSTAMP:20300101T000000Z",
             "DTSTART:20350101T000000Z", "DTEND:20350102T000000Z", "SUMMARY:Closed", "END:VEVENT",
             "END:VCALENDAR", "")  # fmt: skip
    kind = {"DocumentType": "ChangeCalendar", "DocumentFormat": "TEXT"}
    scene.root("CreateDocument", Name="MyCalendar", Content="\r\n".join(lines), **kind)


QUERY = {
    "Type": "TAG_FILTERS_1_0",
    "Query": json.dumps(
        {"ResourceTypeFilters": ["AWS::EC2::Instance"], "TagFilters": [{"Key": "Name", "Values": ["a"]}]}
    ),
}


def _group(scene: Scene) -> None:
    scene.server.client("resource-groups").create_group(
        Name="tbq-WebServer", Description="WebServers", ResourceQuery=QUERY, Tags={"QueryType": "tags"}
    )


def _stack_query(scene: Scene) -> None:
    scene.file("query.json", {"Type": "CLOUDFORMATION_STACK_1_0", "Query": "{}"})


def _query(scene: Scene) -> None:
    scene.file("query.json", QUERY)


PRESUMED: Mapping[str, Callable[[Scene], Any]] = {
    "add-tags-to-resource/2": _parameter("My-Parameter"),
    "add-tags-to-resource/3": lambda scene: scene.own_document("My-Document"),
    "cancel-command": lambda scene: scene.sent("662add3d-5831-4a10-b64a-f2ff3EXAMPLE"),
    "create-activation": _role("HybridWebServersRole"),
    "create-document": lambda scene: scene.file("exampleDocument.yml", RUNBOOK),
    "create-group/1": _query,
    "create-group/2": _stack_query,
    "delete-activation": lambda scene: scene.words.update(
        {"aa673477-d926-42c1-8757-1358cEXAMPLE": scene.server.activation()[0]}
    ),
    "delete-document": lambda scene: scene.own_document("Example"),
    "delete-group": _group,
    "describe-activations": _activations,
    "describe-document": _with_parameters,
    "describe-document-permission": _shared,
    "describe-instance-information/3": lambda scene: scene.tagged(DEV="yes"),
    "describe-sessions/1": _session_of_a_role,
    "describe-sessions/2": _ended_session,
    "get-command-invocation": lambda scene: scene.ran("ef7fdfd8-9b57-4151-a15c-db9a12345678"),
    "get-connection-status": lambda scene: scene.connected_node(),
    "get-calendar-state": _calendar,
    "get-group": _group,
    "get-group-query": _group,
    "get-tags": _group,
    "list-command-invocations": lambda scene: scene.ran("ef7fdfd8-9b57-4151-a15c-db9a12345678"),
    "list-commands/1": lambda scene: scene.sent("0831e1a8-a1ac-4257-a1fd-c831bEXAMPLE"),
    "list-commands/3": _listed_commands,
    "list-compliance-items": _complying,
    "list-compliance-summaries": _complying,
    "list-resource-compliance-summaries": _complying,
    "list-document-metadata-history": _reviewed,
    "list-document-versions": lambda scene: scene.own_document("Example", 2),
    "list-documents/1": lambda scene: scene.own_document("Example", Tags=[{"Key": "DocUse", "Value": "Testing"}]),
    "list-group-resources": _group,
    "list-groups": _group,
    "list-resource-groups": _group,
    "modify-document-permission": lambda scene: scene.own_document("Example"),
    "resume-session": lambda scene: scene.opened("Mary-Major-07a16060613c408b5"),
    "search-resources": _query,
    "send-command/3": lambda scene: scene.tagged(ENV="Dev"),
    "send-command/6": lambda scene: scene.tagged(Env="Dev", Role="WebServers"),
    "send-command/7": lambda scene: scene.tagged(Env="Test"),
    "send-command/8": lambda scene: scene.own_document("ExampleDocument"),
    "start-session/1": lambda scene: scene.connected_node(),
    "tag": _group,
    "terminate-session": lambda scene: scene.opened("Shirley-Rodriguez-07a16060613c408b5"),
    "untag": _group,
    "update-document": _new_version,
    "update-document-default-version": lambda scene: scene.own_document("Example", 2),
    "update-document-metadata": _for_review,
    "update-group": _group,
    "update-group-query": _group,
    "delete-parameter": _parameter("MyParameter"),
    "delete-parameters": _parameters("MyFirstParameter", "MySecondParameter"),
    "describe-inventory-deletions": _deleted_inventory,
    "describe-parameters": _kinds_of_parameters,
    "get-parameter-history": _parameter("MyStringParameter", 3, Description="A version."),
    "get-parameter/1": _parameter("MyStringParameter"),
    "get-parameter/2": _parameter("MySecureStringParameter", kind="SecureString"),
    "get-parameter/3": _labelled("MyParameter", "label"),
    "get-parameter/4": _parameter("MyParameter", 2),
    "get-parameters": _kinds_of_parameters,
    "get-parameters/3": _labelled("MyParameter", "label"),
    "get-parameters-by-path": _parameters("/site/newyork/department/marketing", "/site/newyork/department/infotech"),
    "label-parameter-version": _parameter("MyStringParameter", 2),
    "put-parameter/1": _parameter("MyStringParameter"),
    "put-parameter/3": _parameter("MyConvertedParameter"),
    "put-parameter/5": _parameter("/Finance/Payroll/q2accesskey", kind="SecureString"),
    "unlabel-parameter-version": _labelled("parameterName", "label_1", "label_2", "label_3", versions=2),
    "delete-association/1": _associated(ASSOCIATION),
    "delete-association/2": _associated_by_node,
    "describe-association/1": _associated(ASSOCIATION),
    "describe-association/2": _associated_by_node,
    "describe-association-executions": _associated(ASSOCIATION),
    "describe-association-execution-targets": _associated(ASSOCIATION),
    "describe-effective-instance-associations": _associated(),
    "describe-instance-associations-status": _associated(AssociationName="UpdateSSMAgent"),
    "list-associations": _associated(AssociationName="UpdateSSMAgent", ScheduleExpression="cron(0 00 12 ? * SUN *)"),
    "list-association-versions": _associated(
        ASSOCIATION, AssociationName="UpdateSSMAgent", ScheduleExpression="cron(0 00 12 ? * SUN *)"
    ),
    "start-associations-once": _associated(ASSOCIATION),
    "update-association": _associated(ASSOCIATION, ScheduleExpression="rate(1 day)", AssociationName="Mine"),
    "update-association-status": _associated_by_node,
    "delete-inventory": RACK,
    "get-inventory": lambda scene: scene.node.beat(),
    "list-inventory-entries/1": _inventory(
        "AWS:Application",
        "1.1",
        Name="Agent",
        Version="1",
        Publisher="",
        Architecture="i386",
        PackageId="x",
        InstalledTime="2018-05-03T13:42:34Z",
    ),
    "list-inventory-entries/2": RACK,
    "update-managed-instance-role": _role("ExampleRole"),
}
"""What to make, by example or by page."""
