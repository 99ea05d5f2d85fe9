"""Key policies as documents: those that keys start with, and grants written as statements. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from fleetward.server.iam import evaluate

LARGEST_POLICY = 32 * 1024
MOST_GRANTS = 200
"""Per key. Ours: grants count in every decision on the key; AWS allows 50,000."""

LIMITS = evaluate.Limits(characters=LARGEST_POLICY)
_OF_GRANTS = evaluate.Limits(characters=4 * 1024 * 1024, statements=3 * MOST_GRANTS)


def default_policy(account: str) -> str:
    """The policy of a key that was given none: the account decides by its identity-based policies."""
    statement = {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return _text({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]})


def managed_policy(account: str, region: str, service: str) -> str:
    """The policy of the key that a service uses: through that service, whoever of the account may use it."""
    use = {
        "Sid": f"Use through {service} by everyone in the account who may use that",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:ReEncrypt*",
            "kms:GenerateDataKey*",
            "kms:CreateGrant",
            "kms:DescribeKey",
        ],
        "Resource": "*",
        "Condition": {
            "StringEquals": {"kms:CallerAccount": account, "kms:ViaService": f"{service}.{region}.amazonaws.com"}
        },
    }
    look = {
        "Sid": "Let the account's administrators look at it",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"],
        "Resource": "*",
    }
    return _text({"Version": "2012-10-17", "Id": f"auto-{service}-1", "Statement": [use, look]})


def check_policy(text: str) -> evaluate.Policy:
    """A key policy compiled by itself; raises MalformedPolicy."""
    return evaluate.compile_policy(text, name="key policy", resource_based=True, limits=LIMITS)


def compiled_policy(text: str, granted: Sequence[tuple[str, Mapping[str, Any]]] = ()) -> evaluate.Policy:
    """A key's policy and its grants as one policy; equal input gives the same object."""
    own = evaluate.resource_policy(text, "key policy")
    if not granted:
        return own
    statements = [statement for grant_id, content in granted for statement in grant_statements(grant_id, content)]
    return _together(own, orjson.dumps({"Version": "2012-10-17", "Statement": statements})) if statements else own


def grant_statements(grant_id: str, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A grant as statements: what the grantee may do, and who may retire the grant.

    Raises MalformedPolicy, when compiled, for principals that are none.
    """
    operations = [each for each in content["Operations"] if each != "RetireGrant"]
    grantee = _principal(content.get("GranteePrincipal"), content.get("GranteeServicePrincipal"))
    statements = []
    if operations and grantee:
        statement = _allow(grantee, [f"kms:{operation}" for operation in operations])
        conditions = _constraints(content.get("Constraints", {}))
        statements.append({**statement, **({"Condition": conditions} if conditions else {})})
    retiring = _principal(content.get("RetiringPrincipal"), content.get("RetiringServicePrincipal"))
    own = {"StringEquals": {"fleetward:GrantId": grant_id}}
    if retiring:
        statements.append({**_allow(retiring, ["kms:RetireGrant"]), "Condition": own})
    if "RetireGrant" in content["Operations"] and grantee:
        statements.append({**_allow(grantee, ["kms:RetireGrant"]), "Condition": own})
    return statements


def _allow(principal: Mapping[str, str], actions: Sequence[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": dict(principal), "Action": list(actions), "Resource": "*"}


def _principal(arn: str | None, service: str | None) -> dict[str, str]:
    if arn:
        return {"AWS": arn}
    return {"Service": service} if service else {}


def _constraints(constraints: Mapping[str, Any]) -> dict[str, Any]:
    subset = constraints.get("EncryptionContextSubset", {})
    equal = constraints.get("EncryptionContextEquals", {})
    wanted = {f"kms:EncryptionContext:{key}": _plain(value) for key, value in {**subset, **equal}.items()}
    conditions: dict[str, Any] = {}
    if wanted:
        conditions["StringEquals"] = wanted
    if equal:
        keys = sorted({_plain(key) for key in equal})
        conditions["ForAllValues:StringEquals"] = {"kms:EncryptionContextKeys": keys}
    if constraints.get("SourceArn"):
        conditions["ArnEquals"] = {"aws:SourceArn": constraints["SourceArn"]}
    return conditions


def _plain(text: str) -> str:
    """Text in which a policy sees no variables."""
    return text.replace("${", "${$}{")


@lru_cache(maxsize=1024)
def _together(own: evaluate.Policy, granted: bytes) -> evaluate.Policy:
    """Two policies as one; each keeps the version of the language that it is written in."""
    more = evaluate.compile_policy(orjson.loads(granted), name="grant", resource_based=True, limits=_OF_GRANTS)
    services = {*own.by_service, *more.by_service}
    return evaluate.Policy(
        own.name,
        own.statements + more.statements,
        True,
        {name: own.by_service.get(name, ()) + more.by_service.get(name, ()) for name in services},
        own.any_service + more.any_service,
    )


def _text(document: Mapping[str, Any]) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
