"""Call: what it asks of the decision about a resource with a policy of its own, for each kind of caller."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from fleetward.server.call import NOBODY, Caller, Resource, service_context
from fleetward.server.errors import AccessDeniedException
from fleetward.server.iam import evaluate
from fleetward.server.iam.evaluate import ResourceRule
from tests.server.conftest import ACCOUNT, OTHER_ACCOUNT, World

BUCKET = "arn:aws:s3:::outputs/a.txt"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1"
USER = f"arn:aws:iam::{ACCOUNT}:user/ana"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
STRANGER = f"arn:aws:iam::{OTHER_ACCOUNT}:user/eve"
SESSION, ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/x", f"arn:aws:iam::{ACCOUNT}:role/team/Reader"


def holder(*statements: Mapping[str, Any]) -> evaluate.PolicySet:
    """The policies of a caller with one identity-based policy, or none."""
    if not statements:
        return NOBODY
    return evaluate.PolicySet((evaluate.compile_policy({"Version": "2012-10-17", "Statement": list(statements)}),))


EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
CALLERS = {
    "root": Caller(kind="root", arn=ROOT, account=ACCOUNT),
    "user": Caller(kind="user", arn=USER, account=ACCOUNT, policies=holder()),
    "admin": Caller(kind="user", arn=USER, account=ACCOUNT, policies=holder(EVERYTHING)),
    "session": Caller(kind="role", arn=SESSION, account=ACCOUNT, policies=holder(), context={"aws:PrincipalArn": ROLE}),
    "stranger": Caller(kind="user", arn=STRANGER, account=OTHER_ACCOUNT, policies=holder()),
    "strange admin": Caller(kind="user", arn=STRANGER, account=OTHER_ACCOUNT, policies=holder(EVERYTHING)),
    "strange root": Caller(kind="root", arn=f"arn:aws:iam::{OTHER_ACCOUNT}:root", account=OTHER_ACCOUNT),
    "anonymous": Caller(kind="anonymous", arn="anonymous", account=ACCOUNT, policies=NOBODY),
    "server": service_context(ACCOUNT, "us-east-1").caller,
}


def allow(principal: Any, effect: str = "Allow", **more: Any) -> str:
    """A resource's policy about one principal."""
    one = {"Effect": effect, "Principal": principal, "Action": "*", "Resource": "*", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [one]})


def allowed(world: World, caller: Caller, resource: Resource, action: str = "s3:GetObject", **keys: str) -> bool:
    """Whether `authorize` lets the caller."""
    context = replace(service_context(caller.account, world.region), caller=caller)
    try:
        world.do(lambda call: call.authorize(action, resource, keys or None), context=context)
    except AccessDeniedException as denied:
        return f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource.arn}" not in str(
            denied
        )
    return True


STRANGERS = ("strange admin", "strange root")
WHO: list[tuple[str | None, ResourceRule, set[str]]] = [
    (None, ResourceRule.MAY_GRANT, {"root", "admin"}),
    (None, ResourceRule.MUST_ALLOW, set()),
    (allow("*"), ResourceRule.MAY_GRANT, {*CALLERS} - {"stranger"}),
    (allow({"AWS": USER}), ResourceRule.MAY_GRANT, {"root", "user", "admin"}),
    (allow({"AWS": ROLE}), ResourceRule.MAY_GRANT, {"root", "admin", "session"}),
    (allow({"AWS": SESSION}), ResourceRule.MAY_GRANT, {"root", "admin", "session"}),
    (allow({"AWS": ROOT}), ResourceRule.MAY_GRANT, {"root", "admin"}),
    (allow({"AWS": OTHER_ACCOUNT}), ResourceRule.MAY_GRANT, {"root", "admin", "strange admin", "strange root"}),
    (allow({"AWS": STRANGER}), ResourceRule.MAY_GRANT, {"root", "admin", "strange admin"}),
    (allow("*", "Deny"), ResourceRule.MAY_GRANT, set()),
    (allow({"AWS": USER}, "Deny"), ResourceRule.MAY_GRANT, {"root"}),
    (allow({"AWS": ROOT}), ResourceRule.MUST_ALLOW, {"root", "admin"}),
    (allow({"AWS": USER}), ResourceRule.MUST_ALLOW, {"user", "admin"}),
    (allow({"AWS": ROLE}), ResourceRule.MUST_ALLOW, {"session"}),
    (allow({"AWS": [ROOT, OTHER_ACCOUNT]}), ResourceRule.MUST_ALLOW, {"root", "admin", *STRANGERS}),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "rule", "whom"), WHO)
def test_a_resources_policy_decides_with_the_callers_own(
    world: World, policy: str | None, rule: ResourceRule, whom: set[str]
) -> None:
    compiled = None if policy is None else evaluate.resource_policy(policy)
    bucket, key = Resource(BUCKET, policy=compiled, rule=rule, owner=ACCOUNT), Resource(KEY, policy=compiled, rule=rule)
    for resource in (bucket, key):  # an ARN without account and one with
        found = {name for name, caller in CALLERS.items() if allowed(world, caller, resource)}
        assert found == whom | {"server"}


def test_a_stranger_without_grant_is_told_that_no_resource_based_policy_allows_it(world: World) -> None:
    context = replace(service_context(ACCOUNT, world.region), caller=CALLERS["anonymous"])
    resource = Resource(BUCKET, rule=ResourceRule.MAY_GRANT, owner=ACCOUNT)
    with pytest.raises(AccessDeniedException, match="because no resource-based policy allows the s3:GetObject action"):
        world.do(lambda call: call.authorize("s3:GetObject", resource), context=context)


def test_conditions_of_request_and_resource_count_in_both_kinds_of_policies(world: World) -> None:
    asked = {"Condition": {"StringEquals": {"s3:prefix": "a/", "s3:ExistingObjectTag/public": "yes"}}}
    tagged = Resource(
        BUCKET,
        policy=evaluate.resource_policy(allow("*", **asked)),
        rule=ResourceRule.MAY_GRANT,
        owner=ACCOUNT,
        conditions={"s3:ExistingObjectTag/public": "yes"},
    )
    assert allowed(world, CALLERS["anonymous"], tagged, **{"s3:prefix": "a/"})
    assert not allowed(world, CALLERS["anonymous"], tagged, **{"s3:prefix": "b/"})
    assert not allowed(world, CALLERS["anonymous"], tagged._replace(conditions=None), **{"s3:prefix": "a/"})
    own = Caller(kind="user", arn=USER, account=ACCOUNT, policies=holder({**EVERYTHING, **asked}))
    plain = tagged._replace(policy=None, rule=None)
    assert allowed(world, own, plain, **{"s3:prefix": "a/"})
    assert not allowed(world, own, plain)


def test_what_a_resources_policy_compiles_to_is_kept_and_so_is_the_callers_set_against_it() -> None:
    policy = evaluate.resource_policy(allow("*"))
    assert evaluate.resource_policy(allow("*")) is policy
    caller = holder(EVERYTHING)
    assert caller.with_resource((policy,)) is caller.with_resource((policy,))
    assert caller.with_resource((policy,)) is not caller.with_resource((policy,), ResourceRule.MUST_ALLOW)
    for number in range(200):
        caller.with_resource((evaluate.resource_policy(allow({"AWS": f"{number:012}"})),))
    assert len(caller._against) <= 64
