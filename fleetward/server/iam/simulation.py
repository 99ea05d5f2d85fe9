"""Simulation: what policies would decide, for documents in the request or for those of a user, group or role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from fleetward.server.call import Call, Resource
from fleetward.server.iam import evaluate, groups, names, principals
from fleetward.server.iam.errors import InvalidInputException, NoSuchEntityException
from fleetward.server.iam.principals import Texts
from fleetward.server.iam.service import iam

MOST_PAIRS = 1000
"""Ours: actions times resources of one call."""
SOURCE_TYPES = {
    evaluate.PolicyKind.IDENTITY: "IAM Policy",
    evaluate.PolicyKind.RESOURCE: "Resource Policy",
    evaluate.PolicyKind.BOUNDARY: "IAM Policy",
    evaluate.PolicyKind.SESSION: "IAM Policy",
    evaluate.PolicyKind.SERVICE_CONTROL: "IAM Policy",
}
DECISIONS = {
    evaluate.Outcome.ALLOW: "allowed",
    evaluate.Outcome.IMPLICIT_DENY: "implicitDeny",
    evaluate.Outcome.EXPLICIT_DENY: "explicitDeny",
}
_VARIABLE = re.compile(r"\$\{([^*?$][^},]*)")


@dataclass(frozen=True, slots=True)
class Source:
    """The policies of a simulation: those that grant, and the boundary."""

    arn: str
    identity: Texts
    boundary: Texts | None = None


def context_keys(documents: Iterable[str]) -> list[str]:
    """The condition keys that documents look at, conditions and variables alike, as they are written there."""
    found: dict[str, str] = {}
    for document in documents:
        for key in _keys_in(orjson.loads(document)):
            found.setdefault(key.lower(), key)
    return sorted(found.values())


def _keys_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (key.strip() for key in _VARIABLE.findall(value))
    elif isinstance(value, list):
        for each in value:
            yield from _keys_in(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name == "Condition" and isinstance(each, dict):
                for tested in each.values():
                    yield from tested if isinstance(tested, dict) else ()
            yield from _keys_in(each)


def source_of(call: Call, arn: str) -> Source:
    """The policies of the user (with those of its groups), group or role that an ARN names; NoSuchEntity."""
    for kind, statement, member in (
        ("user", principals.USER, "user_name"),
        ("role", principals.ROLE, "role_name"),
        ("group", groups.GROUP, "group_name"),
    ):
        parsed = names.parse_arn(arn, kind)
        if parsed is None or parsed[0] != call.account:
            continue
        row = call.db.first(statement, account=call.account, **{member: parsed[2]})
        if row is None or row.path != parsed[1]:
            break
        if kind == "group":
            return Source(arn, principals.identity_texts(call, call.account, [row.group_id]))
        standing = principals.standing(call, (row.user_id if kind == "user" else row.role_id, ()))
        assert standing is not None
        return Source(arn, standing.identity, standing.boundary)
    if not arn.startswith("arn:aws:iam::"):
        raise InvalidInputException(f"Invalid Entity Arn: {arn} does not clearly define entity type and name.")
    raise NoSuchEntityException(f"No user, group or role with the ARN {arn} is found.")


def _given(request: Mapping[str, Any], member: str, name: str) -> Texts:
    texts = tuple((f"{name}.{number}", text) for number, text in enumerate(request.get(member, ()), 1))
    for label, text in texts:
        try:
            evaluate.compile_policy(text, name=label, limits=principals.STORED)
        except evaluate.MalformedPolicy as fault:
            raise InvalidInputException(f"{label}: {fault}") from fault
    return texts


def simulate(call: Call, operation: str, request: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """Decide every action on every resource, page by page."""
    identity = (*source.identity, *_given(request, "PolicyInputList", "PolicyInputList"))
    boundary = _given(request, "PermissionsBoundaryPolicyInputList", "PermissionsBoundaryPolicyInputList")
    policies = principals.policy_set(identity, boundary or source.boundary)
    if "ResourcePolicy" in request:
        try:
            own = evaluate.resource_policy(request["ResourcePolicy"], "ResourcePolicy")
        except evaluate.MalformedPolicy as fault:
            raise InvalidInputException(f"ResourcePolicy: {fault}") from fault
        policies = policies.with_resource((own,))
    resources = request.get("ResourceArns") or ["*"]
    pairs = [(action, resource) for action in request["ActionNames"] for resource in resources]
    if len(pairs) > MOST_PAIRS:
        raise InvalidInputException(f"At most {MOST_PAIRS} pairs of action and resource are simulated at once.")
    caller = request.get("CallerArn") or source.arn
    context = _context(request, caller)
    written = context_keys([text for _, text in identity])
    numbered = {f"{number:06}": pair for number, pair in enumerate(pairs)}
    shown, more = names.paged(operation, numbered, request, str)
    results = [_result(policies, *numbered[each], context, caller, written) for each in shown]
    return {"EvaluationResults": results, **more}


def _context(request: Mapping[str, Any], caller: str) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    if names.parse_arn(caller, "user") is not None:
        found["aws:username"] = [caller.rpartition("/")[2]]
    for entry in request.get("ContextEntries", ()):
        if entry.get("ContextKeyName"):
            found[entry["ContextKeyName"]] = entry.get("ContextKeyValues", [])
    return found


def _result(
    policies: evaluate.PolicySet,
    action: str,
    resource: str,
    context: Mapping[str, Sequence[str]],
    caller: str,
    written: Sequence[str],
) -> dict[str, Any]:
    principals_names = (f"AWS:{caller}",) if caller else ()
    decision = evaluate.decide(policies, evaluate.Request(action, resource, context, principals_names))
    asked = evaluate.condition_keys(policies, action) - {key.lower() for key in context}
    result: dict[str, Any] = {
        "EvalActionName": action,
        "EvalResourceName": resource,
        "EvalDecision": DECISIONS[decision.outcome],
        "MatchedStatements": [],
        "MissingContextValues": [key for key in written if key.lower() in asked],
    }
    if decision.policy:
        kind = SOURCE_TYPES[decision.kind]
        result["MatchedStatements"] = [{"SourcePolicyId": decision.policy, "SourcePolicyType": kind}]
    if policies.boundary is not None:
        inside = evaluate.PolicySet(identity=policies.boundary)
        allowed = evaluate.decide(inside, evaluate.Request(action, resource, context)).allowed
        result["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": allowed}
    return result


def _source_resource(call: Call, request: Mapping[str, Any]) -> Iterable[Resource]:
    return (Resource(request["PolicySourceArn"]),)


@iam.operation("SimulateCustomPolicy", reads=True)
def simulate_custom_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Decide by the documents of the request alone."""
    return simulate(call, "SimulateCustomPolicy", request, Source("", ()))


@iam.operation("SimulatePrincipalPolicy", resources=_source_resource, reads=True)
def simulate_principal_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Decide by the policies of a user, group or role, and by those of the request besides."""
    source = source_of(call, request["PolicySourceArn"])
    return simulate(call, "SimulatePrincipalPolicy", request, source)


@iam.operation("GetContextKeysForCustomPolicy", reads=True)
def get_context_keys_for_custom_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The condition keys that documents look at."""
    return {"ContextKeyNames": context_keys(text for _, text in _given(request, "PolicyInputList", "PolicyInputList"))}


@iam.operation("GetContextKeysForPrincipalPolicy", resources=_source_resource, reads=True)
def get_context_keys_for_principal_policy(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """The condition keys that the policies of a user, group or role look at, and those of the request."""
    own = source_of(call, request["PolicySourceArn"]).identity
    given = _given(request, "PolicyInputList", "PolicyInputList")
    return {"ContextKeyNames": context_keys(text for _, text in (*own, *given))}
