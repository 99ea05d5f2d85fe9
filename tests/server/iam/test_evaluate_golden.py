"""The decision against tables written from the policy reference: `tests/golden/iam/operators` and `…/decisions`.

An operator's file: what it means, the key and values of the condition, the values a request has for that key, a line
of dashes, and for each of them and each form of the operator whether the condition holds. A decision's file: what it
shows, policies by kind (`identity: <statement or statements or policy>`), requests (`request <label>: <action>
<resource> <context>`), a line of dashes, and for each label the outcome and the kind of policy that decided.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetward.server.iam.conditions import OPERATORS
from fleetward.server.iam.evaluate import PolicySet, Request, ResourceRule, compile_policy, decide

GOLDEN = Path(__file__).parents[2] / "golden" / "iam"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
DASHES = "--------"


def policy(text: Any, *, resource_based: bool = False) -> Any:
    """A compiled policy from a statement, a list of statements or a whole policy."""
    whole = isinstance(text, dict) and "Statement" in text
    document = text if whole else {"Version": "2012-10-17", "Statement": text}
    return compile_policy(document, resource_based=resource_based)


# --- operators


def operator_cases() -> Iterator[Any]:
    """Every line behind the dashes: (operator, key, the policy's values, the request's values, whether it holds)."""
    for file in sorted((GOLDEN / "operators").glob("*.txt")):
        given, _, expected = file.read_text().partition(f"\n{DASHES}\n")
        head = dict(line.split(": ", 1) for line in given.splitlines() if line.startswith(("key: ", "values: ")))
        rows = dict(line.split(":", 1) for line in given.rpartition("\n\n")[2].splitlines())
        label = ""
        for line in expected.splitlines():
            if not line.startswith(" "):
                label = line.removesuffix(":")
                continue
            operator, holds = line.split()
            values = json.loads(rows[label])
            case = (operator, head["key"], json.loads(head["values"]), values, holds == "holds")
            yield pytest.param(*case, id=f"{operator} {label} {file.stem}")


@pytest.mark.parametrize(("operator", "key", "wanted", "values", "holds"), list(operator_cases()))
def test_operators_hold_as_the_reference_says(
    operator: str, key: str, wanted: list[str], values: list[str], holds: bool
) -> None:
    condition = {"Condition": {operator: {key: wanted}}}
    request = Request("ssm:SendCommand", "arn:aws:ssm:us-east-1:123456789012:document/Setup", {key: values})
    granted = PolicySet((policy({**EVERYTHING, **condition}),))
    assert decide(granted, request).allowed is holds
    denied = PolicySet((policy(EVERYTHING), policy({**EVERYTHING, "Effect": "Deny", **condition})))
    assert decide(denied, request).allowed is not holds


def test_every_operator_has_a_table() -> None:
    tables = {file.stem.lower() for file in (GOLDEN / "operators").glob("*.txt")}
    assert tables == {*OPERATORS, "null", "null-false"}


# --- decisions


class Case:
    """One file of `decisions`."""

    def __init__(self, text: str) -> None:
        given, _, expected = text.partition(f"\n{DASHES}\n")
        self.kinds: dict[str, list[Any]] = {}
        self.rule = ResourceRule.MAY_GRANT
        self.caller: tuple[str, ...] = ()
        self.requests: dict[str, Request] = {}
        for line in given.splitlines()[1:]:
            word, _, rest = line.partition(": ")
            if word == "rule":
                self.rule = ResourceRule(rest)
            elif word == "caller":
                self.caller = tuple(rest.split())
            elif word.startswith("request "):
                action, resource, *context = rest.split(" ", 2)
                keys = json.loads(context[0]) if context else {}
                self.requests[word.removeprefix("request ")] = Request(action, resource, keys, self.caller)
            elif rest == "none":
                self.kinds.setdefault(word, [])
            elif word:
                self.kinds.setdefault(word, []).append(policy(json.loads(rest), resource_based=word == "resource"))
        self.expected = dict(line.split(": ", 1) for line in expected.splitlines())

    def policies(self) -> PolicySet:
        """The set that the file describes; each `control` line is a level."""
        given = {kind: tuple(found) for kind, found in self.kinds.items()}
        levels = given.pop("control", None)
        resource = given.pop("resource", ())
        control = None if levels is None else tuple((level,) for level in levels)
        own = PolicySet(**{"identity": (), **given}, service_control=control)
        return own.with_resource(resource, self.rule)


FILES = sorted((GOLDEN / "decisions").glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_policies_decide_as_the_reference_says(file: Path) -> None:
    case = Case(file.read_text())
    policies = case.policies()
    found = {}
    for label, request in case.requests.items():
        decision = decide(policies, request)
        found[label] = f"{decision.outcome.value} by {decision.kind.value}"
    assert found == case.expected


def test_there_are_decisions_of_every_kind() -> None:
    told = " ".join(file.read_text() for file in FILES)
    assert len(FILES) > 40
    for word in (
        "boundary: ",
        "session: ",
        "control: ",
        "resource: ",
        "NotPrincipal",
        "NotAction",
        "NotResource",
        "${",
    ):
        assert word in told
