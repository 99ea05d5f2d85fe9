"""Parameter policies: what has expired goes, what is to be told is in the trail once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import audit
from fleetward.server.errors import AwsError
from fleetward.server.ssm import errors
from fleetward.server.ssm.parameter_store import policies

pytest_plugins = ("tests.services",)


def policy(kind: str, **attributes: str) -> dict[str, Any]:
    """One policy as a request carries it."""
    return {"Type": kind, "Version": "1.0", "Attributes": attributes}


EXPIRES = policy("Expiration", Timestamp="2030-01-11T12:00:00.000Z")
NOTICE = policy("ExpirationNotification", Before="2", Unit="Days")
UNCHANGED = policy("NoChangeNotification", After="3", Unit="Days")


def _told(world: Any) -> list[str]:
    bodies = world.do(lambda call: call.db.all(audit.records.select()))
    records = [json.loads(row.body) for row in bodies]
    return [
        each["requestParameters"]["PolicyType"] for each in records if each["eventName"] == "ParameterStorePolicyAction"
    ]


@pytest.mark.parametrize("world", ["sqlite", "postgresql"], indirect=True)
def test_policies_are_applied_when_they_are_due(world: Any, store: Any) -> None:
    store.put("a", Tier="Advanced", Policies=json.dumps([EXPIRES, NOTICE, UNCHANGED]))
    told = []
    for _ in range(11):
        world.do(policies.apply_policies)
        told.append((len(store.names()), len(_told(world))))
        world.clock.advance(timedelta(days=1))
    assert told == [(1, 0)] * 3 + [(1, 1)] * 5 + [(1, 2)] * 2 + [(0, 3)]
    assert _told(world) == ["NoChangeNotification", "ExpirationNotification", "Expiration"]


def test_policies_stay_with_the_next_value_and_go_when_told(world: Any, store: Any) -> None:
    store.put("a", Tier="Advanced", Policies=json.dumps([UNCHANGED]))
    world.clock.advance(timedelta(days=2))
    store.put("a", "b")
    world.clock.advance(timedelta(days=2))
    world.do(policies.apply_policies)
    assert _told(world) == []
    (shown,) = world.call("DescribeParameters", {})["Parameters"][0]["Policies"]
    assert (shown["PolicyType"], shown["PolicyStatus"]) == ("NoChangeNotification", "Pending")
    store.put("a", "c", Policies="[]")
    assert world.call("DescribeParameters", {})["Parameters"][0]["Policies"] == []


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("no", errors.InvalidPolicyAttributeException),
        ("[1]", errors.InvalidPolicyAttributeException),
        ("7", errors.InvalidPolicyAttributeException),
        (json.dumps([policy("Other")]), errors.InvalidPolicyTypeException),
        (json.dumps([policy("Expiration", Timestamp="soon")]), errors.InvalidPolicyAttributeException),
        (
            json.dumps(
                [
                    policy("Expiration", Timestamp="0001-01-01T00:00:00Z"),
                    policy("ExpirationNotification", Before="1", Unit="Days"),
                ]
            ),
            errors.InvalidPolicyAttributeException,
        ),
        (json.dumps([policy("NoChangeNotification", After="0", Unit="Days")]), errors.InvalidPolicyAttributeException),
        (json.dumps([NOTICE]), errors.IncompatiblePolicyException),
        (json.dumps([EXPIRES, EXPIRES]), errors.IncompatiblePolicyException),
        (json.dumps([UNCHANGED] * 11), errors.PoliciesLimitExceededException),
    ],
)
def test_policies_that_cannot_be(given: str, fault: type[AwsError]) -> None:
    with pytest.raises(fault):
        policies.read(given)
