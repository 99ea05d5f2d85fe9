"""Activations: who may make them, how often and how long they admit machines, and what the nodes get."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.iam import principals
from fleetward.server.keys import token_hash
from fleetward.server.paging import InvalidNextToken
from fleetward.server.ssm import activations, nodes
from fleetward.server.ssm.errors import InvalidActivation, InvalidActivationId, InvalidFilter


def described(world: Any, activation_id: str) -> dict[str, Any]:
    filters = [{"FilterKey": "ActivationIds", "FilterValues": [activation_id]}]
    (found,) = world.call("DescribeActivations", {"Filters": filters})["ActivationList"]
    return dict(found)


def test_a_new_activation_lasts_a_day_for_one_machine(world: Any, fleet: Any) -> None:
    activation_id, code = fleet.activation(Description="rack 4")
    assert len(code) >= 20
    found = described(world, activation_id)
    assert found["ExpirationDate"] == world.clock.now() + timedelta(hours=24)
    assert (found["RegistrationLimit"], found["RegistrationsCount"], found["Expired"]) == (1, 0, False)
    assert found["Description"] == "rack 4"


def test_the_code_is_stored_as_hash_only(world: Any, fleet: Any) -> None:
    activation_id, code = fleet.activation()
    row = world.do(lambda call: call.db.first(activations.LOCK, **activations._key(call, activation_id)))
    assert row.code_hash == token_hash(code)
    assert all(code not in str(value) for value in row)


def test_name_tags_and_role_of_the_activation_land_on_the_node(world: Any, fleet: Any) -> None:
    node_id = fleet.join(DefaultInstanceName="web", Tags=[{"Key": "env", "Value": "prod"}])
    (node,) = world.call("DescribeInstanceInformation")["InstanceInformationList"]
    assert (node["InstanceId"], node["Name"], node["IamRole"]) == (node_id, "web", "SSMServiceRole")
    listed = world.call("ListTagsForResource", {"ResourceType": "ManagedInstance", "ResourceId": node_id})
    assert listed["TagList"] == [{"Key": "env", "Value": "prod"}]


def test_wrong_code_and_unknown_id_are_answered_alike(world: Any, fleet: Any) -> None:
    activation_id, _ = fleet.activation()
    answers = []
    for pair in ((activation_id, "x" * 20), ("00000000-0000-0000-0000-000000000000", "x" * 20)):
        with pytest.raises(InvalidActivation) as caught:
            fleet.register(pair)
        answers.append(caught.value.message)
    assert answers[0] == answers[1]
    assert described(world, activation_id)["RegistrationsCount"] == 0


@given(limit=st.integers(1, 5), keys=st.lists(st.integers(1, 6), max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_limit_holds_and_repetitions_count_once(world: Any, fleet: Any, limit: int, keys: list[int]) -> None:
    activation = fleet.activation(RegistrationLimit=limit)
    admitted: dict[int, str] = {}
    for key in keys:
        if key in admitted or len(admitted) < limit:
            node_id = fleet.register(activation, fleet.public_key(key))
            assert admitted.setdefault(key, node_id) == node_id
        else:
            with pytest.raises(InvalidActivation, match="limit"):
                fleet.register(activation, fleet.public_key(key))
    assert len(set(admitted.values())) == len(admitted)
    assert described(world, activation[0])["RegistrationsCount"] == len(admitted)


def test_an_expired_activation_admits_nobody_but_repeats_its_answers(world: Any, fleet: Any) -> None:
    activation = fleet.activation(RegistrationLimit=5)
    node_id = fleet.register(activation)
    world.clock.advance(timedelta(hours=24))
    with pytest.raises(InvalidActivation, match="expired"):
        fleet.register(activation, fleet.public_key(2))
    assert fleet.register(activation) == node_id
    assert described(world, activation[0])["Expired"]


def test_any_expiry_ahead_is_good_and_one_in_the_past_is_not(world: Any, fleet: Any) -> None:
    never = datetime(9999, 12, 31, tzinfo=UTC)
    activation = fleet.activation(ExpirationDate=never)
    assert described(world, activation[0])["ExpirationDate"] == never
    world.clock.advance(timedelta(days=3650))
    fleet.register(activation)
    with pytest.raises(ValidationException, match="past"):
        fleet.activation(ExpirationDate=world.clock.now())


def test_the_operator_can_limit_lifetimes(world: Any, fleet: Any) -> None:
    world.with_settings(activation_lifetime_limit=30)
    fleet.activation(ExpirationDate=world.clock.now() + timedelta(days=30))
    with pytest.raises(ValidationException, match="30 days"):
        fleet.activation(ExpirationDate=world.clock.now() + timedelta(days=31))


def test_the_role_must_exist_trust_systems_manager_and_be_passable(world: Any, fleet: Any) -> None:
    with pytest.raises(ValidationException, match="Not existing role"):
        fleet.activation(IamRole="NoSuchRole")
    with pytest.raises(ValidationException, match="does not trust"):
        fleet.activation(IamRole="ReadOnly")
    fleet.activation(IamRole="service-role/SSMServiceRole")
    create = {"Effect": "Allow", "Action": "ssm:CreateActivation", "Resource": "*"}
    with pytest.raises(AccessDeniedException, match="iam:PassRole"):
        world.call("CreateActivation", {"IamRole": "SSMServiceRole"}, world.as_role(create))
    role = world.do(lambda call: principals.find_role(call, "SSMServiceRole"))
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": role.arn}
    world.call("CreateActivation", {"IamRole": "SSMServiceRole"}, world.as_role(create, passing))


def test_deleting_an_activation_keeps_its_nodes(world: Any, fleet: Any) -> None:
    activation = fleet.activation(RegistrationLimit=2)
    node_id = fleet.register(activation)
    world.call("DeleteActivation", {"ActivationId": activation[0]})
    with pytest.raises(InvalidActivation):
        fleet.register(activation, fleet.public_key(2))
    with pytest.raises(InvalidActivationId):
        world.call("DeleteActivation", {"ActivationId": activation[0]})
    assert fleet.do(nodes.exists, node_id)


def test_what_is_no_rsa_key_of_at_least_2048_bit_is_refused(fleet: Any) -> None:
    cut_off = fleet.public_key()[:200]
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    other_kind = base64.b64encode(curve.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    for key in (fleet.public_key(1, 1024), cut_off, other_kind):
        with pytest.raises(ValidationException, match="public key"):
            fleet.join(key)


def test_a_key_of_4096_bit_is_good(fleet: Any) -> None:
    assert fleet.join(fleet.public_key(1, 4096)).startswith("mi-")


def test_the_standard_tier_admits_a_thousand_nodes(world: Any, fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes.registration, "STANDARD_TIER_LIMIT", 3)
    tier = {"SettingId": "/ssm/managed-instance/activation-tier", "SettingValue": "standard"}
    world.call("UpdateServiceSetting", tier)
    for _ in range(3):
        fleet.admit()
    with pytest.raises(InvalidActivation, match="advanced"):
        fleet.join()
    world.call("ResetServiceSetting", {"SettingId": tier["SettingId"]})
    fleet.join()
    with pytest.raises(ValidationException):
        world.call("UpdateServiceSetting", tier)


@given(created=st.lists(st.integers(0, 2), min_size=1, max_size=9), size=st.integers(1, 4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_paging_misses_and_repeats_nothing_newest_first(world: Any, fleet: Any, created: list[int], size: int) -> None:
    name = f"batch {world.clock.now().timestamp()}"
    made = []
    for pause in created:
        world.clock.advance(timedelta(minutes=pause))
        made.append(fleet.activation(DefaultInstanceName=name)[0])
    world.clock.advance(timedelta(days=1))
    filters = [{"FilterKey": "DefaultInstanceName", "FilterValues": [name]}]
    pages = world.pages("DescribeActivations", {"MaxResults": size, "Filters": filters}, "ActivationList")
    listed = [each for page in pages for each in page]
    assert sorted(each["ActivationId"] for each in listed) == sorted(made)
    assert all(len(page) <= size for page in pages)
    dates = [each["CreatedDate"] for each in listed]
    assert dates == sorted(dates, reverse=True)


def test_bad_filters_and_tokens_are_refused(world: Any) -> None:
    with pytest.raises(InvalidFilter):
        world.call("DescribeActivations", {"Filters": [{"FilterKey": "IamRole"}]})
    with pytest.raises(InvalidNextToken):
        world.call("DescribeActivations", {"NextToken": "bm8="})
