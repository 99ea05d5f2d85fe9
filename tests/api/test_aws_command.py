"""The `aws` command and boto3 drive every operation that an operator has, paginators and waiters included."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetward.server import app
from tests.aws_command import Aws, configured
from tests.calendars import calendar, event
from tests.calls import SETTING, SHELL, Stage
from tests.calls_access import start_access_request
from tests.channel import Channel
from tests.serving import ServerProcess, eventually

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def aws(stage: Stage) -> Iterator[Aws]:
    """Configured for the stage's server."""
    with configured(stage.server) as environment:
        yield Aws(stage, environment)


def tags(aws: Aws) -> None:
    resource = {"resource_type": "ManagedInstance", "resource_id": aws.stage.node.node_id}
    aws("ssm add-tags-to-resource", **resource, tags=[{"Key": "stage", "Value": "one"}])
    assert {"Key": "stage", "Value": "one"} in aws("ssm list-tags-for-resource", **resource)["TagList"]
    aws("ssm remove-tags-from-resource", **resource, tag_keys=["stage"])
    assert {"Key": "stage", "Value": "one"} not in aws("ssm list-tags-for-resource", **resource)["TagList"]


def nodes(aws: Aws) -> None:
    node_id = aws.stage.node.node_id
    aws.stage.node.beat()
    filters = [{"Key": "InstanceIds", "Values": [node_id]}]
    (found,) = aws("ssm describe-instance-information", filters=filters)["InstanceInformationList"]
    assert (found["InstanceId"], found["PingStatus"]) == (node_id, "Online")
    wanted = [{"Key": "InstanceIds", "Values": [node_id], "Operator": "Equal"}]
    (found,) = aws("ssm describe-instance-properties", filters_with_operator=wanted)["InstanceProperties"]
    assert found["InstanceId"] == node_id
    assert aws("ssm get-connection-status", target=node_id)["Status"] in ("notconnected", "connected")
    of_node = [{"Key": "InstanceId", "Values": [node_id], "Type": "Equal"}]
    assert [each["Id"] for each in aws("ssm list-nodes", filters=of_node)["Nodes"]] == [node_id]
    aggregator = [{"AggregatorType": "Count", "TypeName": "Instance", "AttributeName": "PlatformType"}]
    summary = aws("ssm list-nodes-summary", aggregators=aggregator)["Summary"]
    assert sum(int(row["Count"]) for row in summary) >= 1


def node_role(aws: Aws) -> None:
    aws("ssm update-managed-instance-role", instance_id=aws.stage.node.node_id, iam_role="SSMServiceRole")
    lost = aws.stage.fresh_node()
    aws("ssm deregister-managed-instance", instance_id=lost.node_id)
    assert lost.call("UpdateInstanceInformation", {"InstanceId": lost.node_id}).status == 400


def service_settings(aws: Aws) -> None:
    aws("ssm update-service-setting", setting_id=SETTING, setting_value="SSMServiceRole")
    shown = aws("ssm get-service-setting", setting_id=SETTING)["ServiceSetting"]
    assert (shown["SettingValue"], shown["Status"]) == ("SSMServiceRole", "Customized")
    assert aws("ssm reset-service-setting", setting_id=SETTING)["ServiceSetting"]["Status"] == "Default"


def activations(aws: Aws) -> None:
    made = aws("ssm create-activation", iam_role="SSMServiceRole", default_instance_name="from-aws")
    filters = [{"FilterKey": "ActivationIds", "FilterValues": [made["ActivationId"]]}]
    (found,) = aws("ssm describe-activations", filters=filters)["ActivationList"]
    assert (found["DefaultInstanceName"], found["RegistrationLimit"]) == ("from-aws", 1)
    aws("ssm delete-activation", activation_id=made["ActivationId"])
    assert aws("ssm describe-activations", filters=filters)["ActivationList"] == []


def documents(aws: Aws) -> None:
    name = aws.stage.name()
    aws("ssm create-document", name=name, content=json.dumps(SHELL), document_type="Command")
    other = json.dumps({**SHELL, "description": "Second."})
    aws("ssm update-document", name=name, content=other, document_version="$LATEST", version_name="second")
    assert len(aws("ssm list-document-versions", name=name)["DocumentVersions"]) == 2
    aws("ssm update-document-default-version", name=name, document_version="2")
    assert aws("ssm describe-document", name=name)["Document"]["DefaultVersion"] == "2"
    shown = aws("ssm get-document", name=name, document_format="YAML")
    assert "description: Second." in shown["Content"]
    listed = aws("ssm list-documents", filters=[{"Key": "Name", "Values": [name]}])["DocumentIdentifiers"]
    assert [each["Name"] for each in listed] == [name]
    aws("ssm update-document-metadata", name=name, document_reviews={"Action": "SendForReview"})
    history = aws("ssm list-document-metadata-history", name=name, metadata="DocumentReviews")
    assert history["Name"] == name
    share = {"name": name, "permission_type": "Share"}
    aws("ssm modify-document-permission", **share, account_ids_to_add=["210987654321"])
    assert aws("ssm describe-document-permission", **share)["AccountIds"] == ["210987654321"]
    aws("ssm modify-document-permission", **share, account_ids_to_remove=["210987654321"])
    aws("ssm delete-document", name=name)
    assert aws("ssm list-documents", filters=[{"Key": "Name", "Values": [name]}])["DocumentIdentifiers"] == []


def run_command(aws: Aws) -> None:
    node = aws.stage.node
    with Channel(node) as channel:
        sent = aws(
            "ssm send-command",
            instance_ids=[node.node_id],
            document_name="AWS-RunShellScript",
            parameters={"commands": ["echo hello"]},
            comment="from aws",
        )["Command"]
        reporting = threading.Thread(target=channel.run, args=("hello\n",))
        reporting.start()
        ids = {"command_id": sent["CommandId"], "instance_id": node.node_id}
        reporting.join(20)
        assert aws("ssm wait command-executed", **ids) is None
        found = aws("ssm get-command-invocation", **ids)
        assert (found["Status"], found["StandardOutputContent"]) == ("Success", "hello\n")
        (listed,) = aws("ssm list-commands", command_id=sent["CommandId"])["Commands"]
        assert (listed["Status"], listed["Comment"], listed["CompletedCount"]) == ("Success", "from aws", 1)
        details = aws("ssm list-command-invocations", command_id=sent["CommandId"], details=True)
        (plugin,) = details["CommandInvocations"][0]["CommandPlugins"]
        assert (plugin["Status"], plugin["Output"]) == ("Success", "hello\n")


def cancel(aws: Aws) -> None:
    command_id = aws.stage.invoked()
    aws("ssm cancel-command", command_id=command_id)
    ids = {"command_id": command_id, "instance_id": aws.stage.node.node_id}
    assert aws("ssm get-command-invocation", **ids)["Status"] in ("Cancelled", "Cancelling")


PLUGIN = """#!/bin/sh
if [ "$1" = --version ]; then echo 1.2.0.0; else printf %s "$1" > "$0.handed"; fi
"""


def sessions(aws: Aws) -> None:
    """`start-session` hands its answer to the plugin: here a program that keeps it."""
    node = aws.stage.connected_node()
    folder = Path(tempfile.mkdtemp())
    plugin = folder / "session-manager-plugin"
    plugin.write_text(PLUGIN)
    plugin.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}:{path}"
    try:
        aws("ssm start-session", target=node.node_id, reason="from aws")
        handed = json.loads(plugin.with_suffix(".handed").read_text())
    finally:
        os.environ["PATH"] = path
        shutil.rmtree(folder)
    assert handed["StreamUrl"].startswith("wss://")
    session_id = handed["SessionId"]
    only = [{"key": "SessionId", "value": session_id}]
    (found,) = aws("ssm describe-sessions", state="Active", filters=only)["Sessions"]
    assert (found["Target"], found["Reason"], found["Status"]) == (node.node_id, "from aws", "Connecting")
    resumed = aws("ssm resume-session", session_id=session_id)
    assert resumed["TokenValue"] not in ("", handed["TokenValue"])
    assert aws("ssm terminate-session", session_id=session_id) == {"SessionId": session_id}
    (ended,) = aws("ssm describe-sessions", state="History", filters=only)["Sessions"]
    assert ended["Status"] == "Terminated"


def just_in_time_access(aws: Aws) -> None:
    """A policy approves the request by itself; the keys are for a session alone."""
    request = start_access_request(aws.stage)
    asked = aws("ssm start-access-request", reason=request["Reason"], targets=request["Targets"], tags=request["Tags"])
    answer = aws("ssm get-access-token", access_request_id=asked["AccessRequestId"])
    assert answer["AccessRequestStatus"] == "Approved"
    assert answer["Credentials"]["AccessKeyId"].startswith("ASIA")


def compliance(aws: Aws) -> None:
    node_id, kind = aws.stage.node.node_id, "Custom:FromAws"
    item = {"Id": "a", "Title": "A", "Severity": "HIGH", "Status": "NON_COMPLIANT"}
    of_type = [{"Key": "ComplianceType", "Values": [kind]}]
    aws(
        "ssm put-compliance-items",
        resource_id=node_id,
        resource_type="ManagedInstance",
        compliance_type=kind,
        execution_summary={"ExecutionTime": "2030-01-01T00:00:00Z"},
        items=[item],
    )
    listed = aws("ssm list-compliance-items", resource_ids=[node_id], filters=of_type)["ComplianceItems"]
    assert [{member: each[member] for member in item} for each in listed] == [item]
    (counted,) = aws("ssm list-compliance-summaries", filters=of_type)["ComplianceSummaryItems"]
    assert counted["NonCompliantSummary"]["SeveritySummary"]["HighCount"] == 1
    (state,) = aws("ssm list-resource-compliance-summaries", filters=of_type)["ResourceComplianceSummaryItems"]
    assert (state["ResourceId"], state["Status"], state["OverallSeverity"]) == (node_id, "NON_COMPLIANT", "HIGH")


def inventory(aws: Aws) -> None:
    node_id, kind = aws.stage.node.node_id, "Custom:FromAws"
    told = {"TypeName": kind, "SchemaVersion": "1.0", "CaptureTime": "2030-01-01T00:00:00Z", "Content": [{"Rack": "a"}]}
    aws("ssm put-inventory", instance_id=node_id, items=[told])
    assert aws("ssm list-inventory-entries", instance_id=node_id, type_name=kind)["Entries"] == [{"Rack": "a"}]
    (found,) = aws("ssm get-inventory", filters=[{"Key": f"{kind}.Rack", "Values": ["a"]}])["Entities"]
    assert found["Id"] == node_id
    (schema,) = aws("ssm get-inventory-schema", type_name=kind)["Schemas"]
    assert schema["Attributes"] == [{"Name": "Rack", "DataType": "string"}]
    deletion = aws("ssm delete-inventory", type_name=kind)
    (found,) = aws("ssm describe-inventory-deletions", deletion_id=deletion["DeletionId"])["InventoryDeletions"]
    assert (found["TypeName"], found["DeletionSummary"]["TotalCount"]) == (kind, 1)


def parameter_store(aws: Aws) -> None:
    aws("ssm put-parameter", name="/from/aws/one", value="a", type="String")
    aws("ssm put-parameter", name="/from/aws/secret", value="s3", type="SecureString", tier="Advanced")
    put = aws("ssm put-parameter", name="/from/aws/one", value="b", overwrite=True)
    assert (put["Version"], put["Tier"]) == (2, "Standard")
    aws("ssm label-parameter-version", name="/from/aws/one", parameter_version=1, labels=["old"])
    assert aws("ssm get-parameter", name="/from/aws/one:old")["Parameter"]["Value"] == "a"
    assert aws("ssm get-parameters", names=["/from/aws/one", "/from/none"])["InvalidParameters"] == ["/from/none"]
    below = aws("ssm get-parameters-by-path", path="/from", recursive=True, with_decryption=True)["Parameters"]
    assert [each["Value"] for each in below] == ["b", "s3"]
    history = aws("ssm get-parameter-history", name="/from/aws/one")["Parameters"]
    assert [each.get("Labels") for each in history] == [["old"], None]
    of_path = [{"Key": "Path", "Option": "Recursive", "Values": ["/from"]}]
    assert len(aws("ssm describe-parameters", parameter_filters=of_path)["Parameters"]) == 2
    gone = aws("ssm unlabel-parameter-version", name="/from/aws/one", parameter_version=1, labels=["old"])
    assert gone["RemovedLabels"] == ["old"]
    aws("ssm delete-parameter", name="/from/aws/one")
    assert aws("ssm delete-parameters", names=["/from/aws/secret"])["DeletedParameters"] == ["/from/aws/secret"]


def change_calendar(aws: Aws) -> None:
    day = datetime.now(UTC) + timedelta(days=1)
    text = calendar(event(f";VALUE=DATE:{day:%Y%m%d}"), kind="DEFAULT_CLOSED")
    name = aws.stage.name()
    aws("ssm create-document", name=name, content=text, document_type="ChangeCalendar", document_format="TEXT")
    shown = aws("ssm get-calendar-state", calendar_names=[name])
    assert (shown["State"], shown["NextTransitionTime"]) == ("CLOSED", f"{day:%Y-%m-%d}T00:00:00Z")
    assert aws("ssm get-calendar-state", calendar_names=[name], at_time=f"{day:%Y-%m-%d}T12:00:00Z")["State"] == "OPEN"


def associations(aws: Aws) -> None:
    node_id, script = aws.stage.node.node_id, {"commands": ["true"]}
    targets = [{"Key": "InstanceIds", "Values": [node_id]}]
    asked = {"name": "AWS-RunShellScript", "parameters": script, "targets": targets}
    made = aws("ssm create-association", **asked, association_name="nightly")["AssociationDescription"]
    named = {"association_id": made["AssociationId"]}
    found = aws("ssm describe-association", **named)["AssociationDescription"]
    assert (found["Targets"], found["AssociationVersion"]) == (targets, "1")
    aws("ssm update-association", **named, **asked, schedule_expression="rate(1 day)")
    versions = aws("ssm list-association-versions", **named)["AssociationVersions"]
    assert [each["AssociationVersion"] for each in versions] == ["2", "1"]
    aws("ssm start-associations-once", association_ids=[made["AssociationId"]])
    newest, *_ = aws("ssm describe-association-executions", **named)["AssociationExecutions"]
    ran = {**named, "execution_id": newest["ExecutionId"]}

    def reached() -> bool:
        found = aws("ssm describe-association-execution-targets", **ran)["AssociationExecutionTargets"]
        return [each["ResourceId"] for each in found] == [node_id]

    eventually(reached)

    def released() -> bool:
        found = aws("ssm describe-instance-associations-status", instance_id=node_id)["InstanceAssociationStatusInfos"]
        return made["AssociationId"] in {each["AssociationId"] for each in found}

    eventually(released)
    effective = aws("ssm describe-effective-instance-associations", instance_id=node_id)["Associations"]
    assert "aws:runShellScript" in effective[0]["Content"]
    document = aws.stage.document()
    entry = {"Name": document, "InstanceId": node_id}
    (other,) = aws("ssm create-association-batch", entries=[entry])["Successful"]
    told = {"Date": "2030-01-01T00:00:00Z", "Name": "Success", "Message": "It went well."}
    aws("ssm update-association-status", name=document, instance_id=node_id, association_status=told)
    wanted = [{"key": "Name", "value": document}]
    listed = aws("ssm list-associations", association_filter_list=wanted)["Associations"]
    assert [each["AssociationId"] for each in listed] == [other["AssociationId"]]
    for association_id in (made["AssociationId"], other["AssociationId"]):
        aws("ssm delete-association", association_id=association_id)
    assert aws("ssm list-associations", association_filter_list=wanted)["Associations"] == []


JOURNEYS: tuple[Callable[[Aws], None], ...] = (
    tags,
    nodes,
    node_role,
    service_settings,
    activations,
    documents,
    run_command,
    cancel,
    sessions,
    just_in_time_access,
    compliance,
    inventory,
    parameter_store,
    change_calendar,
    associations,
)


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.__name__)
def test_the_aws_command_drives(aws: Aws, journey: Callable[[Aws], None]) -> None:
    """Each journey calls operations and sees their effect through others."""
    journey(aws)


def test_every_operators_operation_is_driven() -> None:
    """What the journeys call is all that the server offers to operators under AWS's names."""
    source = Path(__file__).read_text()
    driven = {command.replace("-", "") for command in re.findall(r'aws\(\s*"ssm ([a-z-]+)', source)}
    offered = {
        name.lower()
        for service in app.SERVICES
        if service.name == "ssm"
        for name, entry in service.operations.items()
        if entry.audience in ("operator", "both")
    }
    assert offered - driven == set()


def test_the_installed_program_works_alike(aws: Aws) -> None:
    """As a process of its own, with an error's text and exit code as AWS gives them."""
    good = subprocess.run(
        [str(AWS), "ssm", "describe-instance-information", "--query", "length(InstanceInformationList)"],
        env=dict(aws.environment), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (good.returncode, int(good.stdout) > 0) == (0, True), good.stderr
    bad = subprocess.run(
        [str(AWS), "ssm", "get-document", "--name", "No-Such-Document"],
        env=dict(aws.environment), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert bad.returncode in (254, 255)
    assert "An error occurred (InvalidDocument) when calling the GetDocument operation" in bad.stderr


PAGED: Mapping[str, tuple[str, int, dict[str, Any]]] = {
    "describe_instance_information": ("InstanceInformationList", 5, {}),
    "describe_instance_properties": ("InstanceProperties", 5, {}),
    "describe_activations": ("ActivationList", 2, {}),
    "list_documents": ("DocumentIdentifiers", 2, {}),
    "list_document_versions": ("DocumentVersions", 1, {"Name": "paged"}),
    "list_commands": ("Commands", 2, {}),
    "list_command_invocations": ("CommandInvocations", 2, {}),
    "list_nodes": ("Nodes", 2, {}),
    "list_nodes_summary": (
        "Summary",
        1,
        {"Aggregators": [{"AggregatorType": "Count", "TypeName": "Instance", "AttributeName": "ResourceType"}]},
    ),
}


@pytest.fixture(scope="module")
def many(stage: Stage) -> ServerProcess:
    """More of everything than a page holds."""
    server = stage.server
    for _ in range(6):
        server.join(2).beat()
    for _ in range(3):
        stage.command()
    server.call("DeleteDocument", {"Name": "paged"}, server.root)
    stage.root("CreateDocument", Name="paged", Content=json.dumps(SHELL), DocumentType="Command")
    for number in range(2, 5):
        content = json.dumps({**SHELL, "description": f"Version {number}."})
        stage.root("UpdateDocument", Name="paged", Content=content, DocumentVersion="$LATEST")
    return server


@pytest.mark.parametrize("operation", PAGED)
def test_paginators_find_everything_once(many: ServerProcess, operation: str) -> None:
    """Small pages give what one large page gives."""
    member, size, request = PAGED[operation]
    client = many.client("ssm")
    paginator = client.get_paginator(operation)
    pages = list(paginator.paginate(**request, PaginationConfig={"PageSize": size}))
    assert len(pages) > 1 or operation == "list_nodes_summary"
    assert all(len(page[member]) <= size for page in pages)
    small = [json.dumps(each, default=str, sort_keys=True) for page in pages for each in page[member]]
    whole = [
        json.dumps(each, default=str, sort_keys=True)
        for page in paginator.paginate(**request, PaginationConfig={"PageSize": 50})
        for each in page[member]
    ]
    assert sorted(small) == sorted(whole)
    assert len(set(small)) == len(small)


def test_the_waiter_of_boto3_sees_a_commands_end_and_its_failure(stage: Stage) -> None:
    """command_executed: returns on Success, raises on Failed."""
    from botocore.exceptions import WaiterError

    client = stage.server.client("ssm")
    waiter = client.get_waiter("command_executed")
    with Channel(stage.replace_node()) as channel:
        for status in ("Success", "Failed"):
            command_id = stage.invoked()
            channel.run(status=status)
            wait = {"CommandId": command_id, "InstanceId": stage.node.node_id, "WaiterConfig": {"Delay": 1}}
            if status == "Success":
                waiter.wait(**wait)
                continue
            with pytest.raises(WaiterError, match="Failed"):
                waiter.wait(**wait)


def test_boto3_raises_the_models_exceptions(stage: Stage) -> None:
    """By class, with the message; an unknown node, document, command, activation."""
    client = stage.server.client("ssm")
    cases: tuple[tuple[Callable[[], Any], Any], ...] = (
        (lambda: client.get_document(Name="No-Such-Document"), client.exceptions.InvalidDocument),
        (
            lambda: client.deregister_managed_instance(InstanceId="mi-00000000000000000"),
            client.exceptions.InvalidInstanceId,
        ),
        (lambda: client.cancel_command(CommandId="0" * 36), client.exceptions.InvalidCommandId),
        (lambda: client.delete_activation(ActivationId="0" * 36), client.exceptions.ClientError),
    )
    for call, error in cases:
        with pytest.raises(error):
            call()
