"""Policy documents compiled to statements: read once, checked strictly, ready to be asked many times.

Source of behaviour: IAM user guide, "Grammar of the IAM JSON policy language". Anything the grammar does not know is
refused, so that no policy means less, or more, than its author reads in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from fleetward.server.iam.conditions import Condition, compile_condition
from fleetward.server.iam.patterns import (
    MalformedPolicy,
    Matcher,
    Piece,
    Template,
    TextTest,
    Values,
    everything,
    glob,
    parse_template,
    text_test,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may hold: characters of its compact JSON, statements, levels of nesting."""

    characters: int = 10_240
    statements: int = 256
    depth: int = 12


class Reach(IntEnum):
    """How a statement of a resource-based policy names a caller."""

    NONE = 0
    ACCOUNT = 1
    """Through the caller's account only, which leaves the grant to that account's identity-based policies."""
    DIRECT = 2


@dataclass(frozen=True, slots=True)
class Principals:
    """A Principal or NotPrincipal element: names as `AWS:<arn>`, `Service:<name>`, `Federated:<name>` …"""

    names: frozenset[str]
    anyone: bool
    negated: bool

    def reach(self, callers: Sequence[str], *, allow: bool) -> Reach:
        """How the element names a caller known by `callers`, the most specific name first.

        A NotPrincipal that denies spares only a caller all of whose names are listed; one that allows grants only to
        callers none of whose names is (IAM user guide, "NotPrincipal").
        """
        matched = [name for name in callers if name in self.names]
        if self.negated:
            if self.anyone:
                return Reach.NONE
            spared = bool(matched) or not callers if allow else bool(callers) and len(matched) == len(callers)
            return Reach.NONE if spared else Reach.DIRECT
        if self.anyone:
            return Reach.DIRECT
        if not matched:
            return Reach.NONE
        own = any(name == callers[0] or not name.endswith(":root") for name in matched)
        return Reach.DIRECT if own else Reach.ACCOUNT


@dataclass(frozen=True, slots=True)
class Actions:
    """An Action or NotAction element; texts are lower-cased."""

    exact: frozenset[str]
    patterns: tuple[Matcher, ...]
    services: frozenset[str] | None
    """Services whose actions it can cover; None: any."""
    negated: bool

    def cover(self, action: str) -> bool:
        """Whether a lower-cased action is covered."""
        named = action in self.exact or any(pattern(action) for pattern in self.patterns)
        return named != self.negated


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """One statement, compiled. `resources` is None where every resource is meant."""

    policy: str
    sid: str
    allow: bool
    actions: Actions
    resources: TextTest | None
    resources_negated: bool
    principals: Principals | None
    conditions: tuple[Condition, ...]
    keys: frozenset[str]
    """Lower-cased context keys that conditions and resource variables look at."""

    @property
    def matcher(self) -> Matcher | None:
        """The test of resources where it is the same in every context; None where it is not, or all are meant."""
        test = self.resources
        return None if test is None or test.dynamic or self.resources_negated else test.fixed

    @property
    def unconditional(self) -> bool:
        """Whether it applies to everyone, on every resource and in every context."""
        return self.resources is None and self.principals is None and not self.conditions

    def applies(self, resource: str, values: Values) -> bool:
        """Whether resource and conditions fit; action and principal are asked elsewhere."""
        return (self.resources is None or self._names(resource, values)) and self.holds(values)

    def holds(self, values: Values) -> bool:
        """Whether every condition is true."""
        for condition in self.conditions:  # noqa: SIM110 - a loop costs half of all() here, and this is the hot path
            if not condition.holds(values):
                return False
        return True

    def _names(self, resource: str, values: Values) -> bool:
        assert self.resources is not None
        match, resolved = self.resources.bind(values)
        if not self.resources_negated:
            return match(resource)
        # Ours: as in conditions, what a missing value would exempt is denied and not allowed.
        return not match(resource) and (resolved or not self.allow)


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A compiled document; statements are found by the service of an action."""

    name: str
    statements: tuple[Statement, ...]
    resource_based: bool
    by_service: Mapping[str, tuple[Statement, ...]]
    any_service: tuple[Statement, ...]

    def covering(self, action: str) -> Iterator[Statement]:
        """Statements that speak of a lower-cased action, whatever they say about it."""
        service = action.partition(":")[0]
        for statement in (*self.by_service.get(service, ()), *self.any_service):
            if statement.actions.cover(action):
                yield statement


def compile_policy(
    document: Mapping[str, Any] | str, *, name: str = "", resource_based: bool = False, limits: Limits | None = None
) -> Policy:
    """Check and compile a policy document, given as JSON text or as what such text decodes to.

    Identity-based policies, boundaries, session and service control policies name no principal; `resource_based` ones
    (trust policies too) must, and may leave Resource out. Raises MalformedPolicy and nothing else.
    """
    limits = limits or Limits()
    parsed = _read(document, limits)
    _only(parsed, {"Version", "Id", "Statement"}, "a policy")
    version = parsed.get("Version", "2008-10-17")
    if version not in ("2008-10-17", "2012-10-17"):
        raise MalformedPolicy("Version must be 2012-10-17 or 2008-10-17")
    if not isinstance(parsed.get("Id", ""), str):
        raise MalformedPolicy("Id must be text")
    found = parsed.get("Statement")
    listed: list[Any] = found if isinstance(found, list) else [found]
    raw = [statement for statement in listed if isinstance(statement, dict)]
    if not raw or len(raw) != len(listed):
        raise MalformedPolicy("Statement must be one statement or a list of them, not empty")
    if len(raw) > limits.statements:
        raise MalformedPolicy(f"a policy holds at most {limits.statements} statements, this one {len(raw)}")
    compiler = _Compiler(name, resource_based, variables=version == "2012-10-17")
    statements = tuple(compiler.statement(statement) for statement in raw)
    _unique(statement.sid for statement in statements)
    return _indexed(name, statements, resource_based)


def _indexed(name: str, statements: tuple[Statement, ...], resource_based: bool) -> Policy:
    by_service: dict[str, list[Statement]] = {}
    for statement in statements:
        for service in statement.actions.services or ():
            by_service.setdefault(service, []).append(statement)
    any_service = tuple(statement for statement in statements if statement.actions.services is None)
    index = {service: tuple(found) for service, found in by_service.items()}
    return Policy(name, statements, resource_based, index, any_service)


def _unique(sids: Iterable[str]) -> None:
    seen: set[str] = set()
    for sid in sids:
        if sid and sid in seen:
            raise MalformedPolicy(f"Sid {sid[:80]!r} occurs twice")
        seen.add(sid)


# --- reading


def _read(document: Mapping[str, Any] | str, limits: Limits) -> dict[str, Any]:
    """Plain dicts, lists and scalars, within limits."""
    if isinstance(document, str):
        if len(document) > limits.characters * 16:  # white space is not counted, but has an end too
            raise MalformedPolicy(f"a policy holds at most {limits.characters} characters")
        document = _parse(document)
    if not isinstance(document, Mapping):
        raise MalformedPolicy("a policy is a JSON object")
    copied = _copy(document, limits.depth)
    assert isinstance(copied, dict)
    size = len(json.dumps(copied, ensure_ascii=False, separators=(",", ":")))
    if size > limits.characters:
        raise MalformedPolicy(f"a policy holds at most {limits.characters} characters without spaces, this one {size}")
    return copied


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant)
    except MalformedPolicy:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedPolicy(f"not valid JSON: {str(error)[:120]}") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise MalformedPolicy("a JSON object names a member twice")
    return result


def _no_constant(word: str) -> Any:
    raise MalformedPolicy(f"{word} is not JSON")


def _copy(value: Any, depth: int) -> Any:
    if depth < 0:
        raise MalformedPolicy("the document is nested too deeply")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise MalformedPolicy("names of members must be text")
        return {key: _copy(member, depth - 1) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(member, depth - 1) for member in value]
    if isinstance(value, int) and abs(value) >= 10**40:
        raise MalformedPolicy("a number has more than 40 digits")
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise MalformedPolicy(f"a policy cannot hold a {type(value).__name__}")


def _only(mapping: Mapping[str, Any], known: set[str], what: str) -> None:
    unknown = sorted(set(mapping) - known)
    if unknown:
        raise MalformedPolicy(f"{what} has no element {unknown[0][:80]!r}")


def _texts(value: Any, what: str) -> list[str]:
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(text, str) and text for text in found):
        raise MalformedPolicy(f"{what} must be text or a list of texts, not empty")
    return found


# --- statements

_ELEMENTS = {
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Principal",
    "NotPrincipal",
    "Condition",
}
_ACTION = re.compile(r"([A-Za-z0-9-]+):[A-Za-z0-9*?_-]+")
_ACCOUNT = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True)
class _Compiler:
    policy: str
    resource_based: bool
    variables: bool

    def statement(self, raw: dict[str, Any]) -> Statement:
        _only(raw, _ELEMENTS, "a statement")
        sid, effect = raw.get("Sid", ""), raw.get("Effect")
        if not isinstance(sid, str):
            raise MalformedPolicy("Sid must be text")
        if effect not in ("Allow", "Deny"):
            raise MalformedPolicy("Effect must be Allow or Deny")
        allow = effect == "Allow"
        resources, resources_negated = self._resources(raw)
        conditions = tuple(self._conditions(raw.get("Condition", {}), allow=allow))
        keys = frozenset[str]().union(*(condition.keys for condition in conditions))
        return Statement(
            policy=self.policy,
            sid=sid,
            allow=allow,
            actions=_actions(raw),
            resources=resources,
            resources_negated=resources_negated,
            principals=self._principals(raw),
            conditions=conditions,
            keys=keys | resources.keys if resources else keys,
        )

    def _resources(self, raw: dict[str, Any]) -> tuple[TextTest | None, bool]:
        if self.resource_based and "Resource" not in raw and "NotResource" not in raw:
            return None, False
        element, negated = _one_of(raw, "Resource", "NotResource")
        test = text_test([one for text in _texts(raw[element], element) for one in self._resource(text)], glob)
        if test.fixed is everything and not negated:
            return None, False
        return test, negated

    def _resource(self, text: str) -> list[Template]:
        if not text.startswith(("arn:", "*", "${")):
            raise MalformedPolicy(f"resource {text[:80]!r} must be an ARN or '*'")
        template = parse_template(text, variables=self.variables)
        if not text.startswith("arn:") or template.keys or text.count(":") >= 5:
            return [template]
        # An ARN cut short stands for all it could begin (IAM user guide, "Resource: incomplete ARNs"); as it stands it
        # counts too, since its stars may span several fields.
        return [template, Template((*template.parts, Piece(":*", wild=True)))]

    def _principals(self, raw: dict[str, Any]) -> Principals | None:
        if not self.resource_based:
            if "Principal" in raw or "NotPrincipal" in raw:
                raise MalformedPolicy("only a resource-based policy names a principal")
            return None
        element, negated = _one_of(raw, "Principal", "NotPrincipal")
        value = raw[element]
        if value == "*":
            return Principals(frozenset(), anyone=True, negated=negated)
        if not isinstance(value, dict) or not value:
            raise MalformedPolicy(f"{element} must be '*' or an object such as {{'AWS': '<arn>'}}")
        _only(value, {"AWS", "Service", "Federated", "CanonicalUser"}, element)
        names = {_principal(kind, text) for kind, texts in value.items() for text in _texts(texts, element)}
        return Principals(frozenset(names - {"*"}), anyone="*" in names, negated=negated)

    def _conditions(self, block: Any, *, allow: bool) -> Iterator[Condition]:
        if not isinstance(block, dict) or not all(isinstance(lines, dict) for lines in block.values()):
            raise MalformedPolicy("Condition must be an object of operators, each an object of keys")
        for name, lines in block.items():
            for key, value in lines.items():
                texts = [_scalar(member) for member in (value if isinstance(value, list) else [value])]
                yield compile_condition(name, key, texts, variables=self.variables, allow=allow)


def _one_of(raw: Mapping[str, Any], element: str, opposite: str) -> tuple[str, bool]:
    if (element in raw) == (opposite in raw):
        raise MalformedPolicy(f"a statement needs either {element} or {opposite}")
    return (element, False) if element in raw else (opposite, True)


def _actions(raw: Mapping[str, Any]) -> Actions:
    element, negated = _one_of(raw, "Action", "NotAction")
    texts = [text.lower() for text in _texts(raw[element], element)]
    services: set[str] = set()
    anything = negated
    for text in texts:
        named = _ACTION.fullmatch(text)
        if named:
            services.add(named[1])
        elif text in ("*", "*:*"):
            anything = True
        else:
            raise MalformedPolicy(f"action {text[:80]!r} must be '*' or read service:Action")
    exact = frozenset(text for text in texts if "*" not in text and "?" not in text)
    patterns = tuple(glob((Piece(text, wild=True),)) for text in dict.fromkeys(texts) if text not in exact)
    return Actions(exact, patterns, None if anything else frozenset(services), negated)


def _principal(kind: str, text: str) -> str:
    """`AWS:arn:…`; an account number means its root; `*` stands alone and for AWS only."""
    if text == "*" and kind == "AWS":
        return "*"
    if "*" in text or "?" in text:
        raise MalformedPolicy(f"principal {text[:80]!r} must be named in full")
    if kind == "AWS" and _ACCOUNT.fullmatch(text):
        return f"AWS:arn:aws:iam::{text}:root"
    return f"{kind}:{text}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise MalformedPolicy("values of a condition must be texts, numbers or booleans")
