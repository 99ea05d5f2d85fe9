"""Grants over real sockets: whatever carries a session and is taken away, the session ends within two seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fleetward.protocol.sigv4 import Credentials
from tests.channel import Channel
from tests.identities import ROOT_TRUST, allow, deny, new_role, new_user
from tests.identities import document as policy
from tests.serving import Node, ServerProcess, eventually
from tests.sessions import described, opened
from tests.signing_in import Browser, person
from tests.signing_in import keys as keys_of

SOON = 2.0
TAKEN_AWAY = "The permission for this session was taken away."


@pytest.fixture
def machine(serving: ServerProcess) -> Node:
    """A node of the test's own."""
    return serving.join(4)


@pytest.fixture
def channel(machine: Node) -> Iterator[Channel]:
    """Its control channel."""
    with Channel(machine) as control:
        request = {"Target": machine.node_id}
        server = machine.server
        eventually(lambda: server.call("GetConnectionStatus", request, server.root).json["Status"] == "connected")
        yield control


def ends(channel: Channel, keys: Credentials, take_away: Callable[[], Any], **request: Any) -> None:
    """A session of these keys goes on for a while, and ends soon after something was taken away."""
    with opened(channel.node, channel, keys, **request) as session:
        session.echo()
        take_away()
        begun = time.monotonic()
        told = session.ends_within(10)
        assert time.monotonic() - begun < SOON
        assert told == TAKEN_AWAY
    assert described(channel.node, session.session_id)["Status"] == "Terminated"


def test_a_policy_that_is_deleted(channel: Channel, iam: Any) -> None:
    """The user's own; another user's session goes on."""
    name, keys = new_user(channel.node.server, allow("ssm:StartSession"))
    _, other = new_user(channel.node.server, allow("ssm:StartSession"))
    with opened(channel.node, channel, other) as stays:
        ends(channel, keys, lambda: iam.delete_user_policy(UserName=name, PolicyName="own"))
        stays.echo()


def test_a_denial_that_is_added(channel: Channel, iam: Any) -> None:
    """In the same policy."""
    name, keys = new_user(channel.node.server, allow("ssm:StartSession"))
    text = policy(allow("ssm:StartSession"), deny("ssm:StartSession"))
    ends(channel, keys, lambda: iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=text))


def test_a_key_that_is_deleted(channel: Channel, iam: Any) -> None:
    """Whoever lost it has lost what it opened."""
    name, keys = new_user(channel.node.server, allow("ssm:StartSession"))
    ends(channel, keys, lambda: iam.delete_access_key(UserName=name, AccessKeyId=keys.access_key_id))


def test_a_key_that_is_deactivated(channel: Channel, iam: Any) -> None:
    """For the time being."""
    name, keys = new_user(channel.node.server, allow("ssm:StartSession"))
    off = {"UserName": name, "AccessKeyId": keys.access_key_id, "Status": "Inactive"}
    ends(channel, keys, lambda: iam.update_access_key(**off))


def test_the_policy_of_an_assumed_role(channel: Channel, iam: Any) -> None:
    """Its temporary keys carry what the role may."""
    name = new_role(channel.node.server, ROOT_TRUST, allow("ssm:StartSession")).rpartition("/")[2]
    keys = channel.node.server.role(name)
    ends(channel, keys, lambda: iam.delete_role_policy(RoleName=name, PolicyName="own"))


def test_a_role_that_is_deleted(channel: Channel, iam: Any) -> None:
    """Its epoch ends, and with it all its keys."""
    name = new_role(channel.node.server, ROOT_TRUST, allow("ssm:StartSession")).rpartition("/")[2]
    keys = channel.node.server.role(name)

    def delete() -> None:
        iam.delete_role_policy(RoleName=name, PolicyName="own")
        iam.delete_role(RoleName=name)

    ends(channel, keys, delete)


def test_a_tag_of_the_node(channel: Channel) -> None:
    """Sessions on tagged nodes only: it is not any more."""
    node = channel.node
    tag = {"ResourceType": "ManagedInstance", "ResourceId": node.node_id}
    node.server.call("AddTagsToResource", {**tag, "Tags": [{"Key": "Team", "Value": "web"}]}, node.server.root)
    condition = {"StringEquals": {"ssm:resourceTag/Team": "web"}}
    _, keys = new_user(node.server, allow("ssm:StartSession", Condition=condition))
    remove = {**tag, "TagKeys": ["Team"]}
    ends(channel, keys, lambda: node.server.call("RemoveTagsFromResource", remove, node.server.root))


def test_the_right_to_a_document(channel: Channel, iam: Any) -> None:
    """Of a tunnel that is open."""
    name, keys = new_user(channel.node.server, allow("ssm:StartSession"))
    nodes_only = policy(allow("ssm:StartSession", on="arn:aws:ssm:*:*:managed-instance/*"))
    tunnel = {"DocumentName": "AWS-StartPortForwardingSession", "Parameters": {"portNumber": ["5432"]}}
    ends(
        channel,
        keys,
        lambda: iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=nodes_only),
        **tunnel,
    )


@pytest.mark.parametrize("by", ["its owner", "an administrator"])
def test_a_sign_in_that_is_ended(channel: Channel, by: str) -> None:
    """Of the console: by signing out, or by whoever may end it."""
    server = channel.node.server
    browser = Browser(server)
    answer = browser.sign_in(person(server, allow("ssm:StartSession"))[0])
    revoke = {"SignInId": answer.json["SignInId"]}

    def end() -> None:
        if by == "its owner":
            assert browser.send("DELETE").status in (200, 204)
        else:
            assert server.call("RevokeSignIn", revoke, server.root, service="fleetward").status == 200

    ends(channel, keys_of(answer), end)
