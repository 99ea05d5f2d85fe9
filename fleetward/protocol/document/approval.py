"""Manual approval policies: who must approve that somebody gets into which nodes just in time, and for how long.

{"schemaVersion": "1.0",
 "targets": [{"key": "tag:Environment", "values": ["Production"]}],    none: every node
 "accessDurationHours": 8,
 "answerWithinHours": 24,
 "endSessions": false,                                                 true: sessions end with the access
 "levels": [{"minimumApprovals": 1, "approvers": [{"type": "IamGroup", "name": "Operators"}]}]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetward.protocol.document.parse import DocumentFault, check_json, flag, read_text

SCHEMA = "1.0"
APPROVER_TYPES = ("IamUser", "IamGroup", "IamRole")
ACCESS_HOURS = (1, 336)
ANSWER_HOURS = (1, 168)
ANSWER_HOURS_DEFAULT = 24
MOST_LEVELS = 5
MOST_APPROVERS = 5
"""Of one level."""
MOST_TARGETS = 20

_MEMBERS = (
    "$schema",
    "schemaVersion",
    "description",
    "targets",
    "accessDurationHours",
    "answerWithinHours",
    "endSessions",
    "levels",
)
_TAG_KEY = re.compile(r"tag:(.{1,128})", re.DOTALL)
_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Approver:
    """A user, a group whose users, or a role whose sessions may approve; by name, without path."""

    type: str
    name: str


@dataclass(frozen=True, slots=True)
class Level:
    """One step on the way to an approval: so many different people of these."""

    minimum: int
    approvers: tuple[Approver, ...]


@dataclass(frozen=True, slots=True)
class ApprovalPolicy:
    """A policy that passed every check. `targets` are tags (key, value), any of which is enough; none: every node."""

    description: str
    targets: tuple[tuple[str, str], ...]
    access_hours: int
    answer_hours: int
    end_sessions: bool
    levels: tuple[Level, ...]

    def applies(self, tags: Mapping[str, str]) -> bool:
        """Whether the policy names a node's tags."""
        return any(tags.get(key) == value for key, value in self.targets)


def parse_approval(content: Any) -> ApprovalPolicy:
    """Read a document of type ManualApprovalPolicy; DocumentFault says what is wrong with it."""
    if not isinstance(content, Mapping):
        raise DocumentFault("the document must be an object")
    try:
        check_json(content)
    except ValueError as error:
        raise DocumentFault(f"the document {error}") from None
    _refuse_others("the document", content, _MEMBERS)
    if content.get("schemaVersion") != SCHEMA:
        raise DocumentFault(f"schemaVersion of a manual approval policy must be the text {SCHEMA!r}")
    return ApprovalPolicy(
        description=read_text(content, "description", "the document") or "",
        targets=_targets(content.get("targets", [])),
        access_hours=_hours("accessDurationHours", content.get("accessDurationHours"), ACCESS_HOURS),
        answer_hours=_hours("answerWithinHours", content.get("answerWithinHours", ANSWER_HOURS_DEFAULT), ANSWER_HOURS),
        end_sessions=_switch(content.get("endSessions", False)),
        levels=_levels(content.get("levels")),
    )


def _targets(targets: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(targets, list) or len(targets) > MOST_TARGETS:
        raise DocumentFault(f"targets must be a list of at most {MOST_TARGETS} tags")
    found: list[tuple[str, str]] = []
    for target in targets:
        key = target.get("key") if isinstance(target, Mapping) else None
        match = _TAG_KEY.fullmatch(key) if isinstance(key, str) else None
        if match is None:
            raise DocumentFault("a target needs a key such as tag:Environment")
        _refuse_others("a target", target, ("key", "values"))
        values = target.get("values")
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            raise DocumentFault(f"the target {key} needs a list of values")
        found += [(match[1], value) for value in values]
    return tuple(found)


def _levels(levels: Any) -> tuple[Level, ...]:
    if not isinstance(levels, list) or not 1 <= len(levels) <= MOST_LEVELS:
        raise DocumentFault(f"levels must be a list of 1 to {MOST_LEVELS} levels")
    return tuple(_level(f"level {number}", each) for number, each in enumerate(levels, start=1))


def _level(where: str, level: Any) -> Level:
    if not isinstance(level, Mapping):
        raise DocumentFault(f"{where} must be an object")
    _refuse_others(where, level, ("minimumApprovals", "approvers"))
    approvers = level.get("approvers")
    if not isinstance(approvers, list) or not 1 <= len(approvers) <= MOST_APPROVERS:
        raise DocumentFault(f"{where} needs 1 to {MOST_APPROVERS} approvers")
    read = tuple(_approver(where, each) for each in approvers)
    if len(set(read)) != len(read):
        raise DocumentFault(f"{where} names an approver twice")
    minimum = _number(level.get("minimumApprovals", 1))
    if minimum is None or not 1 <= minimum <= MOST_APPROVERS:
        raise DocumentFault(f"{where}: minimumApprovals must be from 1 to {MOST_APPROVERS}")
    if minimum > len(read) and all(each.type == "IamUser" for each in read):
        raise DocumentFault(f"{where} asks for {minimum} approvals and names {len(read)} users")
    return Level(minimum, read)


def _approver(where: str, approver: Any) -> Approver:
    if not isinstance(approver, Mapping):
        raise DocumentFault(f"{where}: an approver must be an object")
    _refuse_others(f"{where}: an approver", approver, ("type", "name"))
    kind, name = approver.get("type"), approver.get("name")
    if kind not in APPROVER_TYPES:
        raise DocumentFault(f"{where}: the type of an approver must be one of {', '.join(APPROVER_TYPES)}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DocumentFault(f"{where}: an approver needs a name, without path")
    return Approver(kind, name)


def _hours(member: str, value: Any, bounds: tuple[int, int]) -> int:
    number = _number(value)
    if number is None or not bounds[0] <= number <= bounds[1]:
        raise DocumentFault(f"{member} must be hours from {bounds[0]} to {bounds[1]}")
    return number


def _number(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else None


def _switch(value: Any) -> bool:
    if not isinstance(value, bool) and value not in ("true", "false"):
        raise DocumentFault("endSessions must be true or false")
    return flag(value)


def _refuse_others(where: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """A misspelt rule would silently not hold."""
    for name in given:
        if name not in known:
            raise DocumentFault(f"{where} has {name!r}, which is none of {', '.join(known)}")
