"""Manual approval policies: what one may say, and which nodes it is about."""

from __future__ import annotations

from typing import Any

import pytest

from fleetward.protocol.document import DocumentFault, parse_approval

ALICE = {"type": "IamUser", "name": "alice"}
POLICY = {
    "schemaVersion": "1.0",
    "description": "Production by two.",
    "targets": [{"key": "tag:Environment", "values": ["Production", "Staging"]}, {"key": "tag:Tier", "values": ["1"]}],
    "accessDurationHours": 8,
    "levels": [
        {"approvers": [ALICE]},
        {"minimumApprovals": 2, "approvers": [{"type": "IamGroup", "name": "Operators"}]},
    ],
}


def changed(**members: Any) -> dict[str, Any]:
    return {**POLICY, **members}


def level(*approvers: Any, **members: Any) -> dict[str, Any]:
    return changed(levels=[{"approvers": list(approvers), **members}])


def test_a_policy_says_who_where_and_how_long() -> None:
    policy = parse_approval(POLICY)
    assert (policy.access_hours, policy.answer_hours, policy.end_sessions) == (8, 24, False)
    assert [each.minimum for each in policy.levels] == [1, 2]
    assert policy.levels[1].approvers[0].name == "Operators"
    assert policy.applies({"Environment": "Staging", "a": "b"})
    assert policy.applies({"Tier": "1"})
    assert not policy.applies({"Environment": "staging"})
    assert not policy.applies({})


def test_a_policy_without_targets_names_no_tag() -> None:
    policy = parse_approval({name: value for name, value in POLICY.items() if name != "targets"})
    assert policy.targets == ()
    assert not policy.applies({"Environment": "Production"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "object"),
        ({}, "schemaVersion"),
        (changed(schemaVersion="2.0"), "schemaVersion"),
        (changed(approvers=[ALICE]), "'approvers'"),
        (changed(description=1), "description"),
        (changed(targets={}), "targets"),
        (changed(targets=[{"key": "InstanceIds", "values": ["x"]}]), "tag:Environment"),
        (changed(targets=[{"key": "tag:a"}]), "values"),
        (changed(targets=[{"key": "tag:a", "values": []}]), "values"),
        (changed(targets=[{"key": "tag:a", "values": ["b"], "not": 1}]), "'not'"),
        (changed(accessDurationHours=0), "accessDurationHours must be hours from 1 to 336"),
        (changed(accessDurationHours=337), "accessDurationHours"),
        (changed(accessDurationHours=True), "accessDurationHours"),
        (changed(answerWithinHours=169), "answerWithinHours"),
        (changed(endSessions="yes"), "endSessions"),
        (changed(endSessions=1), "endSessions"),
        (changed(levels=[]), "1 to 5 levels"),
        (changed(levels=[{"approvers": [ALICE]}] * 6), "1 to 5 levels"),
        (changed(levels=["alice"]), "level 1 must be an object"),
        (level(), "1 to 5 approvers"),
        (level(*({"type": "IamUser", "name": f"u{i}"} for i in range(6))), "1 to 5 approvers"),
        (level(ALICE, ALICE), "twice"),
        (level("alice"), "must be an object"),
        (level({"type": "User", "name": "alice"}), "type of an approver"),
        (level({"type": ["IamUser"], "name": "alice"}), "type of an approver"),
        (level({"type": "IamUser", "name": "a/b"}), "without path"),
        (level({"type": "IamUser"}), "without path"),
        (level({**ALICE, "arn": ""}), "'arn'"),
        (level(ALICE, minimumApprovals=2), "2 approvals and names 1 users"),
        (level(ALICE, minimumApprovals=0), "minimumApprovals"),
        (level(ALICE, minimumApprovals="1.5"), "minimumApprovals"),
        (changed(description="\0"), "NUL"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_reason(content: Any, reason: str) -> None:
    with pytest.raises(DocumentFault) as caught:
        parse_approval(content)
    assert reason in caught.value.reason
