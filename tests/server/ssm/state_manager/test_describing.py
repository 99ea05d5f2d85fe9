"""Lists of associations: filters, pages, and what nodes see."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.ssm.errors import InvalidNextToken


def listed(office: Any, *filters: tuple[str, str]) -> list[str]:
    """The ids of the associations that fit."""
    request = {"AssociationFilterList": [{"key": key, "value": value} for key, value in filters]} if filters else {}
    return [each["AssociationId"] for each in office.world.call("ListAssociations", request)["Associations"]]


def test_every_filter_finds_what_it_names(office: Any) -> None:
    one, other = office.nodes(2)
    first = office.create([one], AssociationName="first")
    second = office.create([other], AssociationName="second")
    office.apply(one)
    now = office.world.clock.now().isoformat()
    assert sorted(listed(office)) == sorted([first, second])
    assert listed(office, ("AssociationName", "first")) == [first]
    assert listed(office, ("InstanceId", other)) == [second]
    assert listed(office, ("AssociationId", second)) == [second]
    assert listed(office, ("AssociationStatusName", "Success")) == [first]
    assert listed(office, ("AssociationStatusName", "Pending")) == [second]
    assert sorted(listed(office, ("Name", "AWS-RunShellScript"))) == sorted([first, second])
    assert listed(office, ("LastExecutedAfter", now)) == []
    assert listed(office, ("ResourceGroupName", "nobody")) == []
    assert listed(office, ("Name", "AWS-RunShellScript"), ("InstanceId", one)) == [first]
    with pytest.raises(ValidationException):
        listed(office, ("LastExecutedBefore", "yesterday"))


def test_pages_miss_and_repeat_nothing(office: Any) -> None:
    (node,) = office.nodes(1)
    made = sorted(office.create([node]) for _ in range(5))
    pages = office.world.pages("ListAssociations", {"MaxResults": 2}, "Associations")
    assert [[each["AssociationId"] for each in page] for page in pages] == [made[:2], made[2:4], made[4:]]
    with pytest.raises(InvalidNextToken):
        office.world.call("ListAssociations", {"NextToken": "nonsense"})


def test_agents_of_old_see_their_own_associations_and_no_others(office: Any) -> None:
    one, other = office.nodes(2)
    request = {"Name": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, "InstanceId": one}
    office.world.call("CreateAssociation", request)
    as_one, as_other = office.fleet.node(one), office.fleet.node(other)
    filters = {"AssociationFilterList": [{"key": "InstanceId", "value": one}], "MaxResults": 1}
    assert len(office.world.call("ListAssociations", filters, as_one)["Associations"]) == 1
    assert office.world.call("ListAssociations", filters, as_other)["Associations"] == []
    named = {"Name": "AWS-RunShellScript", "InstanceId": one}
    found = office.world.call("DescribeAssociation", named, as_one)["AssociationDescription"]
    assert found["Parameters"] == {"commands": ["true"]}
    with pytest.raises(AccessDeniedException):
        office.world.call("DescribeAssociation", named, as_other)
