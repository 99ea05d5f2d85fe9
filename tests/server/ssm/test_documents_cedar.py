"""Policies in Cedar: what is refused before the library reads it, and what they decide."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from fleetward.protocol.document import DocumentFault
from fleetward.server.errors import ValidationException
from fleetward.server.ssm.documents import cedar
from fleetward.server.ssm.errors import DocumentLimitExceeded, InvalidDocumentContent

ACTION = 'action == AWS::SSM::Action::"getTokenForInstanceAccess"'
OPS_TO_DEVELOPMENT = f"""
// Operators get into what is marked (so far) as "Development".
permit (principal in AWS::IdentityStore::Group::"Operators", {ACTION}, resource)
when {{ resource.hasTag("Environment") && resource.getTag("Environment") == "Development" }};
"""
NO_INTERNS = f"""forbid (principal, {ACTION}, resource)
when {{ principal has division && principal.division == "Interns" }};"""
BY_TAG = f"""permit (principal, {ACTION}, resource)
when {{ context.iam.principalTags.hasTag("Role") && context.iam.principalTags.getTag("Role") like "Admin*" }};"""
DEVELOPMENT = {"Environment": "Development"}
COUNTS = f"forbid (principal, {ACTION}, resource) when {{ 9223372036854775807 + 1 == 0 }};"
POLICY = {
    "schemaVersion": "1.0",
    "accessDurationHours": 1,
    "levels": [{"approvers": [{"type": "IamUser", "name": "alice"}]}],
}


def requester(*groups: str, **tags: str) -> cedar.Requester:
    return cedar.Requester("AIDAEXAMPLE", groups, tags)


def condition(text: str) -> str:
    return f"permit (principal, action, resource) when {{ {text} }};"


@pytest.mark.parametrize(
    ("texts", "who", "tags", "allowed"),
    [
        ([OPS_TO_DEVELOPMENT], requester("Operators"), DEVELOPMENT, True),
        ([OPS_TO_DEVELOPMENT], requester("Operators"), {"Environment": "Production"}, False),
        ([OPS_TO_DEVELOPMENT], requester("Operators"), {}, False),
        ([OPS_TO_DEVELOPMENT], requester("Others"), DEVELOPMENT, False),
        ([NO_INTERNS, OPS_TO_DEVELOPMENT], requester("Operators"), DEVELOPMENT, True),
        ([NO_INTERNS, OPS_TO_DEVELOPMENT], requester("Operators", division="Interns"), DEVELOPMENT, False),
        ([BY_TAG], requester(Role="Administrator"), {}, True),
        ([BY_TAG], requester(Role="Reader"), {}, False),
        ([NO_INTERNS], requester(), {}, False),
        ([COUNTS, BY_TAG], requester(Role="Admin"), {}, False),
        ([], requester("Operators"), {}, False),
        (["permit (", BY_TAG], requester(Role="Admin"), {}, False),
        (["(" * 30, BY_TAG], requester(Role="Admin"), {}, False),
    ],
)  # fmt: skip
def test_a_permit_lets_in_and_a_forbid_never_does(texts: Any, who: Any, tags: Any, allowed: bool) -> None:
    assert cedar.allows(texts, who, "mi-0123456789abcdef0", tags) is allowed


@pytest.mark.parametrize("name", cedar.NAMES)
def test_what_only_forbids_is_good_under_both_names(name: str) -> None:
    cedar.check(NO_INTERNS, name)


@pytest.mark.parametrize("text", [OPS_TO_DEVELOPMENT, BY_TAG, OPS_TO_DEVELOPMENT + NO_INTERNS])
def test_a_permit_is_good_for_approving_alone(text: str) -> None:
    cedar.check(text, cedar.AUTO_APPROVAL)
    with pytest.raises(DocumentFault, match="forbid statements alone"):
        cedar.check(text, cedar.DENY_ACCESS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no statement"),
        ("// permit", "no statement"),
        ('@permit("a")', "no statement"),
        ("permit (", "unexpected end"),
        ("permit (principal, action == AWS::SSM::getTokenForInstanceAccess, resource);", "entity uid"),
        ("permit (principal == ?principal, action, resource);", "not Cedar"),
        ('permit (principal, action == Action::"other", resource);', "Action"),
        (condition('principal.division == "Platform"'), "division"),
        (condition('resource.getTag("a") == "b"'), "tag"),
        (condition('principal.name == "b"'), "name"),
        (condition("(" * 21 + "true" + ")" * 21), "too deeply"),
        (condition("[" * 21 + "]" * 21 + " == 1"), "too deeply"),
        (condition("if true then true else " * 101 + "true"), "too deeply"),
        (condition('"unfinished'), "not Cedar"),
        ("permit (principal, action, resource)\u2028;", "not Cedar"),
        (condition("principal has a.b"), "one attribute"),
        (condition("principal has\n// comment\na // comment\n. b"), "one attribute"),
        (" " * 16_385, "16384 characters"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(DocumentFault) as caught:
        cedar.check(text, cedar.AUTO_APPROVAL)
    assert reason in caught.value.reason


HIDDEN = "(" * 8000 + "true" + ")" * 8000


@pytest.mark.parametrize(
    "text",
    [
        condition(HIDDEN),
        f'// "\n{condition(HIDDEN)} // "',
        f'// "\r{condition(HIDDEN)}',
        condition(f'"\\"" == "" && {HIDDEN} && "" == "\\""'),
        condition(f'"//" == "" && {HIDDEN}'),
        condition("! " * 8000 + "true"),
        condition("if " * 5000 + "true"),
        "{" * 16_000,
        condition("[" * 8000),
    ],
)
def test_no_depth_is_hidden_from_the_guard(text: str) -> None:
    """In a process of its own, which would not survive what gets past the guard."""
    program = (
        "import sys; from fleetward.server.ssm.documents import cedar; cedar.check(sys.stdin.read(), cedar.NAMES[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr[-300:]
    assert "DocumentFault" in done.stderr


@pytest.mark.parametrize(
    ("repeated", "end"), [("true && ", "true"), ("1 + ", "1 == 1"), ("1 == 1 || ", "true"), ("!true || ", "true")]
)
def test_long_policies_are_read(repeated: str, end: str) -> None:
    cedar.check(condition(repeated * (15_000 // len(repeated)) + end), cedar.AUTO_APPROVAL)


def create(world: Any, name: str, text: str, kind: str = "AutoApprovalPolicy", **members: Any) -> Any:
    return world.call("CreateDocument", {"Name": name, "Content": text, "DocumentType": kind, **members})


def test_a_policy_comes_back_as_it_was_written(world: Any) -> None:
    create(world, cedar.AUTO_APPROVAL, OPS_TO_DEVELOPMENT)
    assert world.call("GetDocument", {"Name": cedar.AUTO_APPROVAL})["Content"] == OPS_TO_DEVELOPMENT
    changed = {"Name": cedar.AUTO_APPROVAL, "DocumentVersion": "$LATEST"}
    world.call("UpdateDocument", {**changed, "Content": BY_TAG})
    with pytest.raises(InvalidDocumentContent, match="no statement"):
        world.call("UpdateDocument", {**changed, "Content": "// none"})


def test_policies_have_the_names_that_aws_gives_them(world: Any) -> None:
    with pytest.raises(ValidationException, match=cedar.AUTO_APPROVAL):
        create(world, "Mine", BY_TAG)
    with pytest.raises(ValidationException, match="AutoApprovalPolicy"):
        create(world, cedar.DENY_ACCESS, json.dumps(POLICY), "ManualApprovalPolicy")
    with pytest.raises(InvalidDocumentContent, match="forbid statements alone"):
        create(world, cedar.DENY_ACCESS, BY_TAG)
    create(world, cedar.DENY_ACCESS, NO_INTERNS, DocumentFormat="TEXT")


def test_manual_policies_are_checked_and_counted(world: Any) -> None:
    with pytest.raises(InvalidDocumentContent, match="accessDurationHours"):
        create(world, "Wrong", json.dumps({**POLICY, "accessDurationHours": 0}), "ManualApprovalPolicy")
    for number in range(50):
        create(world, f"Manual-{number}", json.dumps(POLICY), "ManualApprovalPolicy")
    with pytest.raises(DocumentLimitExceeded, match="50 manual approval policies"):
        create(world, "Manual-50", json.dumps(POLICY), "ManualApprovalPolicy")
