"""Cedar: texts of auto-approval and deny-access policies, checked before they are stored, and what they decide.

The library that reads Cedar recurses on brackets and `if` without a limit: a text nested deeply enough ends the whole
process. So every text is cut into tokens here first, and what is too deep, or is no token that we know, never gets
there (ADR 0013).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cedarpy

from fleetward.protocol.document import DocumentFault

AUTO_APPROVAL = "SSM-JustInTimeAccessAutoApprovalPolicy"
DENY_ACCESS = "SSM-JustInTimeAccessDenyAccessOrgPolicy"
NAMES = (AUTO_APPROVAL, DENY_ACCESS)
"""Documents of type AutoApprovalPolicy have one of these names, as in AWS."""

TEXT_LIMIT = 16_384
DEEPEST = 20
MOST_IFS = 100
EFFECTS = ("permit", "forbid")
ATTRIBUTES = ("employeeNumber", "costCenter", "organization", "division")
"""Attributes of a user: tags of these keys."""

SCHEMA = """
namespace AWS::EC2 { entity Instance tags String; }
namespace AWS::IdentityStore {
    entity Group;
    entity User in [Group] {
        employeeNumber?: String, costCenter?: String, organization?: String, division?: String,
    };
}
namespace AWS::IAM {
    entity Role;
    type AuthorizationContext = { principalTags: PrincipalTags };
    entity PrincipalTags tags String;
}
namespace AWS::SSM {
    entity ManagedInstance tags String;
    action "getTokenForInstanceAccess" appliesTo {
        principal: [AWS::IdentityStore::User],
        resource: [AWS::EC2::Instance, AWS::SSM::ManagedInstance],
        context: { "iam": AWS::IAM::AuthorizationContext },
    };
}
"""
"""What policies may speak of, as the user guide has it."""

_USER, _GROUP = "AWS::IdentityStore::User", "AWS::IdentityStore::Group"
_NODE, _TAGS = "AWS::SSM::ManagedInstance", "AWS::IAM::PrincipalTags"
_ACTION = {"type": "AWS::SSM::Action", "id": "getTokenForInstanceAccess"}
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<comment>//[^\n\r\x0b\x0c\x85\u2028\u2029]*)
      | (?P<string>"(?:\\.|[^"\\\n\r])*")
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>[0-9]+)
      | (?P<open>[(\[{])
      | (?P<close>[)\]}])
      | (?P<other>[-+*/%<>=!&|.,:;@])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks for access: by unique id, with the names and ids of the groups, and the tags."""

    user_id: str
    groups: Sequence[str]
    tags: Mapping[str, str]


def check(text: str, name: str) -> None:
    """Refuse a text that is no policy for the document of this name; DocumentFault."""
    effects = _bounded(text)
    if not effects:
        raise DocumentFault("the policy has no statement")
    if name == DENY_ACCESS and effects != {"forbid"}:
        raise DocumentFault("a deny-access policy consists of forbid statements alone")
    found = cedarpy.validate_policies(text, SCHEMA)
    if not found.validation_passed:
        raise DocumentFault("; ".join(_shown(each.error) for each in found.errors[:3]))


def allows(texts: Sequence[str], requester: Requester, node_id: str, node_tags: Mapping[str, str]) -> bool:
    """Whether somebody gets into a node without being approved by hand: one permit at least, and no forbid.

    What cannot be read or evaluated might have been a forbid: then nobody does.
    """
    try:
        policies = _policies(tuple(texts))
    except (DocumentFault, ValueError):
        return False
    principal, resource, tags = (_uid(_USER, requester.user_id), _uid(_NODE, node_id), _uid(_TAGS, "caller"))
    attributes = {key: requester.tags[key] for key in ATTRIBUTES if key in requester.tags}
    groups = [_uid(_GROUP, each) for each in requester.groups]
    entities: list[dict[str, Any]] = [
        {"uid": principal, "attrs": attributes, "parents": groups},
        *({"uid": each, "attrs": {}, "parents": []} for each in groups),
        {"uid": resource, "attrs": {}, "parents": [], "tags": dict(node_tags)},
        {"uid": tags, "attrs": {}, "parents": [], "tags": dict(requester.tags)},
    ]
    request = {
        "principal": principal,
        "action": _ACTION,
        "resource": resource,
        "context": {"iam": {"principalTags": {"__entity": tags}}},
    }
    decided = cedarpy.is_authorized(request, policies, entities)
    return bool(decided.allowed) and not decided.diagnostics.errors


def _bounded(text: str) -> set[str]:
    """The effects of a text's statements; DocumentFault for what is too long, too deep, or not of Cedar's tokens."""
    if len(text) > TEXT_LIMIT:
        raise DocumentFault(f"a Cedar policy has {TEXT_LIMIT} characters at most")
    at, depth, ifs = 0, 0, 0
    before, effects = ["", ""], set()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise DocumentFault(f"line {_line(text, at)} has something that is not Cedar")
        at, kind = match.end(), match.lastgroup
        if kind in ("space", "comment"):
            continue
        word = match[0]
        depth += {"open": 1, "close": -1}.get(str(kind), 0)
        ifs += word == "if"
        if depth > DEEPEST or ifs > MOST_IFS:
            raise DocumentFault(f"line {_line(text, at)} is nested too deeply")
        if word == "." and before[0] == "has":
            raise DocumentFault(f"line {_line(text, at)}: `has` takes one attribute")
        if depth == 0 and word in EFFECTS and before[1] != "@":
            effects.add(word)
        before = [before[1], word]
    return effects


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


@lru_cache(maxsize=64)
def _policies(texts: tuple[str, ...]) -> Any:
    for text in texts:
        _bounded(text)
    return cedarpy.PolicySet.from_str("\n".join(texts))


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _shown(message: str) -> str:
    return message if len(message) <= 300 else message[:297] + "..."
