"""Nodes prove who they are: tokens, keys, fingerprints, clones, roles and leaving."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

from fleetward.server import mailbox, presence
from fleetward.server.call import Sent, node_topic, service_context
from fleetward.server.errors import AccessDeniedException, ValidationException
from fleetward.server.ssm import nodes, tags
from fleetward.server.ssm.errors import InvalidInstanceId, MachineFingerprintDoesNotMatch


def test_a_token_carries_the_node_its_role_and_an_hour(world: Any, fleet: Any) -> None:
    node_id = fleet.join()
    token = fleet.token(node_id)
    credentials = fleet.open(token)
    assert credentials.principal == f"arn:aws:ssm:us-east-1:123456789012:managed-instance/{node_id}"
    assert (credentials.kind, credentials.context) == ("node", {"role": "SSMServiceRole", "node_id": node_id})
    assert credentials.secret_access_key == token["SecretAccessKey"]
    assert credentials.expires_at == token["TokenExpirationDate"] == world.clock.now() + timedelta(hours=1)
    assert token["AccessKeyId"].startswith("ASIA")
    assert token["UpdateKeyPair"] is False
    assert fleet.is_good(token)


def test_asking_for_a_token_is_a_sign_of_life(world: Any, fleet: Any) -> None:
    node_id = fleet.join()
    assert world.call("DescribeInstanceInformation")["InstanceInformationList"][0]["PingStatus"] == "ConnectionLost"
    fleet.token(node_id)
    (node,) = world.call("DescribeInstanceInformation")["InstanceInformationList"]
    assert (node["PingStatus"], node["LastPingDateTime"]) == ("Online", world.clock.now())


def test_the_signing_key_is_the_one_registered(fleet: Any) -> None:
    node_id = fleet.join()
    assert fleet.do(nodes.signing_keys, node_id) == (base64.b64decode(fleet.public_key()), None)
    assert fleet.do(nodes.signing_keys, "mi-00000000000000000") is None


def test_a_rotation_is_asked_for_until_it_happened(fleet: Any) -> None:
    node_id = fleet.join()
    fleet.do(nodes.request_key_rotation, node_id)
    assert fleet.token(node_id)["UpdateKeyPair"] is True
    assert fleet.token(node_id)["UpdateKeyPair"] is True
    fleet.rekey(node_id, fleet.public_key(2))
    assert fleet.token(node_id)["UpdateKeyPair"] is False
    with pytest.raises(InvalidInstanceId):
        fleet.do(nodes.request_key_rotation, "mi-00000000000000000")


def test_a_new_key_counts_at_once_and_the_old_one_for_rekeying_for_30_days(world: Any, fleet: Any) -> None:
    node_id = fleet.join()
    first, second = (base64.b64decode(fleet.public_key(number)) for number in (1, 2))
    fleet.rekey(node_id, fleet.public_key(2))
    assert fleet.do(nodes.signing_keys, node_id) == (second, first)
    with pytest.raises(AccessDeniedException, match="rotated out"):
        fleet.token(node_id, previous_key=True)
    world.clock.advance(timedelta(days=30))
    assert fleet.do(nodes.signing_keys, node_id) == (second, None)


def test_a_key_change_whose_answer_was_lost_can_be_repeated(fleet: Any) -> None:
    node_id = fleet.join()
    fleet.rekey(node_id, fleet.public_key(2))
    for _ in range(3):
        fleet.rekey(node_id, fleet.public_key(2), previous_key=True)
    assert fleet.do(nodes.signing_keys, node_id)[1] == base64.b64decode(fleet.public_key(1))
    fleet.token(node_id)


def test_a_reverted_machine_rekeys_once_and_two_that_take_turns_are_quarantined(fleet: Any) -> None:
    node_id = fleet.join()
    fleet.rekey(node_id, fleet.public_key(2))
    fleet.rekey(node_id, fleet.public_key(3), previous_key=True)
    token = fleet.token(node_id)
    with pytest.raises(AccessDeniedException, match="quarantined"):
        fleet.rekey(node_id, fleet.public_key(4), previous_key=True)
    assert not fleet.is_good(token)
    with pytest.raises(AccessDeniedException, match="quarantined"):
        fleet.token(node_id)
    assert fleet.do(nodes.signing_keys, node_id)[0] == base64.b64decode(fleet.public_key(3))


def test_a_weak_new_key_is_refused_and_the_old_one_stays(fleet: Any) -> None:
    node_id = fleet.join()
    with pytest.raises(ValidationException):
        fleet.rekey(node_id, fleet.public_key(1, 1024))
    assert fleet.do(nodes.signing_keys, node_id) == (base64.b64decode(fleet.public_key()), None)


def test_alert_accepts_another_fingerprint_and_tells(world: Any, fleet: Any) -> None:
    node_id = fleet.join()
    told: list[Any] = []
    world.runner._reactions[nodes.FingerprintChanged].append(lambda call, event: told.append(event))
    fleet.token(node_id, "second")
    fleet.token(node_id, "second")
    assert told == [nodes.FingerprintChanged(node_id, "Changed")]


def test_clones_that_take_turns_are_quarantined_until_an_operator_releases_the_node(world: Any, fleet: Any) -> None:
    node_id = fleet.join()
    told: list[Any] = []
    world.runner._reactions[nodes.NodeConflict].append(lambda call, event: told.append(event.node_id))
    tokens = [fleet.token(node_id, fingerprint) for fingerprint in ("first", "clone", "first")]
    with pytest.raises(AccessDeniedException, match="quarantined"):
        fleet.token(node_id, "clone")
    assert told == [node_id]
    assert not any(fleet.is_good(token) for token in tokens)
    with pytest.raises(AccessDeniedException, match="quarantined"):
        fleet.token(node_id, "first")
    fleet.do(nodes.release, node_id)
    assert fleet.is_good(fleet.token(node_id, "clone"))


def test_approve_waits_for_an_operator(world: Any, fleet: Any) -> None:
    world.with_settings(fingerprint_policy="approve")
    node_id = fleet.join()
    for _ in range(2):
        with pytest.raises(AccessDeniedException, match="approve"):
            fleet.token(node_id, "second")
    fleet.do(nodes.approve_fingerprint, node_id)
    fleet.token(node_id, "second")
    with pytest.raises(AccessDeniedException, match="approve"):
        fleet.token(node_id, "first")


def test_refuse_keeps_to_the_registered_fingerprint(world: Any, fleet: Any) -> None:
    world.with_settings(fingerprint_policy="refuse")
    node_id = fleet.join()
    with pytest.raises(MachineFingerprintDoesNotMatch):
        fleet.token(node_id, "second")
    fleet.token(node_id)
    with pytest.raises(MachineFingerprintDoesNotMatch):
        fleet.token(node_id, "second")
    fleet.do(nodes.approve_fingerprint, node_id)
    fleet.token(node_id, "second")


def test_a_deregistered_node_is_gone_at_once(world: Any, fleet: Any) -> None:
    node_id = fleet.join(Tags=[{"Key": "env", "Value": "prod"}])
    token = fleet.token(node_id)
    message = mailbox.Message(node_id, "m1", "command", "c1", world.clock.now() + timedelta(hours=1))
    fleet.do(mailbox.post, [message])
    arrival = Sent(service_context(world.account, world.region), (node_id, "server", "3.3.0.0"))
    fleet.do(presence.renew, ("server", ""))
    fleet.do(presence.connect, [arrival])
    world.wakes.clear()

    world.call("DeregisterManagedInstance", {"InstanceId": node_id})

    assert not fleet.is_good(token)
    assert world.call("DescribeInstanceInformation")["InstanceInformationList"] == []
    assert world.call("GetConnectionStatus", {"Target": node_id})["Status"] == "notconnected"
    assert fleet.do(nodes.signing_keys, node_id) is None
    assert fleet.do(mailbox.clear, node_id) == []
    assert fleet.do(tags.of, "ManagedInstance", [node_id]) == {node_id: {}}
    assert node_topic(world.account, world.region, node_id) in world.wakes
    with pytest.raises(InvalidInstanceId):
        fleet.token(node_id)
    with pytest.raises(InvalidInstanceId):
        fleet.beat(node_id, PlatformType="Linux")
    with pytest.raises(InvalidInstanceId):
        world.call("DeregisterManagedInstance", {"InstanceId": node_id})


def test_joining_and_leaving_are_told_to_later_capabilities(world: Any, fleet: Any) -> None:
    told: list[Any] = []
    for event in (nodes.NodeJoined, nodes.NodeLeft):
        world.runner._reactions[event].append(lambda call, event: told.append(event))
    node_id = fleet.join()
    world.call("DeregisterManagedInstance", {"InstanceId": node_id})
    assert told == [nodes.NodeJoined(node_id), nodes.NodeLeft(node_id)]


def test_registering_again_after_leaving_makes_another_node(world: Any, fleet: Any) -> None:
    activation = fleet.activation(RegistrationLimit=2)
    first = fleet.register(activation)
    world.call("DeregisterManagedInstance", {"InstanceId": first})
    assert fleet.register(activation) != first


def test_another_role_counts_from_the_next_token_on(world: Any, fleet: Any) -> None:
    node_id = fleet.join()
    before = fleet.token(node_id)
    role = {"InstanceId": node_id, "IamRole": "service-role/SSMServiceRole"}
    world.call("UpdateManagedInstanceRole", role)
    assert fleet.is_good(before)
    assert fleet.open(fleet.token(node_id)).context["role"] == "service-role/SSMServiceRole"
    with pytest.raises(ValidationException):
        world.call("UpdateManagedInstanceRole", {**role, "IamRole": "NoSuchRole"})
    with pytest.raises(InvalidInstanceId):
        world.call("UpdateManagedInstanceRole", {**role, "InstanceId": "mi-00000000000000000"})


def test_operators_need_the_right_for_this_node(world: Any, fleet: Any) -> None:
    mine, other = fleet.admit(tags={"team": "mine"}), fleet.admit(tags={"team": "other"})
    condition = {"StringEquals": {"ssm:resourceTag/team": "mine"}}
    statement = {"Effect": "Allow", "Action": "ssm:DeregisterManagedInstance", "Resource": "*", "Condition": condition}
    role = world.as_role(statement)
    with pytest.raises(AccessDeniedException):
        world.call("DeregisterManagedInstance", {"InstanceId": other}, role)
    world.call("DeregisterManagedInstance", {"InstanceId": mine}, role)


def test_operators_get_no_node_tokens(world: Any, fleet: Any) -> None:
    fleet.join()
    with pytest.raises(AccessDeniedException, match="cannot be called by"):
        world.call("RequestManagedInstanceRoleToken", {"Fingerprint": "first"})


def test_no_private_thing_is_shown_in_lists(world: Any, fleet: Any) -> None:
    fleet.join()
    shown = str(world.call("DescribeInstanceInformation")) + str(world.call("ListNodes"))
    assert "first" not in shown
    assert fleet.public_key() not in shown
