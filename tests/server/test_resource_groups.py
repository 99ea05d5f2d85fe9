"""Groups by tags and by list: made, shown, filled, listed, tagged; who may; and the nodes that they mean as targets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetward.server import resource_groups
from fleetward.server.errors import AccessDeniedException
from fleetward.server.resource_groups import GroupChanged, members
from fleetward.server.resource_groups.errors import BadRequestException, NotFoundException
from fleetward.server.ssm import documents  # noqa: F401  (can be in groups)
from tests.server.ssm.conftest import Fleet

pytest_plugins = ("tests.services",)

ON_BOTH = pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
NODES = "AWS::SSM::ManagedInstance"
PREFIX = "arn:aws:ssm:us-east-1:123456789012:managed-instance/"


def query(*tags: tuple[str, list[str]], types: tuple[str, ...] = ("AWS::AllSupported",)) -> dict[str, str]:
    """A query as a request carries it."""
    filters = [{"Key": key, "Values": values} for key, values in tags]
    content = {"ResourceTypeFilters": list(types), "TagFilters": filters}
    return {"Type": "TAG_FILTERS_1_0", "Query": json.dumps(content)}


class Groups:
    """Short ways to call the service as root, or as `caller`."""

    def __init__(self, world: Any) -> None:
        self.world = world
        world.services["resource-groups"] = resource_groups.resource_groups

    def __call__(self, operation: str, caller: Any = "root", **request: Any) -> Any:
        return self.world.call(f"resource-groups:{operation}", request, caller)

    def listed(self, operation: str = "ListGroupResources", **request: Any) -> list[str]:
        """The ends of the ARNs of what is in a group, or found, all pages."""
        member = "ResourceIdentifiers"
        pages = self.world.pages(f"resource-groups:{operation}", request, member)
        return [each["ResourceArn"].rpartition("/")[2] for page in pages for each in page]


@pytest.fixture
def groups(world: Any) -> Groups:
    """The service on `world`."""
    return Groups(world)


@pytest.fixture
def fleet(world: Any) -> Fleet:
    """Nodes that can be in groups."""
    return Fleet(world)


@ON_BOTH
def test_a_created_group_is_shown_and_its_name_is_taken(world: Any, groups: Groups) -> None:
    asked = query(("env", ["prod"]))
    made = groups(
        "CreateGroup", Name="web", Description="Web servers", ResourceQuery=asked, Tags={"a": "b"}, Owner="me"
    )
    assert made["Group"] == {
        "GroupArn": "arn:aws:resource-groups:us-east-1:123456789012:group/web",
        "Name": "web",
        "Description": "Web servers",
        "Owner": "me",
    }
    assert (made["ResourceQuery"], made["Tags"]) == (asked, {"a": "b"})
    assert groups("GetGroup", GroupName="web") == {"Group": made["Group"]}
    shown = groups("GetGroupQuery", Group=made["Group"]["GroupArn"])["GroupQuery"]
    assert shown == {"GroupName": "web", "ResourceQuery": asked}
    with pytest.raises(BadRequestException, match="already"):
        groups("CreateGroup", Name="web")


def test_what_is_said_of_a_group_changes_and_the_rest_stays(groups: Groups) -> None:
    groups("CreateGroup", Name="web", Description="one", DisplayName="Web", Criticality=5)
    groups("UpdateGroup", Group="web", Description="two", Criticality=1)
    shown = groups("GetGroup", Group="web")["Group"]
    assert (shown["Description"], shown["DisplayName"], shown["Criticality"]) == ("two", "Web", 1)


@ON_BOTH
def test_another_query_finds_other_resources(world: Any, groups: Groups, fleet: Fleet) -> None:
    prod, test = fleet.admit(tags={"env": "prod"}), fleet.admit(tags={"env": "test"})
    groups("CreateGroup", Name="web", ResourceQuery=query(("env", ["prod"])))
    assert groups.listed(Group="web") == [prod]
    groups("UpdateGroupQuery", Group="web", ResourceQuery=query(("env", ["test", "other"])))
    assert groups.listed(Group="web") == [test]


@ON_BOTH
def test_queries_find_what_has_every_tag_page_by_page(world: Any, groups: Groups, fleet: Fleet) -> None:
    both = sorted(fleet.admit(tags={"env": "prod", "team": name}) for name in "aab")
    fleet.admit(tags={"env": "prod"})
    fleet.admit(tags={"team": "a"})
    asked = query(("env", ["prod"]), ("team", []))
    assert groups.listed("SearchResources", ResourceQuery=asked) == both
    assert groups.listed("SearchResources", ResourceQuery=asked, MaxResults=1) == both
    content = {"schemaVersion": "2.2", "mainSteps": [{"action": "aws:runShellScript", "name": "a",
               "inputs": {"runCommand": ["true"]}}]}  # fmt: skip
    document = {"Name": "Tagged", "Content": json.dumps(content), "Tags": [{"Key": "team", "Value": "a"}]}
    world.call("CreateDocument", {**document, "DocumentType": "Command"})
    assert "Tagged" in groups.listed("SearchResources", ResourceQuery=query(("team", ["a"])))
    of_nodes = query(("team", ["a"]), types=(NODES,))
    assert "Tagged" not in groups.listed("SearchResources", ResourceQuery=of_nodes)
    assert groups.listed("SearchResources", ResourceQuery=query(("team", ["a"]), types=("AWS::EC2::Instance",))) == []


@ON_BOTH
def test_a_group_by_list_holds_what_was_put_into_it(world: Any, groups: Groups, fleet: Fleet) -> None:
    first, second = sorted(fleet.admit() for _ in range(2))
    groups("CreateGroup", Name="chosen")
    unknown = f"{PREFIX}mi-00000000000000000"
    put = groups("GroupResources", Group="chosen", ResourceArns=[PREFIX + first, PREFIX + second, unknown])
    assert put["Succeeded"] == [PREFIX + first, PREFIX + second]
    assert [each["ResourceArn"] for each in put["Failed"]] == [unknown]
    groups("GroupResources", Group="chosen", ResourceArns=[PREFIX + first])
    assert groups.listed(Group="chosen", MaxResults=1) == [first, second]
    filters = [{"Name": "resource-type", "Values": ["AWS::SSM::Document"]}]
    assert groups.listed(Group="chosen", Filters=filters) == []
    taken = groups("UngroupResources", Group="chosen", ResourceArns=[PREFIX + first, unknown])
    assert (taken["Succeeded"], [each["ResourceArn"] for each in taken["Failed"]]) == ([PREFIX + first], [unknown])
    assert groups.listed(Group="chosen") == [second]
    world.call("DeregisterManagedInstance", {"InstanceId": second})
    assert groups.listed(Group="chosen") == []


def test_a_configuration_is_kept_and_bounds_the_types(groups: Groups, fleet: Fleet) -> None:
    allowed = {"Name": "allowed-resource-types", "Values": ["AWS::SSM::Document"]}
    configuration = [{"Type": "AWS::ResourceGroups::Generic", "Parameters": [allowed]}]
    groups("CreateGroup", Name="papers", Configuration=configuration)
    assert groups("GetGroupConfiguration", Group="papers")["GroupConfiguration"]["Configuration"] == configuration
    put = groups("GroupResources", Group="papers", ResourceArns=[PREFIX + fleet.admit()])
    assert [each["ErrorCode"] for each in put["Failed"]] == ["RESOURCE_TYPE_NOT_ALLOWED"]


def test_a_deleted_group_leaves_its_resources_and_nothing_of_itself(groups: Groups, fleet: Fleet) -> None:
    node_id = fleet.admit()
    groups("CreateGroup", Name="chosen", Tags={"a": "b"})
    groups("GroupResources", Group="chosen", ResourceArns=[PREFIX + node_id])
    groups("DeleteGroup", Group="chosen")
    with pytest.raises(NotFoundException):
        groups("GetGroup", Group="chosen")
    groups("CreateGroup", Name="chosen")
    assert groups.listed(Group="chosen") == []
    arn = groups("GetGroup", Group="chosen")["Group"]["GroupArn"]
    assert groups("GetTags", Arn=arn)["Tags"] == {}


@ON_BOTH
def test_groups_are_listed_by_name_and_filtered(world: Any, groups: Groups) -> None:
    groups("CreateGroup", Name="b", ResourceQuery=query(("a", []), types=(NODES,)), Owner="me")
    groups("CreateGroup", Name="a", ResourceQuery=query(("a", [])), Criticality=3)
    groups("CreateGroup", Name="c", Configuration=[{"Type": "AWS::ResourceGroups::Generic"}], DisplayName="C")

    def names(*filters: tuple[str, str]) -> list[str]:
        asked = [{"Name": name, "Values": [value]} for name, value in filters]
        pages = world.pages("resource-groups:ListGroups", {"Filters": asked, "MaxResults": 2}, "GroupIdentifiers")
        return [each["GroupName"] for page in pages for each in page]

    assert names() == ["a", "b", "c"]
    assert names(("resource-type", NODES)) == ["b"]
    assert names(("resource-type", "AWS::AllSupported")) == ["a"]
    assert names(("configuration-type", "AWS::ResourceGroups::Generic")) == ["c"]
    assert names(("owner", "me")) == ["b"]
    assert names(("criticality", "3")) == ["a"]
    assert names(("display-name", "C"), ("owner", "me")) == []


def test_groups_are_tagged_and_untagged(groups: Groups) -> None:
    groups("CreateGroup", Name="web", Tags={"a": "1"})
    arn = groups("GetGroup", Group="web")["Group"]["GroupArn"]
    groups("Tag", Arn=arn, Tags={"b": "2"})
    groups("Untag", Arn=arn, Keys=["a", "never"])
    assert groups("GetTags", Arn=arn)["Tags"] == {"b": "2"}
    with pytest.raises(BadRequestException, match="reserved"):
        groups("Tag", Arn=arn, Tags={"aws:x": "1"})
    with pytest.raises(BadRequestException, match="at most"):
        groups("Tag", Arn=arn, Tags={f"k{number}": "" for number in range(50)})


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        {"ResourceTypeFilters": [], "TagFilters": [{"Key": "a", "Values": []}]},
        {"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": []},
        {"ResourceTypeFilters": ["AWS::AllSupported"]},
        {"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": [{"Key": ""}]},
        {"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": [{"Key": "a"}, {"Key": "a"}]},
        {"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": [{"Key": "a", "Values": [1]}]},
        {"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": [{"Key": "a", "Value": ["b"]}]},
    ],
)
def test_queries_that_say_nothing_clear_are_refused(groups: Groups, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(BadRequestException):
        groups("CreateGroup", Name="web", ResourceQuery={"Type": "TAG_FILTERS_1_0", "Query": text})


def test_what_groups_cannot_be_is_refused(groups: Groups, monkeypatch: pytest.MonkeyPatch, fleet: Fleet) -> None:
    with pytest.raises(BadRequestException, match="AWS"):
        groups("CreateGroup", Name="AwsThings")
    with pytest.raises(BadRequestException, match="both"):
        groups("CreateGroup", Name="x", ResourceQuery=query(("a", [])), Configuration=[])
    stack = {"Type": "CLOUDFORMATION_STACK_1_0", "Query": "{}"}
    with pytest.raises(BadRequestException, match="not offered"):
        groups("CreateGroup", Name="x", ResourceQuery=stack)
    with pytest.raises(BadRequestException, match="Name the group"):
        groups("GetGroup")
    with pytest.raises(NotFoundException):
        groups("GetGroup", Group="arn:aws:resource-groups:eu-west-1:123456789012:group/x")
    groups("CreateGroup", Name="listed")
    groups("CreateGroup", Name="asked", ResourceQuery=query(("a", [])))
    for operation, request in (
        ("GetGroupQuery", {"Group": "listed"}),
        ("UpdateGroupQuery", {"Group": "listed", "ResourceQuery": query(("a", []))}),
        ("GroupResources", {"Group": "asked", "ResourceArns": [PREFIX + "mi-00000000000000000"]}),
        ("ListGroups", {"NextToken": "abcd"}),
    ):
        with pytest.raises(BadRequestException):
            groups(operation, **request)
    monkeypatch.setattr(members, "MOST_MEMBERS", 1)
    with pytest.raises(BadRequestException, match="at most"):
        groups("GroupResources", Group="listed", ResourceArns=[PREFIX + fleet.admit() for _ in range(2)])


def test_policies_decide_on_the_group_and_its_tags(world: Any, groups: Groups) -> None:
    groups("CreateGroup", Name="mine", Tags={"team": "a"})
    groups("CreateGroup", Name="other")
    condition = {"StringEquals": {"aws:ResourceTag/team": "a"}}
    role = world.as_role(
        {"Effect": "Allow", "Action": "resource-groups:*", "Resource": "*", "Condition": condition},
    )
    groups("UpdateGroup", role, Group="mine", Description="changed")
    with pytest.raises(AccessDeniedException):
        groups("UpdateGroup", role, Group="other", Description="changed")


def test_others_hear_when_other_resources_may_be_in_a_group(world: Any, groups: Groups, fleet: Fleet) -> None:
    heard: list[str] = []
    world.runner._reactions[GroupChanged].append(lambda _, event: heard.append(event.name))
    node_id = fleet.admit()
    groups("CreateGroup", Name="listed")
    groups("GroupResources", Group="listed", ResourceArns=[PREFIX + node_id])
    groups("GroupResources", Group="listed", ResourceArns=[PREFIX + node_id])
    groups("CreateGroup", Name="asked", ResourceQuery=query(("a", [])))
    groups("UpdateGroupQuery", Group="asked", ResourceQuery=query(("b", [])))
    groups("UngroupResources", Group="listed", ResourceArns=[PREFIX + node_id])
    groups("DeleteGroup", Group="listed")
    assert heard == ["listed", "asked", "listed", "listed"]
