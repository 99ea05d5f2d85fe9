"""The `aws` command drives every operation on resource groups, and commands go to a group."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetward.server import resource_groups
from tests.api.test_aws_command import Aws, aws  # noqa: F401  (a fixture)
from tests.calls_resource_groups import group_arn, node_arn, query


def by_query(aws: Aws) -> None:  # noqa: F811
    name, value = f"cli.{aws.stage.name()}", aws.stage.name()
    tags = [{"Key": "CliGroup", "Value": value}]
    aws("ssm add-tags-to-resource", resource_type="ManagedInstance", resource_id=aws.stage.node.node_id, tags=tags)
    nobody, node = query(CliGroup="nobody"), query(CliGroup=value)
    aws("resource-groups create-group", name=name, resource_query=nobody, tags={"a": "b"})
    assert aws("resource-groups list-group-resources", group=name)["Resources"] == []
    aws("resource-groups update-group-query", group_name=name, resource_query=node)
    assert aws("resource-groups get-group-query", group=name)["GroupQuery"]["ResourceQuery"] == node
    found = [{"ResourceArn": node_arn(aws.stage), "ResourceType": "AWS::SSM::ManagedInstance"}]
    assert aws("resource-groups list-group-resources", group=name)["ResourceIdentifiers"] == found
    assert aws("resource-groups search-resources", resource_query=node)["ResourceIdentifiers"] == found
    aws("resource-groups update-group", group=name, description="from aws")
    assert aws("resource-groups get-group", group=name)["Group"]["Description"] == "from aws"
    listed = aws("resource-groups list-groups")["GroupIdentifiers"]
    assert name in [each["GroupName"] for each in listed]
    target = [{"Key": "resource-groups:Name", "Values": [name]}]
    sent = aws(
        "ssm send-command", document_name="AWS-RunShellScript", parameters={"commands": ["true"]}, targets=target
    )
    assert sent["Command"]["Targets"] == target
    aws("resource-groups delete-group", group=name)
    listed = aws("resource-groups list-groups")["GroupIdentifiers"]
    assert name not in [each["GroupName"] for each in listed]


def by_list(aws: Aws) -> None:  # noqa: F811
    name, node = f"cli.{aws.stage.name()}", node_arn(aws.stage)
    generic = [{"Type": "AWS::ResourceGroups::Generic"}]
    aws("resource-groups create-group", name=name, configuration=generic)
    shown = aws("resource-groups get-group-configuration", group=name)["GroupConfiguration"]
    assert shown["Configuration"] == generic
    assert aws("resource-groups group-resources", group=name, resource_arns=[node])["Succeeded"] == [node]
    (found,) = aws("resource-groups list-group-resources", group=name)["Resources"]
    assert found["Identifier"]["ResourceArn"] == node
    assert aws("resource-groups ungroup-resources", group=name, resource_arns=[node])["Succeeded"] == [node]
    assert aws("resource-groups list-group-resources", group=name)["Resources"] == []
    arn = group_arn(name)
    aws("resource-groups tag", arn=arn, tags={"a": "b", "c": "d"})
    aws("resource-groups untag", arn=arn, keys=["a"])
    assert aws("resource-groups get-tags", arn=arn)["Tags"] == {"c": "d"}


@pytest.mark.parametrize("journey", [by_query, by_list], ids=lambda journey: journey.__name__)
def test_the_aws_command_drives(aws: Aws, journey: Callable[[Aws], None]) -> None:  # noqa: F811
    journey(aws)


def test_every_operation_is_driven() -> None:
    driven = {
        each.replace("-", "") for each in re.findall(r'aws\("resource-groups ([a-z-]+)', Path(__file__).read_text())
    }
    assert {name.lower() for name in resource_groups.resource_groups.operations} == driven
