"""Policy documents as requests bring them: sizes, grammar, and what only trust policies must say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from fleetward.server.call import Call
from fleetward.server.iam import evaluate, limits, names, principals
from fleetward.server.iam.errors import LimitExceededException, MalformedPolicyDocumentException

VERSION = "2012-10-17"
"""Of identity-based policies; trust policies may also be of the version before."""

_SPACE = re.compile(r"\s+", re.ASCII)


def size(document: str) -> int:
    """The length that quotas count: without white space (IAM user guide, quotas)."""
    return len(_SPACE.sub("", document))


def check(document: str, kind: str, holder: str, *, others: int = 0) -> None:
    """MalformedPolicyDocument for what is no identity-based policy; LimitExceeded beyond the quota of `kind`.

    `others` is what inline policies of the same holder already take up.
    """
    _compile(document, resource_based=False)
    if orjson.loads(document).get("Version") != VERSION:
        raise MalformedPolicyDocumentException(f"Policy document must be version {VERSION} or greater.")
    _limit(document, kind, holder, others)


def trust(call: Call, document: str, holder: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A trust policy parsed, and the unique ids of the account's users and roles that it names.

    Those must exist (user guide, "Invalid principal in policy"): a later user or role of the same name is not meant.
    """
    _compile(document, resource_based=True)
    _limit(document, "trust", holder, 0)
    parsed: dict[str, Any] = orjson.loads(document)
    ids: dict[str, str] = {}
    for statement in _statements(parsed):
        for element in ("Resource", "NotResource"):
            if element in statement:
                raise MalformedPolicyDocumentException("Has prohibited field Resource")
        for arn in _named_principals(statement):
            ids.update(_identified(call, arn))
    return parsed, ids


def _identified(call: Call, arn: str) -> dict[str, str]:
    """`{arn: unique id}` for users and roles of this account; nothing for others."""
    user, role = names.parse_arn(arn, "user"), names.parse_arn(arn, "role")
    found = user or role
    if found is None or found[0] != call.account:
        return {}
    if user is not None:
        row = call.db.first(principals.USER, account=call.account, user_name=found[2])
    else:
        row = call.db.first(principals.ROLE, account=call.account, role_name=found[2])
    if row is None or row.path != found[1]:
        raise MalformedPolicyDocumentException(f'Invalid principal in policy: "AWS":"{arn}"')
    return {arn: row.user_id if user is not None else row.role_id}


def _statements(parsed: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = parsed["Statement"]
    return found if isinstance(found, list) else [found]


def _named_principals(statement: Mapping[str, Any]) -> Iterator[str]:
    for element in ("Principal", "NotPrincipal"):
        named = statement.get(element, {})
        texts = named.get("AWS", []) if isinstance(named, dict) else []
        yield from [texts] if isinstance(texts, str) else texts


def _compile(document: str, *, resource_based: bool) -> evaluate.Policy:
    try:
        return evaluate.compile_policy(document, resource_based=resource_based, limits=principals.STORED)
    except evaluate.MalformedPolicy as fault:
        raise MalformedPolicyDocumentException(f"The policy cannot be used: {fault}") from fault


def _limit(document: str, kind: str, holder: str, others: int) -> None:
    most = limits.SIZES[kind]
    if size(document) + others <= most:
        return
    if kind == "policy":
        raise LimitExceededException(f"Cannot exceed quota for PolicySize: {most}")
    if kind == "trust":
        raise LimitExceededException(f"Cannot exceed quota for ACLSizePerRole: {most}")
    raise LimitExceededException(f"Maximum policy size of {most} bytes exceeded for {kind} {holder}")
