"""Which policy decides: deny-access before auto-approval before people; of people's the more specific one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fleetward.protocol import document as protocol
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.ssm.documents import cedar

GUIDE = Path(__file__).parents[4] / "docs" / "guides" / "just-in-time-access.md"
ALICE = ("IamUser", "alice")
PRODUCTION = {"targets": [{"key": "tag:Environment", "values": ["Production"]}]}


def policy_of(office: Any, request_id: str) -> str:
    listed = office.world.call("fleetward:ListAccessRequests", {})["AccessRequests"]
    return str(next(each for each in listed if each["AccessRequestId"] == request_id)["PolicyName"])


def test_without_a_policy_nobody_can_ask(office: Any) -> None:
    node_id, bob = office.fleet.admit(), office.user("bob")
    with pytest.raises(AccessDeniedException, match=f"No approval policy applies to {node_id}"):
        office.ask(bob, node_id)
    office.policy("Production", ALICE, **PRODUCTION)
    with pytest.raises(AccessDeniedException, match="No approval policy"):
        office.ask(bob, node_id)


def test_the_policy_of_a_tag_comes_before_that_of_all_nodes(office: Any) -> None:
    production, other = office.fleet.admit(tags={"Environment": "Production"}), office.fleet.admit()
    bob = office.user("bob")
    office.policy("Everything", ALICE)
    office.policy("Production", ALICE, **PRODUCTION)
    assert policy_of(office, office.ask(bob, production)) == "Production"
    assert policy_of(office, office.ask(bob, other)) == "Everything"
    with pytest.raises(ValidationException, match="Everything, Production"):
        office.ask(bob, production, other)


def test_two_policies_of_one_node_are_one_too_many(office: Any) -> None:
    node_id, bob = office.fleet.admit(tags={"Environment": "Production", "Tier": "Database"}), office.user("bob")
    office.policy("Production", ALICE, **PRODUCTION)
    office.policy("Databases", ALICE, targets=[{"key": "tag:Tier", "values": ["Database"]}])
    with pytest.raises(ValidationException, match="Databases, Production"):
        office.ask(bob, node_id)


def test_what_cedar_permits_is_approved_at_once_for_an_hour(office: Any) -> None:
    office.group("Operators")
    bob, eve = office.user("bob", "Operators"), office.user("eve")
    node_id = office.fleet.admit(tags={"Environment": "Development"})
    office.permit(
        'resource.hasTag("Environment") && resource.getTag("Environment") == "Development"',
        'principal in AWS::IdentityStore::Group::"Operators"',
    )
    answer = office.token(bob, office.ask(bob, node_id))
    assert answer["AccessRequestStatus"] == "Approved"
    assert (answer["Credentials"]["ExpirationTime"] - office.world.clock.now()).total_seconds() == 3600
    with pytest.raises(AccessDeniedException, match="No approval policy"):
        office.ask(eve, node_id)
    with pytest.raises(AccessDeniedException, match="No approval policy"):
        office.ask(bob, node_id, office.fleet.admit())


def test_what_cedar_forbids_waits_for_people(office: Any) -> None:
    bob = office.user("bob", division="Interns")
    node_id = office.fleet.admit()
    office.permit('resource.hasTag("a") || true')
    office.policy("Everything", ALICE)
    assert office.status(bob, office.ask(bob, node_id)) == "Approved"
    office.forbid('principal has division && principal.division == "Interns"')
    assert office.status(bob, office.ask(bob, node_id)) == "Pending"
    assert (
        office.status(office.user("carol"), office.ask(office.as_user("carol", _id(office, "carol")), node_id))
        == "Approved"
    )


def _id(office: Any, name: str) -> str:
    return str(office.world.call("iam:GetUser", {"UserName": name})["User"]["UserId"])


def test_a_request_keeps_the_policy_that_it_was_made_under(office: Any) -> None:
    alice, bob, node_id = office.user("alice"), office.user("bob"), office.fleet.admit()
    office.policy("Everything", ALICE)
    request_id = office.ask(bob, node_id)
    changed = {"schemaVersion": "1.0", "accessDurationHours": 1, "levels": [{"approvers": [{"type": "IamUser", "name": "bob"}]}]}  # fmt: skip # noqa: E501
    office.world.call("UpdateDocument", {"Name": "Everything", "Content": json.dumps(changed)})
    office.world.call("UpdateDocumentDefaultVersion", {"Name": "Everything", "DocumentVersion": "2"})
    office.answer("ApproveAccessRequest", alice, request_id)
    assert office.status(bob, request_id) == "Approved"


def test_the_guide_s_policies_are_good() -> None:
    text = GUIDE.read_text()
    (manual,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    policy = protocol.parse_approval(json.loads(manual))
    assert [len(level.approvers) for level in policy.levels] == [1, 2]
    (automatic,) = re.findall(r"```\n(permit .*?)```", text, re.DOTALL)
    cedar.check(automatic, cedar.AUTO_APPROVAL)
